"""Waiting for a state of the world, with an end."""

import time
from collections.abc import Callable
from contextlib import closing

import lance
from kafka import KafkaConsumer, TopicPartition

from frameloop.adapters.lance_table import label_state, read_ledger
from frameloop.runtime.settings import Settings
from tests.accounts import Books, read_books

SECONDS_MAX = 120.0


def until(condition: Callable[[], bool], what: str, seconds_max: float = SECONDS_MAX) -> None:
    end = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < end, f"not within {seconds_max:g} s: {what}"
        time.sleep(0.2)


def books_of(settings: Settings) -> Books:
    kafka = settings.kafka
    return read_books(
        kafka.bootstrap_servers, kafka.topic, kafka.dead_letter_topic, settings.table_uri
    )


def until_settled(settings: Settings, seconds_max: float = SECONDS_MAX) -> Books:
    """Until every event is a row or a dead letter, or another record of an event that is a row."""
    seen: list[Books] = []

    def is_settled() -> bool:
        books = books_of(settings)
        seen.append(books)
        return books.settled + books.duplicates >= len(books.sent) > 0

    until(is_settled, "every event settled", seconds_max)
    return seen[-1]


def is_labelled(settings: Settings) -> bool:
    state = label_state(lance.dataset(settings.table_uri), settings.labels)
    return not any(fragment.missing for fragment in state)


def lag_of(settings: Settings) -> int:
    """Events that the table does not cover yet, cheaply: not one event is read."""
    ledger, _ = read_ledger(lance.dataset(settings.table_uri))
    states = (s for topic in ledger.topics.values() for s in topic.partitions.values())
    kafka = settings.kafka
    with closing(KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)) as consumer:
        ends = consumer.end_offsets(
            [TopicPartition(kafka.topic, p) for p in range(kafka.partitions)]
        )
    return sum(ends.values()) - sum(state.offset_next for state in states)


def count_table_rows(settings: Settings) -> int:
    """Rows in the table, asked without Kafka; 0 before there is a table."""
    try:
        return int(lance.dataset(settings.table_uri).count_rows("id != 'frameloop:ledger'"))
    except ValueError:
        return 0
