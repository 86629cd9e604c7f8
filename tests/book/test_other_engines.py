"""How other browsers than Chromium are spoken to; the browsers themselves are played by stubs."""

import json
import types

import pytest

from tools.book.other_engines import Firefox, WebKit, until


def firefox(*answers):
    """A page of a Firefox that gives these answers, and what was sent to it."""
    sent = []
    left = iter(answers)
    page = object.__new__(Firefox)
    page.sent, page.context = 0, "one"
    page.socket = types.SimpleNamespace(
        send=lambda text: sent.append(json.loads(text)), recv=lambda: json.dumps(next(left))
    )
    return page, sent


def test_firefox_gives_the_value_of_a_script():
    news = {"type": "event", "method": "log.entryAdded"}
    value = {"type": "success", "result": {"type": "string", "value": "[1, 2]"}}
    page, sent = firefox(news, {"type": "success", "id": 1, "result": value})
    assert page.evaluate("async (x) => [x, 2]", [1]) == [1, 2]
    assert sent[0]["method"] == "script.evaluate" and sent[0]["params"]["awaitPromise"]
    assert "(async (x) => [x, 2])([1])" in sent[0]["params"]["expression"]


def test_what_fails_in_firefox_is_told():
    failed = {"type": "exception", "exceptionDetails": {"text": "Error: no"}}
    page, _ = firefox({"type": "success", "id": 1, "result": failed})
    with pytest.raises(RuntimeError, match="Error: no"):
        page.evaluate("1")
    page, _ = firefox({"type": "error", "id": 1, "message": "unknown command"})
    with pytest.raises(RuntimeError, match=r"browsingContext\.navigate: unknown command"):
        page.open("file:///x")


@pytest.mark.parametrize(
    ("found", "value"), [("[1, 2]", [1, 2]), (None, None), ("!Error: no", RuntimeError)]
)
def test_webkit_gives_the_value_of_a_script_or_its_error(found, value):
    sent = []
    page = object.__new__(WebKit)
    page.post = lambda path, body: sent.append((path, body["script"])) or found
    if value is RuntimeError:
        with pytest.raises(RuntimeError, match="^Error: no$"):
            page.evaluate("load()")
    else:
        assert page.evaluate("async (x) => [x, 2]", [1]) == value
        assert "(async (x) => [x, 2])([1])" in sent[0][1]
    assert sent[0][0] == "/execute/async"


def test_it_waits_for_a_browser_that_starts():
    left = iter([OSError(), OSError(), 3])

    def attempt():
        found = next(left)
        if isinstance(found, OSError):
            raise found
        return found

    assert until(attempt) == 3
    with pytest.raises(ZeroDivisionError):
        until(lambda: 1 / 0)
