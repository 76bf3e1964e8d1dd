"""Events from Kafka, read at positions that the table names; Kafka's own offsets are a hint.

One thread calls this (the client blocks). Rebalances are seen between polls: after a poll,
`take_assigned` and `take_revoked` tell what changed, and records of partitions that still wait for
their position are not handed out.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.structs import OffsetAndMetadata

from frameloop.adapters.kafka_connect import connected
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.core.batch import TopicPartition
from frameloop.core.errors import FatalError, TransientError
from frameloop.runtime.settings import KafkaSettings

Records = Mapping[TopicPartition, list[Any]]


class EventSource:
    """A member of the consumer group that ingests one topic.

    Raises at its start `TransientError` when no broker answers, `FatalError` when they refuse this
    client or have no such topic.
    """

    def __init__(self, settings: KafkaSettings, max_poll_records: int) -> None:
        self._settings = settings
        self.topic = settings.topic
        self.topic_id = topic_id_of(settings, settings.topic)
        self._rebalances = _Rebalances()
        self._unplaced: set[int] = set()
        self._paused = False
        self._consumer = connected(
            KafkaConsumer,
            settings,
            group_id=settings.group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=max_poll_records,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
        )
        with kafka_errors(settings):
            # kafka-python 3.0.12 joins the group without waiting for the topic's metadata. As the
            # leader it would then assign no partition to anybody, and at times never notice.
            self._consumer.partitions_for_topic(self.topic)
        self._consumer.subscribe([self.topic], listener=self._rebalances)

    def poll(self, timeout_ms: int, paused: bool) -> Records:
        """Records of placed partitions, in offset order per partition.

        While `paused` there are none, yet heartbeats and rebalances go on.
        """
        self._pause(paused)
        polled = self._consumer.poll(timeout_ms)
        self._unplaced |= self._rebalances.peek_assigned()
        return {
            self._named(at.partition): records
            for at, records in polled.items()
            if at.partition not in self._unplaced
        }

    def take_revoked(self) -> list[TopicPartition]:
        """Partitions lost since the last call; some may have come back, and are assigned then."""
        gone = self._rebalances.take_revoked()
        self._unplaced -= gone
        return [self._named(p) for p in gone]

    def take_assigned(self) -> list[TopicPartition]:
        """Partitions gained since the last call. Each waits for `place`."""
        got = self._rebalances.take_assigned()
        self._unplaced |= got
        return [self._named(p) for p in got]

    def first_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The oldest offset that Kafka still holds of each."""
        found = self._consumer.beginning_offsets([self._kafka(at) for at in partitions])
        return {self._named(at.partition): int(offset) for at, offset in found.items()}

    def place(self, at: TopicPartition, offset: int) -> bool:
        """Read on from `offset`. False if the partition is no longer ours."""
        if self._kafka(at) not in self._consumer.assignment():
            return False
        self._consumer.seek(self._kafka(at), offset)
        self._unplaced.discard(at.partition)
        return True

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Events in Kafka at or after each position."""
        ends = self._consumer.end_offsets([self._kafka(at) for at in positions])
        return {at: max(0, ends[self._kafka(at)] - offset) for at, offset in positions.items()}

    def topic_was_made_anew(self) -> bool:
        """Has the topic of this name another id by now? False while it can't be told."""
        try:
            return topic_id_of(self._settings, self.topic) != self.topic_id
        except (FatalError, TransientError):
            return False

    def commit_hint(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell Kafka how far the table is, for lag tools. Nothing depends on it."""
        mine = self._consumer.assignment()
        hints = {
            self._kafka(at): OffsetAndMetadata(offset, "", -1)
            for at, offset in offsets.items()
            if self._kafka(at) in mine
        }
        if hints:
            self._consumer.commit_async(hints, callback=lambda *_: None)

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def _pause(self, paused: bool) -> None:
        # A rebalance forgets what was paused, so this is said anew at every poll.
        assigned = self._consumer.assignment()
        if paused:
            self._consumer.pause(*assigned)
        elif self._paused:
            self._consumer.resume(*assigned)
        self._paused = paused

    def _kafka(self, at: TopicPartition) -> KafkaPartition:
        return KafkaPartition(at.topic, at.partition)

    def _named(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition, self.topic_id)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Called on the client's own thread, where nothing may block: it only takes notes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revoked: set[int] = set()
        self._assigned: set[int] = set()

    def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:
        with self._lock:
            gone = {at.partition for at in revoked}
            self._revoked |= gone
            self._assigned -= gone

    def on_partitions_assigned(self, assigned: Iterable[KafkaPartition]) -> None:
        with self._lock:
            self._assigned |= {at.partition for at in assigned}

    def peek_assigned(self) -> set[int]:
        with self._lock:
            return set(self._assigned)

    def take_revoked(self) -> set[int]:
        with self._lock:
            gone, self._revoked = self._revoked, set()
            return gone

    def take_assigned(self) -> set[int]:
        with self._lock:
            got, self._assigned = self._assigned, set()
            return got


def topic_id_of(settings: KafkaSettings, topic: str) -> str:
    """The id of the topic's present incarnation.

    Raises `FatalError` if there is no such topic or the brokers refuse this client,
    `TransientError` if none answers.
    """
    admin = connected(KafkaAdminClient, settings)
    try:
        with kafka_errors(settings):
            described = admin.describe_topics([topic])
    finally:
        admin.close()
    if not described or described[0]["error_code"]:
        raise FatalError(f"there is no topic {topic} at {settings.bootstrap_servers}")
    return str(described[0]["topic_id"])
