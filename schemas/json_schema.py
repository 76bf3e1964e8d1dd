"""JSON Schemas of what crosses Kafka, made from the pydantic models.

    python -m schemas.json_schema

writes them into `schemas/json/`, where they are committed for senders and readers in other
languages. A test holds them to the models.
"""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from schemas.commit import CommitNotice
from schemas.dead_letter import DeadLetter
from schemas.event import ScreenshotEvent

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = "v1"
MODELS: dict[str, type[BaseModel]] = {
    "screenshot-event": ScreenshotEvent,
    "dead-letter": DeadLetter,
    "commit-notice": CommitNotice,
}


def json_schema(name: str) -> dict[str, object]:
    """The schema of one model; its `$id` is a URN, since no host serves it. Raises `KeyError`."""
    identity = {"$schema": DIALECT, "$id": f"urn:frameloop:schema:{name}:{VERSION}"}
    return {**identity, **MODELS[name].model_json_schema()}


def file_name(name: str) -> str:
    return f"{name}.{VERSION}.json"


def file_text(name: str) -> str:
    """The file's content: the same for the same model, wherever it is made."""
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path = FOLDER) -> list[Path]:
    """Write all of them. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in MODELS:
        path = folder / file_name(name)
        path.write_text(file_text(name), encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write_schemas():
        sys.stdout.write(f"{written}\n")
