"""The embedded broker, where chance decides."""

import uuid
from pathlib import Path

import pytest

from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port


def test_every_cluster_id_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" + bytes(15)))
    broker = EmbeddedKafka(tmp_path, free_port())
    try:
        broker.start()
    finally:
        broker.stop()
