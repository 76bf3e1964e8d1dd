"""Outages around one running service: its keeper hangs, its broker, images or scorer are away."""

import os
import signal
import time
from contextlib import ExitStack

import psutil
import pytest

from consumers.ingest import WATCH_SECONDS
from consumers.keeper import KEEPER_NAME
from frameloop.runtime.embedded_kafka import EmbeddedKafka
from frameloop.service import Service
from producers.emit import EventEmitter
from schemas.event import ScreenshotEvent
from tests.accounts import assert_each_event_once
from tests.fault.conftest import REQUEST_TIMEOUT_MS
from tests.outages import broker_away, kill, kill_broker, pid_of, replica_pids, status_of
from tests.upstream import ImageServer, Load, send_bad_events
from tests.waiting import books_of, count_table_rows, is_labelled, until, until_settled

AWAY_SECONDS = WATCH_SECONDS + 2 * REQUEST_TIMEOUT_MS / 1000
"""The ingest actor asks the broker something at least every `WATCH_SECONDS`."""
GARBAGE_BYTES = 900_000
"""Kafka takes records of up to a megabyte."""


def test_a_keeper_that_hangs_is_replaced_by_the_service(
    service: Service, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = service.settings
    monkeypatch.setattr(service._watch, "silent_seconds_max", 2.0)
    pid = pid_of(service, KEEPER_NAME)
    os.kill(pid, signal.SIGSTOP)
    load.send(30)

    def is_killed() -> bool:
        service.check()
        return not psutil.pid_exists(pid)

    until(is_killed, "the service kills the keeper that hangs")
    monkeypatch.undo()  # the next one may take its time to start
    assert_each_event_once(until_settled(settings))
    assert pid_of(service, KEEPER_NAME) != pid
    service.check()


def test_a_broker_that_is_killed_and_comes_back_costs_no_event(
    service: Service, own_kafka: EmbeddedKafka, load: Load
) -> None:
    settings = service.settings
    rows = count_table_rows(settings)
    load.send(60)
    until(lambda: count_table_rows(settings) > rows, "the first row")
    kill_broker(own_kafka)
    own_kafka.start()
    load.send(60)
    assert_each_event_once(until_settled(settings))
    until(lambda: is_labelled(settings), "every row scored")


def test_a_keeper_killed_while_the_broker_is_away_keeps_the_dead_letters_that_it_decided(
    service: Service, own_kafka: EmbeddedKafka, load: Load, images: ImageServer
) -> None:
    settings = service.settings
    letters = len(books_of(settings).letters)
    with ExitStack() as away:
        with images.hold():
            load.send(20)
            bad = send_bad_events(settings.kafka, images)
            until(lambda: held(service) == 20 + bad, "all events in hand")
            away.enter_context(broker_away(own_kafka))
        until(lambda: letters_waiting(service) == bad, "letters decided and not in Kafka")
        kill(pid_of(service, KEEPER_NAME))
    books = until_settled(settings)
    assert_each_event_once(books)
    assert len(books.letters) == letters + bad
    load.send(20)  # confirmed letters leave the outbox with the next commit
    until(lambda: letters_waiting(service) == 0, "an empty outbox")
    assert_each_event_once(until_settled(settings))


def test_rows_in_hand_are_committed_without_a_broker_and_reading_goes_on_when_it_is_back(
    service: Service, own_kafka: EmbeddedKafka, load: Load, images: ImageServer
) -> None:
    settings = service.settings
    rows, pid = count_table_rows(settings), pid_of(service, "ingest-0")
    with ExitStack() as away:
        with images.hold():
            load.send(60)
            bad = send_bad_events(settings.kafka, images)
            until(lambda: held(service) == 60 + bad, "all events in hand")
            away.enter_context(broker_away(own_kafka))
            end = time.monotonic() + AWAY_SECONDS

            def has_timed_out() -> bool:
                service.check()
                assert psutil.pid_exists(pid), "the ingest actor ended with the events in hand"
                return time.monotonic() > end

            until(has_timed_out, "every client has waited for the broker in vain")
        until(lambda: count_table_rows(settings) == rows + 60, "a row of each event in hand")
        until(lambda: is_labelled(settings), "every row scored")
    load.send(30)
    assert_each_event_once(until_settled(settings))
    assert pid_of(service, "ingest-0") == pid
    service.check()


def test_an_image_server_that_is_down_makes_dead_letters_and_no_placeholder(
    service: Service, load: Load, images: ImageServer
) -> None:
    settings = service.settings
    load.send(10)
    before = until_settled(settings)
    with images.away():
        load.send(10)
        until(lambda: books_of(settings).settled == before.settled + 10, "ten dead letters")
    assert len(books_of(settings).rows) == len(before.rows)
    load.send(10)
    books = until_settled(settings)
    assert_each_event_once(books)
    # Once the breaker leaves the host alone, the reason is that it could not be asked.
    reasons = books.reasons - before.reasons
    assert set(reasons) <= {"http_server_error", "connection_failed"}
    assert reasons.total() >= 10


def test_a_killed_scorer_replica_costs_no_score(service: Service, load: Load) -> None:
    settings = service.settings
    replicas = replica_pids(settings)
    assert replicas
    load.send(60)
    for pid in replicas:
        kill(pid)
    load.send(30)
    assert_each_event_once(until_settled(settings))
    until(lambda: is_labelled(settings), "every row scored")


def test_a_record_as_large_as_kafka_takes_becomes_a_letter_and_blocks_nothing(
    service: Service, load: Load, images: ImageServer
) -> None:
    settings = service.settings
    before = books_of(settings)
    key = "large"  # one key: all three are in one partition, one behind the other
    with EventEmitter.connect(settings.kafka) as emitter:
        emitter.send_raw(b"\xff" * GARBAGE_BYTES, key=key.encode())
        emitter.send(
            ScreenshotEvent(event_id="good", source=key, image_url=images.url(1)),
        )
        emitter.send_raw(b"\xff", key=key.encode())
    books = until_settled(settings)
    assert_each_event_once(books)
    assert len(books.rows) - len(before.rows) == 1
    assert books.reasons - before.reasons == {"event_too_large": 1, "event_not_valid": 1}
    load.send(10)
    until(lambda: letters_waiting(service) == 0, "an empty outbox")


def held(service: Service) -> int:
    """Events in the ingest actor's hands."""
    return int(status_of(service, "ingest-0")["events_held"])


def letters_waiting(service: Service) -> int:
    """In the outbox."""
    return int(status_of(service, KEEPER_NAME)["outbox"])
