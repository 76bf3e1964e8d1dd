"""Events from Kafka, read at positions that the table names; Kafka's own offsets are a hint.

Partitions are dealt out by number (partition modulo actors), not by Kafka's group protocol
(docs/adr/0006-partitions-are-dealt-out.md): there are no rebalances, and the table keeper refuses
whoever reads a partition that another has gone on with. One thread calls this: the client blocks.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from frameloop.adapters.kafka_connect import connected
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.core.batch import TopicPartition
from frameloop.core.errors import Conflict, FatalError, FrameloopError
from frameloop.runtime.settings import KafkaSettings

Records = Mapping[TopicPartition, list[Any]]


class PositionLost(Conflict):
    """Kafka does not have what comes next: deleted, or its log was cut off.

    `partitions` says where the log was cut off, as far as the brokers know (KIP-320).
    """

    def __init__(self, partitions: Mapping[TopicPartition, int | None]) -> None:
        super().__init__(partitions)
        self.partitions = partitions


class EventSource:
    """Reads the partitions of one topic that fall to ingest actor `index` of `actors`."""

    def __init__(self, settings: KafkaSettings, index: int, actors: int, poll_max: int) -> None:
        self._settings = settings
        self.topic = settings.topic
        self.topic_id = topic_id_of(settings, settings.topic)
        self._paused = False
        # The group id is for the offsets that are committed as a hint; nobody joins the group.
        self._consumer = connected(
            KafkaConsumer,
            settings,
            group_id=settings.group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",  # the table says where to read; nothing may be passed over
            max_poll_records=poll_max,
        )
        self._all = self._partition_numbers()
        mine = sorted(p for p in self._all if p % actors == index)
        self.partitions = [TopicPartition(self.topic, p, self.topic_id) for p in mine]
        self._kafka_partitions = [self._kafka(at) for at in self.partitions]
        self._consumer.assign(self._kafka_partitions)

    def poll(self, timeout_ms: int, paused: bool) -> Records:
        """Records in offset order per partition; none while `paused`. Call `place` first.

        Raises `PositionLost` when Kafka does not have the offsets (any more) that come next.
        """
        if not self.partitions:
            time.sleep(timeout_ms / 1000)  # more actors than partitions
            return {}
        if paused != self._paused:
            change = self._consumer.pause if paused else self._consumer.resume
            change(*self._kafka_partitions)
            self._paused = paused
        try:
            polled = self._consumer.poll(timeout_ms)
        except OffsetOutOfRangeError as error:
            raise PositionLost({self._named(at.partition): None for at in error.args[0]}) from error
        except LogTruncationError as error:
            ends = error.divergent_offsets.items()
            found = {self._named(at.partition): end.offset if end else None for at, end in ends}
            raise PositionLost(found) from error
        return {self._named(at.partition): records for at, records in polled.items()}

    def first_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The oldest offset that Kafka still holds of each."""
        found = self._consumer.beginning_offsets([self._kafka(at) for at in partitions])
        return {self._named(at.partition): int(offset) for at, offset in found.items()}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset that the next event of each will have."""
        found = self._consumer.end_offsets([self._kafka(at) for at in partitions])
        return {self._named(at.partition): int(offset) for at, offset in found.items()}

    def place(self, at: TopicPartition, offset: int) -> None:
        """Read on from `offset`."""
        self._consumer.seek(self._kafka(at), offset)

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Events in Kafka at or after each position."""
        ends = self.end_offsets(positions)
        return {at: max(0, ends[at] - offset) for at, offset in positions.items()}

    def topic_has_changed(self) -> bool:
        """Has the topic of this name another id by now, or other partitions? False while it can't
        be told.
        """
        try:
            if topic_id_of(self._settings, self.topic) != self.topic_id:
                return True
            return self._partition_numbers() != self._all
        except (FrameloopError, KafkaError):
            return False

    def commit_hint(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell Kafka how far the table is, for lag tools. Nothing depends on it."""
        hints = {self._kafka(at): OffsetAndMetadata(each, "", -1) for at, each in offsets.items()}
        self._consumer.commit_async(hints, callback=lambda *_: None)

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def _partition_numbers(self) -> set[int]:
        with kafka_errors(self._settings):
            return set(self._consumer.partitions_for_topic(self.topic) or ())

    def _kafka(self, at: TopicPartition) -> KafkaPartition:
        return KafkaPartition(at.topic, at.partition)

    def _named(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition, self.topic_id)


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
