"""JupyterHub's settings."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.classroom.assignments import ROOT


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [
        re.match(r"([\w.-]+)==([\w.]+)(; .+)?$", line)
        for line in lines
        if line and line[0] not in "#-"
    ]
    assert all(found), f"a line of {name} is not a pin"
    return {match[1].lower(): match[2] for match in found}


def test_the_hubs_packages_are_pinned_and_fit_the_others():
    assert "jupyterhub" in pins("tools/classroom/hub-requirements.txt")
    assert not pins("tools/classroom/hub-requirements.txt").keys() & pins("requirements.txt").keys()


def test_the_hubs_settings_are_settings_that_it_has(monkeypatch):
    hub = pytest.importorskip(
        "jupyterhub.app",
        reason="needs JupyterHub: pip install -r tools/classroom/hub-requirements.txt",
    )
    from jupyterhub.auth import PAMAuthenticator
    from jupyterhub.proxy import ConfigurableHTTPProxy
    from jupyterhub.spawner import LocalProcessSpawner as Spawner

    settings = hub_settings(monkeypatch)
    known = {"JupyterHub": hub.JupyterHub, "PAMAuthenticator": PAMAuthenticator, "Spawner": Spawner,
             "ConfigurableHTTPProxy": ConfigurableHTTPProxy}  # fmt: skip
    for kind, values in settings.items():
        assert not set(values) - set(known[kind].class_trait_names(config=True)), kind


def test_the_hubs_settings_let_only_the_class_in(monkeypatch):
    settings = hub_settings(monkeypatch)
    assert (
        settings.PAMAuthenticator.allowed_groups == {"class"}
        and "allow_all" not in settings.PAMAuthenticator
    )
    assert "//127.0.0.1:" in settings.JupyterHub.bind_url


def test_only_a_teacher_gets_the_formgrader(monkeypatch):
    """JupyterLab and nbgrader read their settings in the folders that the hub names."""
    settings = hub_settings(monkeypatch)
    monkeypatch.setattr(Path, "expanduser", lambda path: Path(str(path).replace("~", "/people/")))
    for name in ("teacher", "ada"):
        spawner = SimpleNamespace(user=SimpleNamespace(name=name))
        folders = [
            Path(one)
            for one in settings.Spawner.environment["JUPYTER_CONFIG_PATH"](spawner).split(":")
        ]
        left_out = json.loads((folders[-1] / "labconfig" / "page_config.json").read_text())[
            "disabledExtensions"
        ]
        assert ("@jupyter/nbgrader:formgrader" in left_out) == (name == "ada")
        assert "@jupyter/nbgrader:assignment-list" not in left_out
        assert [one.name for one in folders] == (
            ["student"] if name == "ada" else ["class", "teacher"]
        )
        assert name == "ada" or folders[0] == Path("/people/teacher/class")


def hub_settings(monkeypatch):
    from traitlets.config import Config

    settings = Config()
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    path = ROOT / "tools" / "classroom" / "jupyterhub_config.py"
    space = {"get_config": lambda: settings, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    return settings
