"""The drawings: complete, legible to a machine, named in two languages, and always the same."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from mmcourse.data import drawings
from mmcourse.data.drawings import HELD_OUT_STYLE, STYLES, drawing, nouns, styles_of

COLOURS = {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"}
MEASURES = set(
    "只条头匹个位辆架艘列棵朵株束片根串颗块盒盘碗杯瓶罐座家顶道张枚弯股团份幅副套件把支面台部扇本盏滴对"
)


def test_there_are_enough_nouns_of_every_kind():
    categories = Counter(noun.category for noun in nouns())
    assert len(nouns()) >= 300
    assert (
        categories["face"] >= 15
        and categories["action"] >= 20
        and categories["action"] + categories["person"] >= 35
    )
    assert all(count >= 3 for count in categories.values()), (
        "a false caption needs another noun of the same kind"
    )


def test_every_noun_is_in_the_held_out_style_and_nearly_all_are_in_all_five():
    held = {noun.name: set(styles_of(noun.name)) for noun in nouns()}
    assert all(HELD_OUT_STYLE in styles for styles in held.values())
    assert all(len(styles & set(STYLES)) >= 4 for styles in held.values())
    assert sum(set(STYLES) <= styles for styles in held.values()) >= 0.85 * len(held)


def test_every_noun_has_its_own_names_in_both_languages():
    english = [form for noun in nouns() for form in {noun.name, noun.plural}]
    assert len(set(english)) == len(english)
    assert len({noun.zh for noun in nouns()}) == len(nouns())
    assert len({noun.emoji for noun in nouns()}) == len(nouns())
    for noun in nouns():
        for form in (noun.name, noun.plural):
            assert re.fullmatch(r"[a-z]+( [a-z]+){0,3}", form), form
        assert re.fullmatch(r"[\u4e00-\u9fff]+", noun.zh), noun.zh


def test_articles_and_measure_words_fit():
    for noun in nouns():
        sounds_like_a_vowel = noun.name[0] in "aeio" or noun.name.startswith(
            ("umbrella", "upside", "hourglass")
        )
        assert noun.article == ("an" if sounds_like_a_vowel else "a"), noun.name
        assert noun.measure in MEASURES, (noun.name, noun.measure)
        assert noun.measure != noun.zh[-1] or noun.name == "notepad", (
            noun.name,
            noun.measure,
            noun.zh,
        )
    measures = {noun.name: noun.measure + noun.zh for noun in nouns()}
    for name, phrase in (
        ("cat", "只猫"),
        ("fish", "条鱼"),
        ("car", "辆汽车"),
        ("airplane", "架飞机"),
        ("tree", "棵树"),
        ("rose", "朵玫瑰"),
        ("umbrella", "把雨伞"),
        ("house", "座房子"),
        ("horse", "匹马"),
        ("book", "本书"),
        ("bed", "张床"),
        ("crown", "顶皇冠"),
        ("ring", "枚戒指"),
        ("door", "扇门"),
    ):
        assert measures[name] == phrase


def test_tints_are_denied_where_they_deceive():
    table = {noun.name: noun for noun in nouns()}
    assert all(noun.denied <= COLOURS for noun in nouns())
    assert not any(
        noun.tintable for noun in nouns() if noun.category in ("person", "action", "face")
    )
    assert not any(noun.denied and not noun.tintable for noun in nouns())
    assert "green" in table["banana"].denied and "yellow" in table["chili pepper"].denied
    assert "yellow" in table["car"].denied, "a yellow car is a taxi"


@pytest.mark.parametrize("style", (*STYLES, HELD_OUT_STYLE))
def test_every_drawing_fills_its_cell_and_is_like_no_other(style):
    seen = {}
    for noun in nouns():
        if style not in styles_of(noun.name):
            continue
        image = drawing(noun.name, style)
        assert image.shape == (64, 64, 4) and image.dtype == np.uint8
        rows, columns = np.nonzero(image[..., 3])
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 60 <= max(sides) <= 64, (noun.name, sides)
        for axis in (rows, columns):
            assert abs(axis.min() + axis.max() - 63) <= 4, f"{noun.name} is not centred"
        assert (image[..., 3] > 127).sum() > 150, f"{noun.name} is nearly empty"
        assert not image[..., :3][image[..., 3] == 0].any(), (
            "clear pixels are black, so that the sheet packs well"
        )
        assert seen.setdefault(image.tobytes(), noun.name) == noun.name


@pytest.mark.parametrize(
    "style, digest",
    [
        ("noto", "3bf60291ecb7f0a7"),
        ("blob", "f90be1809601cd68"),
        ("twemoji", "a3f4c4d95b390651"),
        ("fluent", "0fb23b7b38f00667"),
        ("emojitwo", "e4cb655d4665148e"),
        ("openmoji", "03e01b441e068782"),
    ],
)
def test_pixels_are_the_same_on_every_machine(style, digest):
    found = hashlib.sha256()
    for noun in nouns():
        if style in styles_of(noun.name):
            found.update(noun.name.encode() + drawing(noun.name, style).tobytes())
    assert found.hexdigest()[:16] == digest


def test_a_drawing_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        drawing("cat", "noto")[0, 0] = 255


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="unknown noun 'elefant': did you mean elephant"):
        drawing("elefant", "noto")
    with pytest.raises(ValueError, match="'qqqqq': did you mean one of the names in nouns"):
        styles_of("qqqqq")
    with pytest.raises(ValueError, match="unknown style 'apple': use one of noto, .*openmoji"):
        drawing("cat", "apple")
    with pytest.raises(
        ValueError, match="emojitwo has no drawing of 'firefighter': it is in noto, blob"
    ):
        drawing("firefighter", "emojitwo")


def test_every_file_has_its_author_and_its_licence():
    notice = (drawings.FOLDER / "NOTICE").read_text("utf-8")
    for path in (*drawings.FOLDER.glob("*.webp"), drawings.FOLDER / "nouns.csv"):
        assert f"\n{path.name} " in notice
    for name in re.findall(r"LICENSES/[\w.-]+\.txt", notice):
        assert len((drawings.FOLDER / name).read_text("utf-8")) > 1000
    texts = {path.name for path in (drawings.FOLDER / "LICENSES").iterdir()}
    assert set(re.findall(r"LICENSES/([\w.-]+\.txt)", notice)) == texts


def test_the_sheets_are_small():
    assert sum(path.stat().st_size for path in drawings.FOLDER.glob("*.webp")) < 8e6
