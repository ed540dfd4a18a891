"""Image files as strangers send them: decoded as documented, or an OSError in one line that names file and reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from labkit.data.images import MAX_ASPECT, NO_RANGE, gray_counts, load_image, range_of, try_load

RED = (200, 30, 10)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(place) for place in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


def reason(path: Path) -> str:
    said = try_load(str(path))
    assert isinstance(said, str) and said and "\n" not in said and str(path) not in said
    return said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty, of 0 bytes; copy it again"),
        (b"\n <!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG drawing"),
        (b"%PDF-1.7", "it is a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; run git lfs pull"),
        (bytes(128) + b"DICM", "a DICOM file; save its picture as PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "an HEIC photograph; save it as JPEG"),
        (b"no image at all", "cannot identify image file"),
        (bytes(4096), "cannot identify image file"),
    ],
    ids=["empty", "html", "svg", "pdf", "lfs", "dicom", "heic", "text", "zeros"],
)
def test_what_is_no_image_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / "x.jpeg").write_bytes(content)
    assert words in reason(tmp_path / "x.jpeg")


def png(width: int, height: int, rows: bytes) -> bytes:
    """A gray PNG whose header says what it likes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_real_decompression_bomb_is_refused_by_its_header(tmp_path):
    """20,000 pixels a side in 100 bytes: 400 MB if it were decoded."""
    (tmp_path / "x.png").write_bytes(png(20_000, 20_000, b""))
    said = reason(tmp_path / "x.png")
    assert "400000000 pixels" in said and "save it smaller" in said


def test_a_line_of_pixels_is_no_picture(tmp_path):
    """Cut square and enlarged to 512 pixels a side it would take 15 GB."""
    Image.new("L", (20_000, 1)).save(tmp_path / "x.png")
    assert "20000 × 1 pixels are no picture" in reason(tmp_path / "x.png")
    Image.new("L", (MAX_ASPECT, 1)).save(tmp_path / "x.png")
    assert load_image(str(tmp_path / "x.png")).size == (MAX_ASPECT, 1)


def test_a_side_of_20000_pixels_is_decoded(tmp_path):
    Image.new("L", (20_000, 400), 7).save(tmp_path / "x.png")
    assert load_image(str(tmp_path / "x.png")).size == (20_000, 400)


def test_a_single_pixel_is_an_image(tmp_path):
    Image.new("RGB", (1, 1), RED).save(tmp_path / "x.png")
    assert corners(load_image(str(tmp_path / "x.png"))) == [RED] * 4


@pytest.mark.parametrize(
    ("value", "gray_range", "expected"),
    [
        (65535, (0, 65535), 255),
        (257 * 3, (0, 65535), 3),
        (200, (0, 255), 200),
        (2000, (1490, 1510), 255),
        (0, (1490, 1510), 0),
    ],
    ids=["white", "dark", "8-bit-values", "above", "below"],
)
def test_16_bits_become_8_by_a_given_range_and_are_refused_without_one(tmp_path, value, gray_range, expected):
    for suffix in ("png", "tif"):
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(path)
        assert corners(load_image(str(path), gray_range)) == [(expected,) * 3] * 4
        assert try_load(str(path)) == NO_RANGE


def test_the_range_of_gray_leaves_out_stray_pixels_and_holds_values_below_zero(tmp_path):
    values = np.random.default_rng(0).integers(-1000, 3000, (400, 400)).astype(np.int32)
    values[0, 0], values[0, 1], values[1] = 65535, -32768, [-1000, 2999] * 200
    Image.fromarray(values).save(tmp_path / "x.tif")
    counts = gray_counts(str(tmp_path / "x.tif"))
    assert not isinstance(counts, str) and range_of(counts) == (-1000, 2999)
    assert range_of(gray_counts(str(tmp_path / "x.tif")) * (np.arange(len(counts)) == 32768 + 7)) == (0, 255)
    Image.fromarray(values * 2).save(tmp_path / "x.tif")
    assert "do not fit into 16 bits" in str(gray_counts(str(tmp_path / "x.tif")))


