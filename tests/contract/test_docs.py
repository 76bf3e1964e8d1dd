"""The documents say what the code does, and the README's examples work as they stand."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from frameloop.cli.app import app
from frameloop.runtime.settings import KafkaSettings, Settings
from frameloop.runtime.settings_docs import settings_markdown
from schemas.cloudevents import Headers, decode
from schemas.dead_letter import DeadLetter, Reason
from schemas.event import ScreenshotEvent

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/events.md",
        "docs/dead-letters.md",
        "docs/settings.md",
    )
]
TEXTS = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
# A command is what stands after these: a prompt's indent, a back-tick, an environment variable.
MAKE_TARGET = re.compile(r"(?:^ {4}|`)make ([a-z][a-z-]*)", re.MULTILINE)
SUBCOMMAND = re.compile(
    r"(?:^ {4}|`|=\S+ )frameloop\s([a-z][a-z-]*(?: [a-z][a-z-]*)?)", re.MULTILINE
)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def kcat_record(command: str) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers that `echo VALUE | kcat …` sends."""
    words = shlex.split(command)
    echo, pipe = words.index("echo"), words.index("|")
    options = words[pipe + 2 :]
    pairs = [options[i + 1].partition("=") for i, word in enumerate(options) if word == "-H"]
    key = options[options.index("-k") + 1]
    return key.encode(), words[echo + 1].encode(), [(n, v.encode()) for n, _, v in pairs]


def sent_by(script: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the script hands to `KafkaProducer.send`."""
    sent: list[dict[str, Any]] = []

    class Recorder:
        def __init__(self, **config: object) -> None:
            """No broker is asked."""

        def send(self, topic: str, **record: Any) -> None:
            sent.append({"topic": topic, **record})

        def flush(self) -> None:
            """All of it has been recorded."""

    module = ModuleType("kafka")
    module.KafkaProducer = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kafka", module)
    exec(compile(script, "README.md", "exec"), {})
    return sent


def test_the_page_of_settings_is_current() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == settings_markdown(), "out of date: run make docs"


def test_each_setting_that_a_document_names_is_there() -> None:
    sections = {
        name: set(getattr(field.annotation, "model_fields", {}))
        for name, field in Settings.model_fields.items()
    }
    named = {
        (section, key)
        for text in TEXTS
        for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)(?: = [^`]*)?`", text)
        if sections.get(section) and f"{section}.{key}" != KafkaSettings().commit_topic
    }
    assert named, "no setting is named: has the pattern grown old?"
    assert {f"{s}.{k}" for s, k in named if k not in sections[s]} == set()


def test_each_reason_has_a_meaning() -> None:
    text = (ROOT / "docs" / "dead-letters.md").read_text(encoding="utf-8")
    meanings = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert set(meanings) == {reason.value for reason in Reason}
    assert [name for name, meaning in meanings.items() if len(meaning.split()) < 4] == []


def test_the_dead_letter_shown_is_one() -> None:
    (shown,) = blocks((ROOT / "docs" / "dead-letters.md").read_text(encoding="utf-8"), "json")
    letter = DeadLetter.model_validate_json(shown)
    assert set(json.loads(shown)) == set(DeadLetter.model_fields)
    original = json.loads(letter.original)
    assert original["event_id"] == letter.event_id
    assert letter.detail.startswith(original["image_url"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_somewhere(path: Path) -> None:
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_each_make_target_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = {name for text in TEXTS for name in MAKE_TARGET.findall(text)}
    assert {"demo", "test"} <= named <= targets


def test_each_subcommand_named_is_there() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    named = {name for text in TEXTS for name in SUBCOMMAND.findall(text)}
    assert {"up", "status", "demo", "table head", "dead-letters list"} <= named
    for words in named:
        first, _, second = words.partition(" ")
        assert first in command.commands, words
        group = command.commands[first]
        if isinstance(group, TyperGroup):
            assert second in group.commands, words


def test_each_subcommand_is_named_in_the_changelog() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [name for name in command.commands if f"`{name}`" not in changelog] == []


def test_all_forms_of_the_example_are_events(monkeypatch: pytest.MonkeyPatch) -> None:
    (plain,) = blocks(README, "json")
    (script,) = blocks(README, "python")
    binary_kcat, plain_kcat = map(kcat_record, blocks(README, "sh"))
    (record,) = sent_by(script, monkeypatch)
    events: list[ScreenshotEvent] = [
        decode(None, plain.encode(), []),
        decode(record["key"], record["value"], record["headers"]),
        decode(*binary_kcat),
        decode(*plain_kcat),
    ]
    assert record["topic"] == KafkaSettings().topic
    assert {event.source for event in events} == {"games/my-shooter/eu-west"}
    assert [event.event_id[-3:] for event in events] == ["120", "120", "120", "121"]
    assert events[1].caption == events[0].caption


def test_the_examples_of_the_page_on_events_are_events() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    structured, plain = blocks(page, "json")
    mode = [("content-type", b"application/cloudevents+json")]
    first, second = decode(None, structured.encode(), mode), decode(None, plain.encode(), [])
    assert (first.event_id, first.image_url) == (second.event_id, second.image_url)


def test_the_settings_of_the_readme_are_allowed() -> None:
    (example,) = blocks(README, "toml")
    settings = Settings(**tomllib.loads(example))
    assert not settings.kafka.embedded
    assert settings.training.gpus == 1
