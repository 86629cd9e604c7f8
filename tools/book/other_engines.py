"""Compare the captioner of the page book/try.md with Python's, in browsers that are not Chromium.

    python -m tools.book.other_engines

It needs Firefox, and WebKit (Debian: ``apt install firefox-esr webkit2gtk-driver xvfb``); one that
is missing is left out, and said to be. Stored is the study ``serving_page_engines``. Firefox is
spoken to by WebDriver BiDi, WebKit by WebDriver, each without a library: two commands are all.
"""

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

from websocket import create_connection

from mmcourse.hub import load_captioner
from mmcourse.recipes.stored import machine, write_study
from tools.book.captioner_page import TRY
from tools.book.captioner_page_study import compare_photographs, compare_scenes

MINIBROWSER = sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))
LOAD = "Captioner.load().then((about) => { globalThis.ABOUT = about; })"


def free_port():
    """A port that nobody listens on."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(attempt, seconds=30):
    """What ``attempt()`` returns, as soon as it raises no OSError."""
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextmanager
def started(*command):
    """A program, stopped at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


class Firefox:
    """A page of Firefox over WebDriver BiDi: https://www.w3.org/TR/webdriver-bidi/."""

    def __init__(self, port):
        address = f"ws://127.0.0.1:{port}/session"
        self.socket = until(lambda: create_connection(address, timeout=120, suppress_origin=True))
        self.sent = 0
        about = self.send("session.new", capabilities={})["capabilities"]
        self.name = f"Firefox {about['browserVersion']}"
        self.context = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method, **params):
        """The result of a command, a dict."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.sent:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['message']}")
                return answer["result"]

    def open(self, url):
        """Load a page."""
        self.send("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def evaluate(self, script, given=None):
        """What a script returns: an expression, or a function of ``given``."""
        call = f"({script})({json.dumps(given)})" if given is not None else script
        text = f"(async () => JSON.stringify(await {call}) ?? 'null')()"
        target = {"context": self.context}
        found = self.send("script.evaluate", expression=text, target=target, awaitPromise=True)
        if found["type"] == "exception":
            raise RuntimeError(found["exceptionDetails"]["text"])
        return json.loads(found["result"]["value"])


class WebKit:
    """A page of WebKitGTK over WebDriver: https://www.w3.org/TR/webdriver2/."""

    def __init__(self, port):
        self.address = f"http://127.0.0.1:{port}/session"
        options = {"binary": str(MINIBROWSER[-1]), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        found = until(lambda: self.post("", {"capabilities": wanted}))
        self.address += f"/{found['sessionId']}"
        self.name = f"WebKitGTK {found['capabilities']['browserVersion']}"
        self.post("/timeouts", {"script": 120_000})

    def post(self, path, body):
        """The value that a command returns."""
        head = {"content-type": "application/json"}
        sent = urllib.request.Request(self.address + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(sent, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        """Load a page."""
        self.post("/url", {"url": url})

    def evaluate(self, script, given=None):
        """What a script returns: an expression, or a function of ``given``."""
        call = f"({script})({json.dumps(given)})" if given is not None else script
        end = "then(JSON.stringify).then(done, (error) => done(`!${error}`))"
        text = f"const done = arguments[0]; {call}.{end}"
        found = self.post("/execute/async", {"script": text, "args": []})
        if found and found.startswith("!"):
            raise RuntimeError(found[1:])
        return json.loads(found or "null")


def compared(tab, page, captioner):
    """What is found in one browser, a dict."""
    tab.open(page.as_uri())
    tab.evaluate(LOAD)
    found = {"browser": tab.name, "scenes": compare_scenes(tab, captioner)}
    found["photographs"] = compare_photographs(tab, captioner)
    print(found, flush=True)
    return found


def main():
    captioner = load_captioner("scenes")
    folder = Path(tempfile.mkdtemp())
    page = folder / "page.html"
    script = (TRY / "captioner.js").as_uri()
    page.write_text(f'<!doctype html><meta charset="utf-8"><script src="{script}"></script>')
    found = {}
    port = free_port()
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox:
        profile = ["--profile", str(folder), "--headless", "--no-remote"]
        with started(firefox, *profile, f"--remote-debugging-port={port}"):
            found["firefox"] = compared(Firefox(port), page, captioner)
    else:
        print("There is no Firefox here: left out.")
    if shutil.which("WebKitWebDriver") and MINIBROWSER:
        with started("xvfb-run", "-a", "WebKitWebDriver", f"--port={port}"):
            found["webkit"] = compared(WebKit(port), page, captioner)
    else:
        print("There is no WebKit here: left out.")
    write_study("serving_page_engines", machine() | found)


if __name__ == "__main__":
    main()
