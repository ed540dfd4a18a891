"""Build a network from its name and weights, choose which part of it trains, and load the network of a finished run."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from labkit.data.source import PHANTOMS
from labkit.models.lite import LITE0, lite0_weights, tf_efficientnet_lite0
from labkit.models.resnet import DEVIATIONS, RESNETS
from labkit.models.weights import StateDict, WeightsError, read_file, torchvision_weights
from labkit.params import RunParams
from labkit.runs.files import read_json
from labkit.runs.folder import read_params

ARCHS: dict[str, Callable[..., nn.Module]] = {
    **RESNETS,
    LITE0: tf_efficientnet_lite0,
}
DECIDE_NETWORK = {"arch", "deviation", "weights", "parent", "head", "seed", "loss", "image_size", "crop_size"}
OPTIONAL = "num_batches_tracked"  # missing in files from before PyTorch 0.4


def build_model(
    arch: str,
    num_classes: int,
    state_dict: StateDict | None = None,
    head: Literal["new", "keep"] = "new",
    seed: int = 0,
    deviation: str = "none",
    image_size: int = 224,
) -> nn.Module:
    """A network on the CPU, in train mode: images (N, 3, H, W) -> logits (N, num_classes), or grades (N, 1).

    The same seed gives the same network and new head; torch's global random state is not changed. `state_dict` is what
    `load_weights` returns: head='new' loads its backbone alone. Only the deviation 'flat_head' uses `image_size` (px).
    ValueError on an arch or a deviation that cannot be, and without timm if needed; WeightsError on other weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _untrained(arch, num_classes, deviation, image_size)
    if state_dict is None:
        return model
    _check_backbone(state_dict, arch, "the state dict", deviation, image_size)
    if head == "keep":
        mismatch = _mismatch(state_dict, {name: of for name, of in model.state_dict().items() if _is_head(name)})
        if mismatch is not None:
            raise WeightsError(f"head: 'keep' needs weights with this head, but {mismatch}; set head: new")
    else:
        state_dict = {name: tensor for name, tensor in state_dict.items() if not _is_head(name)}
    model.load_state_dict(state_dict, strict=False)  # only the head may be missing, and it was checked above
    return model


def load_weights(
    weights: str | Path | None, arch: str, deviation: str = "none", image_size: int = 224
) -> tuple[StateDict | None, str]:
    """The weights to start from, which fit `arch` except for the head, and a description of their source.

    None: (None, 'from scratch'). 'IMAGENET1K_V1' or 'IMAGENET1K_V2': torchvision's, from TORCH_HOME or downloaded, or
    EfficientNet-Lite0's ('IMAGENET1K_V1' only) from a pip package. Anything else is a file (`read_file`). Raises
    WeightsError, and ValueError as `build_model` does.
    """
    _shapes(arch, deviation, image_size)  # refuses an impossible network before anything is downloaded
    if weights is None:
        return None, "from scratch"
    name = str(weights)
    if name.startswith("IMAGENET1K_"):
        if deviation not in ("none", "flat_head"):
            told = f"{name} was trained without deviation: {deviation}, which changes layers of the backbone"
            raise WeightsError(f"weights: {told}; set weights: null (from scratch) or deviation: none")
        state_dict, where = lite0_weights(name) if arch == LITE0 else torchvision_weights(name, arch)
    else:
        state_dict, where = read_file(Path(name)), name
    _check_backbone(state_dict, arch, where, deviation, image_size)
    return state_dict, where


def network_of(params: RunParams, n_classes: int) -> nn.Module:
    """The untrained network of a run, with the weights that it starts from; raises as `load_weights` does.

    Its ``made_from`` are the parameters that decided it, by which `fit` tells whether they have changed since.
    """
    design = {"deviation": params.deviation, "image_size": params.input_size}
    state_dict, _ = load_weights(params.weights, params.arch, **design)
    model = build_model(params.arch, params.outputs(n_classes), state_dict, params.head, params.seed, **design)
    vars(model)["made_from"] = params.model_dump(include=DECIDE_NETWORK)
    return model


def num_classes(model: nn.Module) -> int:
    """Number of outputs: logits, or 1 for a grade."""
    return _head(model).out_features


def freeze_backbone(model: nn.Module, frozen: bool = True) -> None:
    """Train only the head from now on, or all again. Also call `train_mode(model, frozen)` at each epoch's start."""
    for name, parameter in model.named_parameters():
        if not _is_head(name):
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None  # an optimizer would still apply the last gradient, momentum and weight decay


