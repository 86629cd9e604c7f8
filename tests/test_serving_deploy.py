"""What is deployed: manifests by their schemas, and that all files say the same as the server."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from mmcourse import cli
from mmcourse.cli import serve

ROOT = Path(cli.__file__).parents[2]
DEPLOY = ROOT / "deploy"
VERSION = "1.34"  # of Kubernetes


def manifests():
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))


def of_kind(kind):
    (found,) = (each for each in manifests() if each["kind"] == kind)
    return found


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(DEPLOY / "mmcourse.service", encoding="utf-8")
    return parser


def instructions(file):
    """The instructions of a container file, pairs of word and rest."""
    lines = (DEPLOY / file).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [line.split(" ", 1) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("number", range(4))
def test_a_manifest_fits_the_schema_strictly(number):
    kubernetes_validate.validate(manifests()[number], VERSION, strict=True)


def test_the_schema_notices_a_mistake():
    wrong = of_kind("Deployment")
    wrong["spec"]["replica"] = 2
    with pytest.raises(Exception, match="replica"):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_the_manifests_fit_one_another_and_the_server():
    deployment = of_kind("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    scaled = of_kind("HorizontalPodAutoscaler")["spec"]
    assert scaled["scaleTargetRef"]["name"] == of_kind("Deployment")["metadata"]["name"]
    assert 2 == scaled["minReplicas"] <= scaled["maxReplicas"]
    assert "replicas" not in deployment  # or each apply would undo what the autoscaler did
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + serve.TO_FINISH
    (port,) = container["ports"]
    assert of_kind("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    assert dict(instructions("Containerfile"))["EXPOSE"] == str(port["containerPort"])
    paths = {container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"/ready", "/health"}
    cli.command_line().parse_args(["serve", *container["args"]])


def test_a_new_one_is_ready_before_an_old_one_goes():
    rolling = of_kind("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("file", ["Containerfile", "space/Dockerfile"])
def test_container_files(file):
    found = instructions(file)
    words = [word for word, _ in found]
    assert words[0] == "FROM" and re.fullmatch(r"[\w./]+/python:3\.1[123]-slim", found[0][1])
    assert set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "ENTRYPOINT"}
    last = dict(found)
    assert last["USER"] == "1000" and words.index("USER") < words.index("ENTRYPOINT")
    command = yaml.safe_load(last["ENTRYPOINT"])  # the list form: no shell stands in between
    assert isinstance(command, list) and command[0] == "mmcourse"
    options = cli.command_line().parse_args(command[1:])
    assert (options.host, options.port) == ("0.0.0.0", int(last["EXPOSE"]))
    pinned = re.search(r"torch==([\d.]+)", (ROOT / "requirements.txt").read_text())[1]
    assert f"torch=={pinned}" in "\n".join(rest for _, rest in found)


def test_what_the_container_copies_is_there():
    for word, rest in instructions("Containerfile"):
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])


def test_the_space_says_its_port():
    _, head, _ = (DEPLOY / "space" / "README.md").read_text(encoding="utf-8").split("---\n")
    head = yaml.safe_load(head)
    assert head["sdk"] == "docker"
    assert str(head["app_port"]) == dict(instructions("space/Dockerfile"))["EXPOSE"]


def test_the_unit_starts_the_server_and_lets_it_finish():
    service = unit()["Service"]
    program, *command = shlex.split(service["ExecStart"])
    assert Path(program).name == "mmcourse"
    assert cli.command_line().parse_args(command).command == "serve"
    assert int(service["TimeoutStopSec"]) > serve.TO_FINISH
    assert service["KillSignal"] == "SIGTERM" and "-HUP" in service["ExecReload"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_knows_every_line_of_the_unit():
    command = ["systemd-analyze", "verify", DEPLOY / "mmcourse.service"]
    result = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in result.stderr.splitlines() if "mmcourse.service" in line]
    assert [line for line in said if "is not executable" not in line] == []
