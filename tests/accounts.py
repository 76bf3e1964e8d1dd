"""The invariant, checked from Kafka and the table by code that shares nothing with the service.

Only kafka-python, Lance and JSON are used here, and the documented names of topics and columns.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import lance
from kafka import KafkaConsumer, TopicPartition

Place = tuple[int, int]


@dataclass(frozen=True)
class Books:
    """Places are (partition, offset) in the topic of events.

    `event_of` names the event of a place by its source and id; a record without is its own event.
    """

    sent: set[Place]
    rows: list[Place]
    letters: set[Place]
    reasons: Counter[str]
    event_of: dict[Place, object]

    @property
    def repeats(self) -> set[Place]:
        """Records of events that are a row by another record."""
        in_rows = {self.event_of.get(place, place) for place in self.rows}
        rest = self.sent - set(self.rows) - self.letters
        return {place for place in rest if self.event_of[place] in in_rows}

    @property
    def duplicates(self) -> int:
        return len(self.repeats)

    @property
    def settled(self) -> int:
        return len(set(self.rows)) + len(self.letters)


def read_books(bootstrap: str, topic: str, dead_letter_topic: str, table_uri: str) -> Books:
    event_of = {(r.partition, r.offset): event_key(r) for r in read_all(bootstrap, topic)}
    letters = {}
    for record in read_all(bootstrap, dead_letter_topic):
        letter = json.loads(record.value)
        letters[letter["partition"], letter["offset"]] = letter["reason"]
    try:
        found = lance.dataset(table_uri).to_table(
            columns=["partition", "offset"], filter="id != 'frameloop:ledger'"
        )
    except ValueError:
        rows: list[Place] = []
    else:
        rows = list(zip(*(found[c].to_pylist() for c in ("partition", "offset")), strict=True))
    return Books(set(event_of), rows, set(letters), Counter(letters.values()), event_of)


def event_key(record: Any) -> object:
    """Source and id, which CloudEvents makes unique together."""
    headers = dict(record.headers)
    if "ce_id" in headers:
        return headers["ce_source"], headers["ce_id"]
    return record.partition, record.offset


def assert_each_event_once(books: Books) -> None:
    """Rows and distinct dead letters together are the events, each exactly once."""
    twice = [place for place, count in Counter(books.rows).items() if count > 1]
    assert not twice, f"{len(twice)} events are twice in the table: {twice[:5]}"
    both = set(books.rows) & books.letters
    assert not both, f"{len(both)} events are a row and a dead letter: {sorted(both)[:5]}"
    events = Counter(books.event_of.get(place, place) for place in books.rows)
    doubled = [event for event, count in events.items() if count > 1]
    assert not doubled, f"{len(doubled)} events have two rows: {doubled[:5]}"
    lost = books.sent - set(books.rows) - books.letters - books.repeats
    assert not lost, f"{len(lost)} events are neither: {sorted(lost)[:5]}"
    invented = (set(books.rows) | books.letters) - books.sent
    assert not invented, f"{len(invented)} were never sent: {sorted(invented)[:5]}"


def read_all(bootstrap: str, topic: str) -> list[Any]:
    """All records of a topic, up to where it ends now."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found: list[Any] = []
        while any(consumer.position(at) < ends[at] for at in partitions):
            for records in consumer.poll(500).values():
                found += records
        return found
    finally:
        consumer.close()
