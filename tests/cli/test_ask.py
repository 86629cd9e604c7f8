"""``mmcourse ask``: a question, a conversation, and what cannot be answered."""

import io
import json
import sys

import pytest
import torch

from mmcourse import cli
from mmcourse.vqa import Answer, Answerer, all_words


@pytest.fixture
def answerer(tmp_path):
    """Folder of an answerer that has learnt nothing; it sees with the shipped captioner."""
    torch.manual_seed(0)
    model = Answerer(all_words(), (), width=8, heads=2, layers=1, hidden=8)
    model.save_pretrained(tmp_path / "answerer")
    return str(tmp_path / "answerer")


@pytest.fixture
def told(monkeypatch):
    """What the answerer is asked, question and history; it says yes, surely, if not changed."""
    asked = []
    found = {"text": "yes", "confidence": 0.9}

    def answer(self, picture, question, history=()):
        self.prompt(question, history)
        asked.append((question, tuple(history)))
        return Answer(found["text"], found["confidence"], torch.zeros(1))

    monkeypatch.setattr(Answerer, "answer", answer)
    return asked, found


def lines(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_one_question(answerer, picture, capsys):
    from mmcourse.hub import load

    assert cli.main(["ask", picture, "Is there a dog?", "--model", answerer]) == 0
    found = load(answerer).answer(picture, "is there a dog ?")
    note = f" (low confidence {found.confidence:.2f}: the model's own probability, not calibrated)"
    assert capsys.readouterr().out == f"{found.text}{note}\n"
    assert cli.main(["ask", picture, "Is there a dog?", "--model", answerer, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == {
        "picture": picture, "question": "Is there a dog?", "answer": found.text,
        "confidence": pytest.approx(found.confidence, rel=1e-4), "low_confidence": True,
        "confidence_is": "the model's own probability, not calibrated",
    }  # fmt: skip


def test_a_sure_answer_comes_without_a_note(answerer, picture, capsys, told):
    assert cli.main(["ask", picture, "is there a dog?", "--model", answerer]) == 0
    assert capsys.readouterr().out == "yes\n"
    told[1]["confidence"] = 0.4
    cli.main(["ask", picture, "is there a dog?", "--model", answerer])
    assert capsys.readouterr().out.startswith("yes (low confidence 0.40: ")


def test_a_conversation_remembers_the_turn_before(answerer, picture, capsys, monkeypatch, told):
    lines(monkeypatch, "is there a dog?\n\nwhat colour is it?\nwhere is this?\n")
    assert cli.main(["ask", picture, "--model", answerer]) == 0
    assert capsys.readouterr() == ("yes\nyes\nyes\n", "")
    first, second, third = ("is there a dog?", "what colour is it?", "where is this?")
    asked = told[0]
    assert asked[0] == (first, ()) and asked[1] == (second, ((first, "yes"),))
    assert asked[2] == (third, ((first, "yes"), (second, "yes")))


def test_a_line_goes_on_from_no_line_that_was_refused(answerer, picture, capsys, monkeypatch, told):
    lines(monkeypatch, "is there a dog?\nis there a quux?\nwhat colour is it?\n")
    assert cli.main(["ask", picture, "--model", answerer]) == 1
    out, err = capsys.readouterr()
    assert out == "yes\n" and "quux" in err and "there is none: ask that first" in err


def test_what_cannot_be_answered_is_said_and_the_next_is_heard(
    answerer, picture, capsys, monkeypatch, told
):
    lines(monkeypatch, "Ist da ein Hund?\nis there a dog?\n" + "dog " * 10_000 + "\n")
    assert cli.main(["ask", picture, "--model", answerer]) == 1
    found = capsys.readouterr()
    assert found.out == "yes\n"
    first, second = found.err.splitlines()
    assert first.startswith("mmcourse ask: I don't know the words 'ist', 'da', 'ein', 'hund'.")
    assert second.startswith("mmcourse ask: this question has 10,000 words, more than I read")


BAD = [
    (["scene", "wo ist der Hund?"], "I don't know the words 'wo', 'ist', 'der', 'hund'"),
    (["scene", ""], "expected a question, got none"),
    (["scene", "dog " * 10_000], "has 10,000 words"),
    (["scene", "what colour is it?"], "goes on from a question before it, and there is none"),
    (["nothing.png", "is there a dog?"], "found no file nothing.png"),
    (["text", "is there a dog?"], "is none: convert it"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(arguments, message, answerer, picture, complaint, tmp_path):
    (tmp_path / "no.png").write_text("this is no picture")
    places = {"scene": picture, "text": str(tmp_path / "no.png")}
    arguments = [places.get(arguments[0], arguments[0]), *arguments[1:]]
    assert cli.main(["ask", *arguments, "--model", answerer]) == 2
    assert message in complaint()


@pytest.mark.parametrize("text", ["", "\n  \n", "hallo\n"])
def test_a_conversation_without_an_answer(text, answerer, picture, monkeypatch, complaint):
    lines(monkeypatch, text)
    assert cli.main(["ask", picture, "--model", answerer]) == 2
    assert ("expected a question, got none" if not text.strip() else "'hallo'") in complaint()


def test_another_model_answers_no_questions(picture, complaint):
    assert cli.main(["ask", picture, "is there a dog?", "--model", "scenes"]) == 2
    assert "'scenes' is a SceneCaptioner and answers no questions: take vqa" in complaint()
