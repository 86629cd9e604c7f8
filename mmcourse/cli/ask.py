"""``mmcourse ask``: answer a question about a picture, or hold a conversation about it."""

import json
import sys

from mmcourse.cli.messages import complain

ABOUT = "answer questions about a drawn scene"
EXAMPLES = """  mmcourse ask scene.png "what colour is the dog?"
  mmcourse ask scene.png
  printf 'is there a dog?\\nwhat colour is it?\\n' | mmcourse ask scene.png --json"""
LONGEST_LINE = 1000  # letters of a question that are read


def add_arguments(parser):
    parser.add_argument("picture", metavar="PICTURE", help="a PNG, JPEG or other picture")
    parser.add_argument(
        "question",
        metavar="QUESTION",
        nargs="?",
        help="in quotation marks; without one, questions are read line by line, and a line such "
        "as 'what colour is it?' goes on from the one before",
    )
    parser.add_argument(
        "--model",
        default="vqa",
        help="vqa (the shipped one, for drawn scenes; the default), or the folder of another",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def run(options):
    """Answer one question, or each line of standard input. Those without an answer are named."""
    model = load_answerer(options.model)
    model.see([options.picture])  # a file that is no picture shows before anything is asked
    if options.question is not None:
        print_answer(model, options, options.question, [])
        return 0
    return converse(model, options, sys.stdin)


def load_answerer(name):
    """The model of this name. ValueError for one that answers no questions."""
    from mmcourse.hub import load
    from mmcourse.vqa import Answerer

    model = load(name)
    if not isinstance(model, Answerer):
        raise ValueError(f"{name!r} is a {type(model).__name__} and answers no questions: take vqa")
    return model


def converse(model, options, lines):
    """Answer each of the ``lines`` that is not empty; the exit code.

    It is 0 when all had an answer, 1 when some had none, 2 when none had one.
    """
    if lines.isatty():
        print("Ask about the picture, a question a line; Ctrl-D ends.", file=sys.stderr)
    history = []
    asked = 0
    answered = 0
    for line in lines:
        if not line.strip():
            continue
        asked += 1
        try:
            answer = print_answer(model, options, line.strip(), history)
        except ValueError as error:
            complain("ask", error)
            history = []  # the next line goes on from nothing
            continue
        answered += 1
        history = [*history[-1:], (line.strip(), answer.text)]
    if asked == 0:
        raise ValueError("expected a question, got none: give one, or one a line")
    if answered == 0:
        return 2
    return 0 if answered == asked else 1


def print_answer(model, options, question, history):
    """Answer a question, print the line and return the answer."""
    if len(question) > LONGEST_LINE:
        raise ValueError(
            f"this question has {len(question.split()):,} words, more than I read: "
            "ask one thing, as in 'what colour is the dog?'"
        )
    answer = model.answer(options.picture, question, history)
    low = answer.confidence < model.low_confidence
    if options.json:
        line = {
            "picture": options.picture,
            "question": question,
            "answer": answer.text,
            "confidence": answer.confidence,
            "confidence_is": model.confidence_is,
            "low_confidence": low,
        }
        print(json.dumps(line), flush=True)
        return answer
    note = f" (low confidence {answer.confidence:.2f}: {model.confidence_is})" if low else ""
    print(f"{answer.text}{note}", flush=True)
    return answer
