"""Where a scene takes place: twelve painted backgrounds, each a little different every time."""

from typing import NamedTuple

from PIL import Image, ImageColor, ImageDraw


class Paint(NamedTuple):
    """What a background is painted with."""

    above: str  #: the colour above the horizon
    below: str  #: the colour below it
    horizon: int  #: in sixty-fourths of the height from the top; 0 for none
    texture: str | None  #: one of TEXTURES
    ink: str  #: the colour of the texture


PAINT = {
    "grass": Paint("#9ed0f4", "#70ba54", 22, "flecks below", "#4a923a"),
    "beach": Paint("#78c8f0", "#f0daa0", 24, "flecks below", "#d8bc7c"),
    "snow": Paint("#ccd8e8", "#f4f8fc", 26, "flecks", "#ffffff"),
    "night": Paint("#10143a", "#222854", 48, "flecks", "#faf6c8"),
    "sea": Paint("#b0dcf6", "#2c80be", 20, "waves", "#62acde"),
    "room": Paint("#f2e6ce", "#a47042", 42, None, "#000000"),
    "road": Paint("#bec4cc", "#64666c", 18, "dashes", "#f4f0dc"),
    "sunset": Paint("#fa9852", "#6e3e68", 40, None, "#000000"),
    "rain": Paint("#8892a0", "#68727e", 44, "streaks", "#beccde"),
    "paper": Paint("#faf9f5", "#faf9f5", 0, None, "#000000"),
    "dots": Paint("#faf4e2", "#faf4e2", 0, "dots", "#d6968c"),
    "stripes": Paint("#f2f6fa", "#f2f6fa", 0, "stripes", "#a6c8de"),
}
FLECKS = 72
STREAKS = 45


def paint(name, size, rng):
    """The background ``name`` as a picture (Pillow, RGB) of ``size`` by ``size`` pixels.

    ``rng``, a ``random.Random``, changes its colours, its horizon and its texture a little.
    """
    above, below, horizon, texture, ink = PAINT[name]
    above = _vary(above, rng)
    below = _vary(below, rng)
    ink = _vary(ink, rng)
    if horizon:
        horizon = (horizon + rng.randrange(-6, 7)) * size // 64
    start = rng.randrange(8) * size // 64
    step = rng.randrange(5, 9) * size // 64
    image = Image.new("RGB", (size, size), below)
    image.paste(above, (0, 0, size, horizon))
    if texture:
        area = Area(size, horizon, start, step)
        TEXTURES[texture](ImageDraw.Draw(image), ink, area, rng)
    return image


def _vary(colour, rng):
    """A colour near this one: (red, green, blue) from 0 to 255."""
    near = []
    for part in ImageColor.getrgb(colour):
        changed = part + rng.randrange(-14, 15)
        near.append(min(max(changed, 0), 255))
    return tuple(near)


# Textures ------------------------------------------------------------------------------------


class Area(NamedTuple):
    """What a texture has to know, in pixels."""

    size: int  #: height and width of the picture
    horizon: int  #: the row where the ground begins
    start: int  #: where the first mark is
    step: int  #: from one mark to the next


def _flecks(draw, ink, area, rng):
    draw.point(_scatter(FLECKS, 0, area.size, rng), ink)


def _flecks_below(draw, ink, area, rng):
    draw.point(_scatter(FLECKS, area.horizon, area.size, rng), ink)


def _streaks(draw, ink, area, rng):
    for x, y in _scatter(STREAKS, 0, area.size, rng):
        draw.line((x, y, x - area.size // 32, y + area.size // 16), ink)


def _dots(draw, ink, area, rng):
    grid = range(area.start % area.step, area.size, area.step)
    draw.point([(x, y) for x in grid for y in grid], ink)


def _waves(draw, ink, area, rng):
    for y in range(area.horizon + area.start, area.size, area.step):
        draw.line((0, y, area.size, y), ink)


def _dashes(draw, ink, area, rng):
    middle = (area.horizon + area.size) // 2
    for x in range(area.start, area.size, 2 * area.step):
        draw.rectangle((x, middle, x + area.step, middle + area.size // 64), ink)


def _stripes(draw, ink, area, rng):
    for x in range(area.start, area.size, area.step):
        draw.rectangle((x, 0, x + area.step // 3, area.size), ink)


TEXTURES = {
    "flecks": _flecks,
    "flecks below": _flecks_below,
    "streaks": _streaks,
    "dots": _dots,
    "waves": _waves,
    "dashes": _dashes,
    "stripes": _stripes,
}


def _scatter(count, top, size, rng):
    """Points (x, y) anywhere below ``top``."""
    dice = rng.randbytes(2 * count)
    points = []
    for x, y in zip(dice[::2], dice[1::2], strict=True):
        points.append((x * size // 256, top + y * (size - top) // 256))
    return points
