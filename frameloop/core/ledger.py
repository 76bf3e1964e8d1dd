"""The keeper's bookkeeping: one small immutable value, stored in the table with every commit.

It answers three questions after any crash. Up to which offset is each partition in the table? Which
dead letters are decided but perhaps not in Kafka yet? Which keeper is the newest (`epoch`)?
"""

from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from frameloop.core.batch import AppendRequest, RewindRequest, TopicPartition
from frameloop.core.errors import BackPressure, StaleBatch
from schemas.dead_letter import DeadLetter, LetterIdentity

OUTBOX_BYTES_MAX = 16 << 20
"""The ledger is written anew with every commit."""


class PartitionState(BaseModel):
    """Where one partition stands: the table covers every offset below `offset_next`."""

    model_config = ConfigDict(frozen=True)

    offset_next: int = Field(ge=0)
    batch_id: str


class TopicState(BaseModel):
    """One incarnation of a topic, by its id."""

    model_config = ConfigDict(frozen=True)

    name: str
    partitions: dict[int, PartitionState] = Field(default_factory=dict)


class Ledger(BaseModel):
    """State after `sequence` commits. Changed only by making a new one."""

    model_config = ConfigDict(frozen=True)

    epoch: int = 0
    sequence: int = 0
    commit_id: str = ""
    topics: dict[str, TopicState] = Field(default_factory=dict)
    outbox: tuple[DeadLetter, ...] = ()

    def offsets(self, topic_id: str) -> dict[int, int]:
        """Next offset of each partition that the table knows of this incarnation of a topic."""
        topic = self.topics.get(topic_id)
        return {p: s.offset_next for p, s in topic.partitions.items()} if topic else {}

    def position(self, at: TopicPartition) -> PartitionState | None:
        topic = self.topics.get(at.topic_id)
        return topic.partitions.get(at.partition) if topic else None

    def has(self, batch: AppendRequest) -> bool:
        """Is this very batch, under its own id, already in the table?

        True only while it is the last one of each of its partitions, which it is when its writer
        has had no answer yet: a writer has one batch under way.
        """
        found = [self.position(part.at) for part in batch.ranges]
        return all(state is not None and state.batch_id == batch.batch_id for state in found)

    def check(self, batch: AppendRequest, outbox_max: int) -> None:
        """Raises `StaleBatch` unless each range starts where the table stands.

        A partition that the table does not know may start anywhere. Raises `BackPressure` when
        the outbox has no room for the batch's dead letters.
        """
        seen = set()
        for part in batch.ranges:
            if part.at in seen:
                raise StaleBatch(f"{part.at} is twice in batch {batch.batch_id}")
            seen.add(part.at)
            state = self.position(part.at)
            if state is not None and state.offset_next != part.offset_first:
                raise StaleBatch(
                    f"{part.at}: batch {batch.batch_id} starts at {part.offset_first}, "
                    f"the table stands at {state.offset_next}"
                )
        if not batch.dead_letters or not self.outbox:
            return  # an empty outbox takes any one batch, or a large one would wait for ever
        size = sum(len(letter.original_base64) for letter in self.outbox)
        if len(self.outbox) + len(batch.dead_letters) > outbox_max or size > OUTBOX_BYTES_MAX:
            raise BackPressure(f"{len(self.outbox)} dead letters of {size} bytes wait for Kafka")

    def with_batch(self, batch: AppendRequest) -> Self:
        """The ledger once `batch` is in. Call `check` first."""
        topics = dict(self.topics)
        for part in batch.ranges:
            topic = topics.get(part.at.topic_id) or TopicState(name=part.at.topic)
            state = PartitionState(offset_next=part.offset_next, batch_id=batch.batch_id)
            partitions = {**topic.partitions, part.at.partition: state}
            topics[part.at.topic_id] = topic.model_copy(update={"partitions": partitions})
        outbox = self.outbox + batch.dead_letters
        return self.model_copy(update={"topics": topics, "outbox": outbox})

    def rewound(self, rewind: RewindRequest) -> Self:
        """The ledger once the partition is read again from an earlier offset.

        Raises `StaleBatch` unless the table stands where the request says.
        """
        at, state = rewind.at, self.position(rewind.at)
        stands = state.offset_next if state else None
        if stands != rewind.offset_table or not 0 <= rewind.offset_next < rewind.offset_table:
            raise StaleBatch(f"{at}: the table stands at {stands}, not at {rewind.offset_table}")
        topic = self.topics[at.topic_id]
        back = PartitionState(offset_next=rewind.offset_next, batch_id="")
        changed = topic.model_copy(update={"partitions": {**topic.partitions, at.partition: back}})
        return self.model_copy(update={"topics": {**self.topics, at.topic_id: changed}})

    def without_letters(self, published: Iterable[LetterIdentity]) -> Self:
        """The ledger once the letters with these identities are safely in Kafka."""
        gone = set(published)
        kept = tuple(letter for letter in self.outbox if letter.identity not in gone)
        return self.model_copy(update={"outbox": kept})

    def stamped(self, commit_id: str) -> Self:
        """The ledger as the next commit stores it."""
        return self.model_copy(update={"sequence": self.sequence + 1, "commit_id": commit_id})

    def taken_over(self) -> Self:
        """The ledger under a new keeper: whoever holds an older epoch is fenced."""
        return self.model_copy(update={"epoch": self.epoch + 1})
