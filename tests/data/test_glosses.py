"""The glosses: the same on every computer, apart in their splits, and with their licence."""

import hashlib
from collections import Counter

import pytest

from mmcourse.data.glosses import FILE, FOLDER, KINDS, SPLITS, Gloss, glosses, lines, split_of


def everything():
    return [gloss for split in SPLITS for gloss in glosses(split)]


def test_the_file_is_what_the_tool_made():
    digest = hashlib.sha256((FOLDER / FILE).read_bytes()).hexdigest()
    assert digest == "ea502be0bbb79e46b67b341e195e336ead6f2651bfca1ecb4f2ff72ff269e2c0"
    assert [len(glosses(split)) for split in SPLITS] == [25730, 3235, 3140]


def test_a_text_is_in_one_split_alone():
    texts = [{gloss.text for gloss in glosses(split)} for split in SPLITS]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    assert all(split_of(gloss.text) == split for split in SPLITS for gloss in glosses(split))
    assert [split_of(text) for text in ("a tree", "a nut", "a hill")] == ["train", "val", "test"]


def test_every_gloss_is_whole():
    for gloss in everything():
        assert gloss.kind in KINDS and gloss.text and gloss.words and all(gloss.words)
        assert gloss.text == " ".join(gloss.text.split())
        assert '"' not in gloss.text or gloss.text.count('"') % 2 == 0 or len(gloss.text) > 20
    assert set(KINDS) == set(Counter(gloss.kind for gloss in everything()))


def test_a_word_has_one_sense():
    counts = Counter()
    for gloss in everything():
        counts.update({word.lower() for word in gloss.words})  # one may have sun and Sun
    assert [word for word, count in counts.items() if count > 1] == []
    by_word = {word: gloss for gloss in everything() for word in gloss.words}
    assert by_word["dog"].kind == "animal" and by_word["oak"].kind == "plant"
    assert by_word["spoon"].kind == "artefact" and by_word["soup"].kind == "food"


def test_words_that_were_kept_out_are_out():
    text = " ".join(line.lower() for split in SPLITS for line in lines(split)).split()
    for word in ("prostitute", "nazi", "negro", "squaw", "heroin", "genitalia", "torture"):
        assert word not in text


def test_a_line_is_one_of_a_dictionary():
    gloss = Gloss(("oak", "oak tree"), "a tree that bears acorns", "plant")
    assert gloss.line == "oak, oak tree: a tree that bears acorns"
    assert lines("val")[0] == glosses("val")[0].line
    assert len(lines("test")) == 3140


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="unknown split 'dev': choose one of train, val, test"):
        glosses("dev")


def test_the_licence_lies_beside():
    licence = (FOLDER / "LICENSES" / "WordNet.txt").read_text()
    assert "Princeton University" in licence and "without" in licence
    assert "WordNet 3.1" in (FOLDER / "NOTICE").read_text()