def train_mode(model: nn.Module, frozen: bool) -> None:
    """model.train(), but a frozen backbone stays in eval mode: its BatchNorms would update their statistics."""
    model.train(not frozen)
    _head(model).train()


def synchronized(model: nn.Module) -> nn.Module:
    """The network, changed in place: BatchNorms take mean and variance of all GPUs' images; its state dict stays."""
    if any(type(module).__module__.startswith("timm.") for module in model.modules()):
        from timm.layers.norm_act import convert_sync_batchnorm

        return convert_sync_batchnorm(model)  # timm's have an activation inside, which torch's would lose
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def load_trained(folder: Path) -> nn.Module:
    """The network of a finished run, on the CPU, with its weights; WeightsError if they are missing or do not fit."""
    params, n_classes = read_params(folder), len(read_json(folder / "run.json")["classes"])
    design = {"deviation": params.deviation, "image_size": params.input_size}
    weights, _ = load_weights(folder / "model.safetensors", params.arch, **design)
    return build_model(params.arch, params.outputs(n_classes), weights, head="keep", **design)


def start_in_words(params: RunParams) -> str:
    """``from scratch``, ``from IMAGENET1K_V1``, or ``from resnet18-source-seed0, trained on …``; weights resolved."""
    if params.weights is None:
        return "from scratch"
    if params.parent is None:
        return f"from {params.weights}"
    folder = Path(params.weights).parent
    parent = read_params(folder)
    return f"from {folder.name}, trained on {PHANTOMS.get(parent.data, parent.data)}"


def _check_backbone(state_dict: StateDict, arch: str, where: str, deviation: str, image_size: int) -> None:
    """Raises WeightsError unless the weights are this network's tensors in their shapes; the head's may differ."""
    if mismatch := _backbone_mismatch(state_dict, arch, deviation, image_size):
        wanted = arch if deviation == "none" else f"{arch} with deviation: {deviation}"
        advice = next(_what_fits(state_dict, arch, deviation, image_size), "give weights of this architecture")
        raise WeightsError(f"weights: {where} does not fit {wanted}: {mismatch}; {advice}")


def _what_fits(state_dict: StateDict, arch: str, deviation: str, image_size: int) -> Iterator[str]:
    """Advice: the networks that these weights fit; those with the requested deviation come first."""
    for other_deviation in (deviation, "none", *DEVIATIONS):
        for other in ARCHS:
            with suppress(ValueError):  # this arch cannot have this deviation, or timm is not installed
                if not _backbone_mismatch(state_dict, other, other_deviation, image_size):
                    changes = [f"arch: {other}"] * (other != arch)
                    changes += [f"deviation: {other_deviation}"] * (other_deviation != deviation)
                    yield f"it is a {other}: set {' and '.join(changes)}"


def _backbone_mismatch(state_dict: StateDict, arch: str, deviation: str, image_size: int) -> str | None:
    expected = _shapes(arch, deviation, image_size)
    needed = {name: of for name, of in expected.items() if not _is_head(name) and not name.endswith(OPTIONAL)}
    unknown = (f"{name} is not one of its tensors" for name in state_dict if name not in expected)
    return _mismatch(state_dict, needed) or next(unknown, None)


def _mismatch(state_dict: StateDict, expected: StateDict) -> str | None:
    """The first tensor that is missing or has another shape, in words."""
    for name, tensor in expected.items():
        if name not in state_dict:
            return f"{name} is missing"
        if state_dict[name].shape != tensor.shape:
            return f"{name} has shape {tuple(state_dict[name].shape)}, not {tuple(tensor.shape)}"
    return None


def _shapes(arch: str, deviation: str, image_size: int) -> StateDict:
    with torch.device("meta"):  # shapes only: no memory, no random numbers
        return _untrained(arch, 2, deviation, image_size).state_dict()


def _untrained(arch: str, num_classes: int, deviation: str, image_size: int) -> nn.Module:
    if arch not in ARCHS:
        raise ValueError(f"arch: {arch!r} is not one of {', '.join(ARCHS)}")
    return ARCHS[arch](num_classes, deviation, image_size)


def _head(model: nn.Module) -> nn.Linear:
    """The last linear layer: `fc` in our ResNets and torchvision's; timm's networks name it themselves."""
    network: Any = model
    return network.fc if hasattr(model, "fc") else network.get_classifier()


def _is_head(name: str) -> bool:
    """Whether a parameter belongs to the head: `fc`, or timm's `classifier`."""
    return name.startswith(("fc.", "classifier."))
