"""Is every event accounted for, and how long did it take? Asked of Kafka and the table themselves."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import lance
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from frameloop.adapters.dead_letter_reader import read_dead_letters
from frameloop.adapters.kafka_connect import connected
from frameloop.adapters.lance_table import ROW_ADDRESS_FRAGMENT_SHIFT
from frameloop.runtime.settings import Settings
from schemas.commit import CommitNotice
from schemas.table import ROWS_FILTER

Place = tuple[int, int]
"""Partition and offset in the topic of events."""

POLL_MS = 500


@dataclass(frozen=True, slots=True)
class Accounts:
    """What became of the events, by their places in the topic."""

    sent_at_ms: dict[Place, int]
    rows: list[Place]
    fragment_of: dict[Place, int]
    scores: dict[Place, float]
    letters: dict[Place, str]
    unscored: int
    problems: list[str] = field(default_factory=list)


def take_accounts(settings: Settings) -> Accounts:
    """Read the topic, the table and the dead letters in full, and compare them."""
    sent = _read_places(settings)
    dataset = lance.dataset(settings.table_uri)
    label = settings.training.label
    table = dataset.scanner(
        columns=["partition", "offset", label], filter=ROWS_FILTER, with_row_address=True
    ).to_table()
    columns = [table[name].to_pylist() for name in ("partition", "offset", label, "_rowaddr")]
    rows, fragment_of, scores = [], {}, {}
    for partition, offset, score, address in zip(*columns, strict=True):
        place = (partition, offset)
        rows.append(place)
        fragment_of[place] = address >> ROW_ADDRESS_FRAGMENT_SHIFT
        if score is not None:
            scores[place] = score
    letters = {(x.partition, x.offset): x.reason.value for x in read_dead_letters(settings.kafka)}
    return Accounts(
        sent_at_ms=sent,
        rows=rows,
        fragment_of=fragment_of,
        scores=scores,
        letters=letters,
        unscored=len(rows) - len(scores),
        problems=find_problems(set(sent), rows, set(letters)),
    )


def find_problems(sent: set[Place], rows: list[Place], letters: set[Place]) -> list[str]:
    """Each event must be one row or one dead letter: what breaks that, in words."""
    twice = [place for place, count in Counter(rows).items() if count > 1]
    have = set(rows)
    found = {
        "are twice in the table": twice,
        "are neither a row nor a dead letter": sorted(sent - have - letters),
        "are a row and a dead letter": sorted(have & letters),
        "were never sent": sorted((have | letters) - sent),
    }
    return [f"{len(v)} events {what}, e.g. {v[0]}" for what, v in found.items() if v]


def latencies_s(
    accounts: Accounts, notices: list[CommitNotice], label: str
) -> tuple[list[float], list[float]]:
    """Seconds from Kafka's time of each event to its row's commit, and to its score's commit."""
    row_at: dict[Place, int] = {}
    scored_at: dict[int, int] = {}
    for notice in notices:
        for part in notice.ranges:
            for offset in range(part.offset_first, part.offset_next):
                row_at[part.partition, offset] = notice.committed_at_ms
        for fragment in notice.labelled_fragments.get(label, ()):
            scored_at[fragment] = notice.committed_at_ms
    to_row, to_score = [], []
    for place in accounts.rows:
        sent = accounts.sent_at_ms[place]
        if place in row_at:
            to_row.append((row_at[place] - sent) / 1000)
        if (done := scored_at.get(accounts.fragment_of[place])) is not None:
            to_score.append((done - sent) / 1000)
    return to_row, to_score


def _read_places(settings: Settings) -> dict[Place, int]:
    """Kafka's own time (Unix milliseconds) of every event in the topic."""
    places: dict[Place, int] = {}
    for record in read_topic(settings, settings.kafka.topic):
        places[record.partition, record.offset] = record.timestamp
    return places


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """All records of a topic, up to where it ends now. Small topics only."""
    consumer = connected(KafkaConsumer, settings.kafka, enable_auto_commit=False)
    found = []
    try:
        partitions = [KafkaPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        while any(consumer.position(at) < ends[at] for at in partitions):
            for records in consumer.poll(POLL_MS).values():
                found += records
    finally:
        consumer.close(autocommit=False)
    return found
