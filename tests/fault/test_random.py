"""Faults at random: where and when is drawn from a seed that is shown when a test fails."""

import random
import threading
from pathlib import Path

from consumers.keeper import KEEPER_NAME
from frameloop.runtime.faults import STEPS
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.outages import kill, paused, pid_of
from tests.upstream import ImageServer, Load, send_bad_events
from tests.waiting import is_labelled, until, until_settled

KILLS = 3
MOMENT_S_MAX = 0.8
"""By then most of a test's events are in the table."""


def test_an_ingest_actor_killed_at_any_moment_loses_nothing_and_doubles_nothing(
    service: Service, load: Load, images: ImageServer, dice: random.Random
) -> None:
    settings = service.settings
    for _ in range(KILLS):
        moment = dice.uniform(0, MOMENT_S_MAX)
        killing = threading.Timer(moment, kill, [pid_of(service, "ingest-0")])
        killing.start()
        load.send(150)
        send_bad_events(settings.kafka, images)
        killing.join()
        print(f"killed {moment:.3f} s after the first event")
    assert_each_event_once(until_settled(settings))
    until(lambda: is_labelled(settings), "every row scored")
    service.check()


def test_several_faults_at_once_lose_nothing_and_double_nothing(
    service: Service, load: Load, images: ImageServer, faults: Path, dice: random.Random
) -> None:
    settings = service.settings
    steps = dice.sample(STEPS, 3)
    outside = dice.choice(["keeper killed", "keeper paused", "images away"])
    print(f"killed at {', '.join(steps)}; {outside}")
    for step in steps:
        (faults / step).touch()
    load.send(40)
    if outside == "keeper killed":
        kill(pid_of(service, KEEPER_NAME))
    elif outside == "keeper paused":
        with paused(pid_of(service, KEEPER_NAME)):
            load.send(40)
    else:
        with images.away():
            load.send(40)
            until(lambda: images.refused > 0, "an image that is not to be had")

    def all_reached() -> bool:
        load.send(8)
        return not any((faults / step).exists() for step in steps)

    until(all_reached, "somebody reaches each step")
    assert_each_event_once(until_settled(settings))
    until(lambda: is_labelled(settings), "every row scored")
    service.check()
