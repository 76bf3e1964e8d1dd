"""Partitions change hands under load, and Kafka's log is not always what the table remembers."""

import json
import shutil
from pathlib import Path

import lance
import pytest

from frameloop.core.errors import SettingsError
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.fault.conftest import Spare
from tests.outages import broker_away, kill, pid_of
from tests.upstream import ImageServer, Load, send_bad_events, send_pictures
from tests.waiting import until, until_settled

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


def test_a_log_that_was_cut_off_is_read_on_from_its_end(spare: Spare, tmp_path: Path) -> None:
    """The broker is put back to a copy of its data from before the last events."""
    broker, load, uri = spare.broker, spare.load, spare.settings.table_uri
    load.send(30)
    spare.settle()
    covered = offsets_covered(uri)
    with broker_away(broker):
        shutil.copytree(broker.home, tmp_path / "copy")
    load.send(30)
    spare.settle()
    with broker_away(broker):
        shutil.rmtree(broker.home)
        shutil.move(tmp_path / "copy", broker.home)
    until(lambda: offsets_covered(uri) == covered, "the table is put back")
    send_pictures(load.kafka, load.server, load.sent - 10, load.sent)
    load.send(20)  # new ones, at offsets that were used before
    spare.settle()


def offsets_covered(uri: str) -> int:
    (text,) = lance.dataset(uri).to_table(columns=["ledger"], filter=LEDGER)["ledger"].to_pylist()
    topics = json.loads(text)["topics"].values()
    return sum(p["offset_next"] for topic in topics for p in topic["partitions"].values())
