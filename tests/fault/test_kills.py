"""SIGKILL at every named step of the protocol, and after each the invariant.

One service lives through all of it. What is checked is read from Kafka and the table by code that
shares nothing with the service (`tests.accounts`).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pytest

from consumers.upkeep_work import UpkeepWork
from frameloop.runtime.faults import STEPS
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.conftest import make_kafka_settings, service_settings
from tests.upstream import ImageServer, image_server, send_bad_events, send_pictures
from tests.waiting import is_labelled, until, until_settled

NUMBERS = itertools.count(step=40)


@pytest.fixture(scope="module")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture(scope="module")
def service(
    ray_session: None, kafka: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = service_settings(
        tmp_path_factory.mktemp("service"), make_kafka_settings(kafka.bootstrap_servers)
    )
    made = Service(settings)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_a_step_loses_nothing_and_doubles_nothing(
    step: str, service: Service, images: ImageServer, faults: Path
) -> None:
    settings = service.settings
    first = next(NUMBERS)
    (faults / step).touch()
    send_pictures(settings.kafka, images, first, first + 40)
    send_bad_events(settings.kafka, images)
    until(lambda: not (faults / step).exists(), f"somebody reaches {step}")
    assert_each_event_once(until_settled(settings))
    until(lambda: is_labelled(settings), "every row scored")
    table = lance.dataset(settings.table_uri)
    scored = table.count_rows("score1 is not null or score1_error is not null")
    assert scored == table.count_rows("id != 'frameloop:ledger'")
    service.check()


def test_after_all_kills_upkeep_leaves_nothing_to_merge(service: Service) -> None:
    work = UpkeepWork(service.settings)
    until(lambda: not work.plan(), "nothing left to merge")
    facts = work.look()
    assert facts.small_count <= work.bounds.small_max
    assert facts.unnamed_overdue == 0
