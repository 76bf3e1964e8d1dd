"""Partitions change hands under load, and Kafka's log is not always what the table remembers."""

import json
import shutil
from pathlib import Path

import lance
import pytest

from frameloop.core.errors import SettingsError
from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.fault.conftest import outage_settings
from tests.outages import kill, pid_of
from tests.upstream import ImageServer, Load, send_bad_events, send_pictures
from tests.waiting import books_of, until, until_settled

LEDGER = "id = 'frameloop:ledger'"


def test_actors_added_removed_and_killed_under_load_cost_no_event(
    service: Service, load: Load, images: ImageServer
) -> None:
    settings = service.settings
    try:
        for actors in (3, 1, 2):
            load.send(60)
            send_bad_events(settings.kafka, images)
            service.scale_ingest(actors)
            until(lambda n=actors: owned(service) == (n, [0, 1, 2, 3]), f"{actors} own all")
            kill(pid_of(service, "ingest-0"))
        assert_each_event_once(until_settled(settings))
        service.check()
        with pytest.raises(SettingsError, match=r"ingest\.actors"):
            service.scale_ingest(256)
        assert service.settings.ingest.actors == 2
    finally:
        service.scale_ingest(1)


def owned(service: Service) -> tuple[int, list[int]]:
    """How many ingest actors there are, and which partitions they own together."""
    found = [s for name, s in service.status().items() if name.startswith("ingest-")]
    return len(found), sorted(p for status in found for p in status["partitions"])


def test_a_log_that_was_cut_off_is_read_on_from_its_end(
    ray_session: None, tmp_path: Path, images: ImageServer
) -> None:
    """The broker is put back to a copy of its data from before the last events."""
    broker = EmbeddedKafka(tmp_path / "kafka", free_port()).start()
    settings = outage_settings(tmp_path, broker)
    service = Service(settings)
    try:
        send_pictures(settings.kafka, images, 0, 30)
        broker.stop()
        shutil.copytree(tmp_path / "kafka", tmp_path / "copy")
        broker.start()
        service.start()
        send_pictures(settings.kafka, images, 30, 60)
        until_settled(settings)
        broker.stop()
        shutil.rmtree(tmp_path / "kafka")
        shutil.move(tmp_path / "copy", tmp_path / "kafka")
        broker.start()
        until(lambda: offsets_covered(settings.table_uri) == 30, "the table is put back")
        send_pictures(settings.kafka, images, 50, 80)  # 20 new ones, at offsets used before
        until(lambda: len(books_of(settings).rows) >= 80, "the rows of all 80")
        ids = event_ids(settings.table_uri)
        assert sorted(ids) == sorted(f"event-{n}" for n in range(80))
        service.check()
    finally:
        service.stop()
        broker.stop()


def offsets_covered(uri: str) -> int:
    (text,) = lance.dataset(uri).to_table(columns=["ledger"], filter=LEDGER)["ledger"].to_pylist()
    topics = json.loads(text)["topics"].values()
    return sum(p["offset_next"] for topic in topics for p in topic["partitions"].values())


def event_ids(uri: str) -> list[str]:
    rows = lance.dataset(uri).to_table(columns=["event_id"], filter=f"NOT ({LEDGER})")
    return rows["event_id"].to_pylist()
