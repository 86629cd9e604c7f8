"""Pictures: of any kind that people have, or a clear word about what is wrong with them."""

import io
import logging
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from mmcourse.data import pictures
from mmcourse.data.pictures import load_picture

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def halves(width=40, height=40, left=RED, right=BLUE):
    """A picture with a left and a right half."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = left, right
    return Image.fromarray(pixels)


def assert_halves(pixels, first=RED, second=BLUE, axis=1):
    """The middles of both halves have these colours, up to the error of JPEG; axis 1 is across."""
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    size = len(pixels)
    at = [(size // 4, size // 2), (3 * size // 4, size // 2)]
    for place, colour in zip(at, (first, second), strict=True):
        found = pixels[place if axis == 0 else place[::-1]].astype(int)
        assert abs(found - colour).max() <= 6, (found, colour)


def test_same_size_is_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(load_picture(pixels), pixels)
    assert np.array_equal(load_picture(Image.fromarray(pixels), 64), pixels)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp", "bmp", "tiff", "ppm"])
def test_formats(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    halves().save(path)
    assert_halves(load_picture(path, 32))
    assert_halves(load_picture(str(path), 7))


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_colour_modes(mode):
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.applyTransform(
            halves(), ImageCms.buildTransform(*profiles, "RGB", "LAB")
        )
        assert load_picture(picture, 32).shape == (32, 32, 3)
        return
    assert_halves(load_picture(halves().convert(mode), 32))


def test_cmyk_jpeg(tmp_path):
    halves().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert_halves(load_picture(tmp_path / "a.jpg", 32))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey(mode):
    assert_halves(
        load_picture(halves(left=(0, 0, 0), right=WHITE).convert(mode), 32), (0, 0, 0), WHITE
    )


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_keep_their_shades(tmp_path, ending):
    values = np.zeros((40, 40), np.uint16)
    values[:, :20], values[:, 20:] = 0x4000, 0xC000
    Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    assert_halves(load_picture(tmp_path / f"deep.{ending}", 32), (64,) * 3, (191,) * 3)


def test_sixteen_bits_that_are_dark_stay_dark(tmp_path):
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / "dark.png")
    assert load_picture(tmp_path / "dark.png", 8).max() == 0


@pytest.mark.parametrize("dtype, top", [(np.int32, 1_000_000), (np.float32, 1.0)])
def test_deep_grey_is_stretched(dtype, top):
    values = np.zeros((40, 40), dtype)
    values[:, 20:] = top
    assert_halves(load_picture(Image.fromarray(values), 32), (0, 0, 0), WHITE)


def test_transparency_lies_on_white(tmp_path):
    picture = halves().convert("RGBA")
    alpha = np.full((40, 40), 255, np.uint8)
    alpha[:, 20:] = 0
    picture.putalpha(Image.fromarray(alpha))
    assert_halves(load_picture(picture, 32), RED, WHITE)
    picture.convert("LA").save(tmp_path / "la.png")
    assert_halves(load_picture(tmp_path / "la.png", 32), (76, 76, 76), WHITE)
    alpha[:, 20:] = 128
    picture.putalpha(Image.fromarray(alpha))
    assert_halves(load_picture(picture, 32), RED, (127, 127, 255))


def test_transparent_palette(tmp_path):
    picture = Image.fromarray(np.repeat([[0, 1]], 20, axis=1).repeat(40, axis=0).astype(np.uint8))
    picture = picture.convert("P")
    picture.putpalette([*RED, *BLUE])
    picture.save(tmp_path / "palette.png", transparency=1)
    assert Image.open(tmp_path / "palette.png").mode == "P"
    assert_halves(load_picture(tmp_path / "palette.png", 32), RED, WHITE)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_first_frame_of_an_animation(tmp_path, ending):
    other = halves(left=BLUE, right=RED)
    halves().save(
        tmp_path / f"a.{ending}", save_all=True, append_images=[other, other], duration=50
    )
    assert Image.open(tmp_path / f"a.{ending}").n_frames > 1
    assert_halves(load_picture(tmp_path / f"a.{ending}", 32))


@pytest.mark.parametrize(
    "orientation, first, second, axis",
    [
        (1, RED, BLUE, 1),
        (2, BLUE, RED, 1),
        (3, BLUE, RED, 1),
        (4, RED, BLUE, 1),
        (5, RED, BLUE, 0),
        (6, RED, BLUE, 0),
        (7, BLUE, RED, 0),
        (8, BLUE, RED, 0),
        (77, RED, BLUE, 1),
    ],
)
def test_exif_orientation(tmp_path, orientation, first, second, axis):
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert_halves(load_picture(tmp_path / "turned.jpg", 32), first, second, axis)


@pytest.mark.parametrize(
    "width, height", [(1, 1), (3, 1), (1, 500), (500, 1), (65, 64), (1000, 31)]
)
def test_any_shape(width, height):
    for size in (1, 13, 64):
        pixels = load_picture(Image.new("RGB", (width, height), (10, 200, 30)), size)
        assert pixels.shape == (size, size, 3) and (pixels == (10, 200, 30)).all()


def test_whole_picture_is_kept_and_edges_are_repeated():
    pixels = load_picture(halves(80, 20), 64)
    assert_halves(pixels)
    assert (pixels[0] == pixels[32]).all()  # above the 16 rows of the picture its first row goes on
    tall = np.zeros((80, 40, 3), np.uint8)
    tall[:, :1], tall[:, -1:] = RED, BLUE
    pixels = load_picture(tall, 80)
    assert (
        (pixels[:, :20] == RED).all()
        and (pixels[:, 60:] == BLUE).all()
        and (pixels[:, 25:55] == 0).all()
    )


def test_large_jpeg(tmp_path):
    halves(3000, 2000).save(tmp_path / "large.jpg")
    assert_halves(load_picture(tmp_path / "large.jpg", 64))


def bomb(path, side, bits=8, colours=2):
    """A small PNG that claims side x side pixels; colours 0 are grey, 2 RGB, 4 and 6 with alpha."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, bits, colours, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    "side", [9_500, 60_000]
)  # Pillow warns of the first and refuses the second
def test_decompression_bomb(tmp_path, side):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="too many pixels.*make it smaller"):
            load_picture(bomb(tmp_path / "bomb.png", side))


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp", "bmp", "tiff", "ppm"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_cut_off(tmp_path, ending, share):
    noise = np.random.default_rng(1).integers(0, 256, (50, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole.{ending}")
    data = (tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="cut off or damaged|is none"):
        load_picture(path)


def test_every_cut_of_a_small_picture_gives_all_of_it_or_a_clear_error(tmp_path):
    halves(5, 5).save(tmp_path / "small.png")
    data, whole = (tmp_path / "small.png").read_bytes(), load_picture(tmp_path / "small.png")
    path, errors = tmp_path / "cut.png", 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            assert np.array_equal(load_picture(path), whole)  # only checksums are missing
        except ValueError as error:
            errors += 1
            assert any(
                words in str(error) for words in ("is cut off or damaged", "is none", "is empty")
            )
    assert errors >= len(data) - 24


@pytest.mark.parametrize(
    "content", [b"hello, I am a text", b"\x00" * 100, b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_not_a_picture(tmp_path, content):
    (tmp_path / "text.png").write_bytes(content)
    with pytest.raises(ValueError, match="expected a picture .PNG, JPEG.*convert it"):
        load_picture(tmp_path / "text.png")


def test_empty_file(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match="is empty.*download it again"):
        load_picture(tmp_path / "empty.png")


def test_folder_and_missing(tmp_path):
    with pytest.raises(IsADirectoryError, match="got the folder.*name what is in it"):
        load_picture(tmp_path)
    with pytest.raises(FileNotFoundError, match="found no file .*nothing.png"):
        load_picture(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="not an ordinary file"):
        load_picture("/dev/null")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3)),
        np.zeros((8, 8), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
    ],
)
def test_wrong_array(array):
    with pytest.raises(ValueError, match=r"expected a uint8 array \(H, W, 3\)"):
        load_picture(array)


# What it takes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bits, colours, side, kind",
    [(16, 0, 8_400, "I;16"), (8, 6, 8_500, "RGBA"), (8, 4, 8_000, "LA"), (16, 6, 8_500, "RGBA")],
)
def test_the_limit_is_one_of_memory(tmp_path, bits, colours, side, kind):
    """Fewer pixels than Pillow allows, more bytes than we do; refused before decoding."""
    path = bomb(tmp_path / "deep.png", side, bits, colours)
    with pytest.raises(ValueError, match=rf"{side} x {side} in mode {kind} take \d\d\d MB"):
        load_picture(path)
    with pytest.raises(ValueError, match="cut off or damaged"):
        load_picture(bomb(tmp_path / "fair.png", side // 2, bits, colours))


def test_a_turned_copy_counts(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    monkeypatch.setattr(pictures, "MEMORY", 5 * 40 * 40)
    halves().save(tmp_path / "upright.png")
    halves().save(tmp_path / "turned.png", exif=exif)
    load_picture(tmp_path / "upright.png")
    with pytest.raises(ValueError, match="turned.png has too many pixels.*of memory, of 0 that"):
        load_picture(tmp_path / "turned.png")


def test_a_large_picture_of_three_colours_is_no_trap(tmp_path):
    with pytest.raises(ValueError, match="cut off or damaged"):  # decoding has begun
        load_picture(bomb(tmp_path / "wide.png", 9_400))


PEAK = """
import sys
import numpy as np
from PIL import Image
from mmcourse.data import pictures

def field(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

path = sys.argv[1]
pictures.load_picture(sys.argv[2])
with Image.open(path) as image:
    allowed = image.width * image.height * pictures._bytes_per_pixel(image)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
before = field("VmHWM")
pictures.load_picture(path)
print(allowed, field("VmHWM") - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
@pytest.mark.parametrize(
    "mode, ending",
    [
        ("L", "png"),
        ("P", "png"),
        ("LA", "png"),
        ("RGB", "png"),
        ("RGBA", "png"),
        ("I;16", "png"),
        ("I", "tiff"),
        ("F", "tiff"),
        ("CMYK", "tiff"),
        ("RGB", "webp"),
        ("RGBA", "webp"),
    ],
)
def test_no_picture_takes_more_than_we_reckon(tmp_path, mode, ending):
    shape, kinds = (2400, 2400), {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in kinds:
        image = Image.fromarray(np.ones(shape, kinds[mode]))
    else:
        image = Image.new(mode, shape)
    for path, one in (
        (tmp_path / f"a.{ending}", image),
        (tmp_path / f"b.{ending}", image.crop((0, 0, 9, 9))),
    ):
        one.save(path, **({"transparency": 0} if mode == "P" else {}))
    command = [sys.executable, "-c", PEAK, tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    allowed, taken = map(int, done.stdout.split())
    assert taken < 1.1 * allowed + 4e6, f"{taken / 2400**2:.1f} bytes a pixel"


def test_a_shortage_of_memory_is_called_that(tmp_path, monkeypatch):
    halves().save(tmp_path / "a.png")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", fail)
    with pytest.raises(
        MemoryError, match=r"not enough memory for .*a.png, 40 x 40 pixels: make it"
    ):
        load_picture(tmp_path / "a.png")


# What may be given ---------------------------------------------------------------------------


def test_an_open_file(tmp_path):
    halves().save(tmp_path / "a.png")
    whole = load_picture(tmp_path / "a.png", 32)
    data = (tmp_path / "a.png").read_bytes()
    memory = io.BytesIO(data)
    assert np.array_equal(load_picture(memory, 32), whole)
    assert np.array_equal(load_picture(memory, 32), whole), "from its beginning again"
    with (tmp_path / "a.png").open("rb") as file:
        assert np.array_equal(load_picture(file, 32), whole)
    with pytest.raises(ValueError, match="but the file is none"):
        load_picture(io.BytesIO(b"a text"))
    with pytest.raises(ValueError, match="the file is cut off or damaged"):
        load_picture(io.BytesIO(data[:60]))


@pytest.mark.parametrize("thing", [b"bytes", None, [], ["a.png"], 7, io.StringIO("text")])
def test_other_things_are_refused(thing):
    with pytest.raises(
        TypeError, match=f"a uint8 array, got {type(thing).__name__}; of bytes take"
    ):
        load_picture(thing)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_has_pixels(size):
    with pytest.raises(ValueError, match=f"size must be 1 pixel or more, got {size}"):
        load_picture(halves(), size)


def test_a_dead_link(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"link.png is a link to .*gone.png, which is not"):
        load_picture(tmp_path / "link.png")


# Odd files that can be read ------------------------------------------------------------------


def test_pillows_warnings_stay_inside(tmp_path, recwarn, capfd, monkeypatch):
    halves().save(tmp_path / "a.png")
    opened = Image.open

    def warn(*arguments, **options):
        warnings.warn("Truncated File Read", UserWarning, stacklevel=2)
        logging.getLogger("PIL.TiffImagePlugin").warning("More samples per pixel than expected")
        return opened(*arguments, **options)

    monkeypatch.setattr(Image, "open", warn)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert_halves(load_picture(tmp_path / "a.png", 32))
    assert not recwarn.list and capfd.readouterr().err == ""


def test_a_palette_with_several_transparencies(tmp_path, recwarn):
    """Pillow warns when it turns such a picture into RGB."""
    picture = Image.fromarray(np.repeat([[0, 1]], 20, axis=1).repeat(40, axis=0).astype(np.uint8))
    picture = picture.convert("P")
    picture.putpalette([*RED, *BLUE])
    picture.save(tmp_path / "palette.png", transparency=bytes([255, 0]))
    assert_halves(load_picture(tmp_path / "palette.png", 32), RED, WHITE)
    assert not recwarn.list


def test_wrong_metadata_does_no_harm():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a text"
    whole = bytearray(exif.tobytes())
    generator = np.random.default_rng(0)
    for _ in range(300):
        spoiled = bytearray(whole)
        for place in generator.integers(6, len(spoiled), 4):
            spoiled[place] = generator.integers(256)
        file = io.BytesIO()
        halves().save(file, "JPEG", exif=bytes(spoiled))
        assert load_picture(file, 16).shape == (16, 16, 3)


@pytest.mark.parametrize("dtype, top", [(np.float32, 0.7), (np.float32, 3e7), (np.int32, 999_983)])
def test_the_brightest_is_white(dtype, top):
    values = np.zeros((8, 8), dtype)
    values[4:] = top
    assert load_picture(Image.fromarray(values), 8).max() == 255


def test_deep_grey_with_holes():
    values = np.full((8, 8), 2.0, np.float32)
    values[0], values[1], values[2] = np.nan, -np.inf, -5
    pixels = load_picture(Image.fromarray(values), 8)
    assert (pixels[:3] == 0).all() and (pixels[3:] == 255).all()


def test_without_a_size_no_pixel_changes(tmp_path):
    """But it is upright, in RGB and on white, as a model's own image processor wants it."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    assert np.array_equal(load_picture(pixels, None), pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(load_picture(tmp_path / "turned.png", None), np.rot90(pixels, -1))
    clear = np.dstack([pixels, np.zeros((5, 9), np.uint8)])
    assert (load_picture(Image.fromarray(clear), None) == 255).all()
    large = Image.new("RGB", (700, 300), "red")
    large.save(tmp_path / "large.jpg")
    assert load_picture(tmp_path / "large.jpg", None).shape == (300, 700, 3)
    assert load_picture(np.zeros((1, 3, 3), np.uint8), None).flags.writeable
