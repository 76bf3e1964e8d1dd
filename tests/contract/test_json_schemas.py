"""The committed JSON Schemas are those of the models, and say what the code does."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.cloudevents import EventError, decode
from schemas.dead_letter import DeadLetter, Reason
from schemas.json_schema import FOLDER, MODELS, file_name, file_text

EVENT: dict[str, Any] = {
    "event_id": "e1",
    "source": "s1",
    "image_url": "https://h/a.jpg",
    "captured_at": "2026-01-31T12:00:00Z",
    "attributes": {"health": 87, "game": "Doom", "won": False, "speed": 1.5, "boss": None},
}


def committed(name: str) -> Any:
    return json.loads((FOLDER / file_name(name)).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODELS)
def test_the_committed_schema_is_current(name: str) -> None:
    mend = "out of date: run python -m schemas.json_schema"
    assert (FOLDER / file_name(name)).read_text(encoding="utf-8") == file_text(name), mend


def test_no_schema_is_left_over() -> None:
    assert {p.name for p in FOLDER.iterdir()} == {file_name(name) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_is_valid_and_names_no_host(name: str) -> None:
    schema = committed(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:frameloop:schema:{name}:v1"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"caption": "A caption."},
        {"later_field": [1, 2]},
        {"image_url": ""},
        {"event_id": None},
        {"attributes": {"nested": {}}},
        {"attributes": {"": 1}},
        {"attributes": {f"a{i}": i for i in range(65)}},
        {"caption": ""},
    ],
    ids=str,
)
def test_schema_and_decoder_agree_on_what_an_event_is(change: dict[str, Any]) -> None:
    event = {**EVENT, **change}
    try:
        decode(None, json.dumps(event).encode(), [])
        decoded = True
    except EventError:
        decoded = False
    assert Draft202012Validator(committed("screenshot-event")).is_valid(event) == decoded


def test_a_dead_letter_as_it_is_sent_is_valid() -> None:
    letter = DeadLetter(
        topic="t",
        partition=0,
        offset=1,
        reason=Reason.TIMED_OUT,
        detail="no answer",
        failed_at_ms=1,
        original_base64="",
    )
    sent = json.loads(letter.model_dump_json())
    Draft202012Validator(committed("dead-letter")).validate(sent)
    assert DeadLetter.model_validate(sent) == letter