def test_a_cmyk_jpeg_as_photoshop_writes_it_is_not_a_negative(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    assert np.allclose(corners(load_image(str(tmp_path / "x.jpg"))), (255, 0, 0), atol=4)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_of_any_animation_the_first_frame_is_taken(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert corners(load_image(str(tmp_path / f"x.{suffix}"))) == [RED] * 4


def test_a_transparent_palette_is_laid_on_black(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 30, 10, 0, 0, 255])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "x.png", transparency=0)
    assert corners(load_image(str(tmp_path / "x.png"))) == [(0, 0, 255), (0, 0, 0), (0, 0, 0), (0, 0, 0)]


# corners of an upright picture whose file says each orientation: a b / c d as stored
TURNED = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}


@pytest.mark.parametrize("orientation", [*TURNED, 0, 9, 65535])
def test_every_exif_orientation_is_turned_upright_and_an_unknown_one_left(tmp_path, orientation):
    values = {"a": 10, "b": 60, "c": 110, "d": 160}
    image = Image.fromarray(np.array([[10, 60], [110, 160]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    upright = TURNED.get(orientation, "abcd")
    assert corners(load_image(str(tmp_path / "x.png"))) == [(values[name],) * 3 for name in upright]


def test_damaged_exif_costs_no_image(tmp_path):
    Image.new("RGB", (8, 8), RED).save(tmp_path / "x.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x12")
    assert corners(load_image(str(tmp_path / "x.png"))) == [RED] * 4


@pytest.mark.parametrize("profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), b"no profile"])
def test_a_colour_profile_changes_no_number(tmp_path, profile):
    Image.new("RGB", (4, 4), RED).save(tmp_path / "x.png", icc_profile=profile)
    assert corners(load_image(str(tmp_path / "x.png"))) == [RED] * 4


def lossless_jpeg(values: np.ndarray, bits: int) -> bytes:
    """(h, w) as ITU T.81's lossless process (SOF3), predictor 1: differences by category, as DICOM files hold them."""
    height, width = values.shape
    words = []
    for row in range(height):
        for column in range(width):
            above = values[row - 1, 0] if row else 1 << (bits - 1)
            left = values[row, column - 1] if column else above
            difference = int(values[row, column]) - int(left)
            size = abs(difference).bit_length()
            extra = difference if difference >= 0 else difference + (1 << size) - 1
            words.append(f"{size:05b}" + (f"{extra:0{size}b}" if size else ""))  # a code of five bits a category
    stream = "".join(words)
    stream += "1" * (-len(stream) % 8)
    data = bytes(int(stream[place : place + 8], 2) for place in range(0, len(stream), 8)).replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0)
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    scan = bytes([1, 1, 0, 1, 0, 0])

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    return b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, table) + segment(0xDA, scan) + data + b"\xff\xd9"


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_lossless_jpeg_is_decoded_exactly_or_named(tmp_path, bits):
    """Which of them Pillow decodes depends on the libjpeg it was built with; a wrong picture is never taken."""
    values = np.random.default_rng(0).integers(0, 1 << bits, (16, 16))
    (tmp_path / "x.jpeg").write_bytes(lossless_jpeg(values, bits))
    found = try_load(str(tmp_path / "x.jpeg"))
    if isinstance(found, str):
        assert "\n" not in found
    else:
        assert bits == 8 and np.array_equal(np.asarray(found)[..., 0], values)


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


WHOLE = {kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP")}


@given(
    kind=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    end=st.integers(0, 10_000),
    cut=st.booleans(),
)
def test_a_damaged_image_is_decoded_to_rgb_or_named(kind, changes, end, cut, tmp_path):
    content = bytearray(WHOLE[kind])
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path / "x.jpeg"
    path.write_bytes(content[: end % len(content)] if cut else content)
    found = try_load(str(path))
    if isinstance(found, str):
        assert found and "\n" not in found
    else:
        assert found.mode == "RGB" and min(found.size) >= 1
