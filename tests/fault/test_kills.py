"""SIGKILL at every named step of the protocol, and after each the invariant.

One service lives through all of it. What is checked is read from Kafka and the table by code that
shares nothing with the service (`tests.accounts`).
"""

from pathlib import Path

import lance
import pytest

from consumers.upkeep_work import UpkeepWork
from frameloop.runtime.faults import STEPS
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.upstream import ImageServer, Load, send_bad_events
from tests.waiting import is_labelled, until, until_settled


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_a_step_loses_nothing_and_doubles_nothing(
    step: str, service: Service, load: Load, images: ImageServer, faults: Path
) -> None:
    settings = service.settings
    (faults / step).touch()
    load.send(40)
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
