"""Waiting for a state of the world, with an end."""

import time
from collections.abc import Callable

import lance

from frameloop.adapters.lance_table import label_state
from frameloop.runtime.settings import Settings
from tests.accounts import Books, read_books

SECONDS_MAX = 120.0


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, f"not within {SECONDS_MAX:g} s: {what}"
        time.sleep(0.2)


def books_of(settings: Settings) -> Books:
    kafka = settings.kafka
    return read_books(
        kafka.bootstrap_servers, kafka.topic, kafka.dead_letter_topic, settings.table_uri
    )


def until_settled(settings: Settings) -> Books:
    """Until every event is a row or a dead letter, or another record of an event that is a row."""

    def is_settled() -> bool:
        books = books_of(settings)
        return books.settled + books.duplicates >= len(books.sent) > 0

    until(is_settled, "every event settled")
    return books_of(settings)


def is_labelled(settings: Settings) -> bool:
    state = label_state(lance.dataset(settings.table_uri), settings.labels)
    return not any(fragment.missing for fragment in state)
