"""Values that travel from ingest actors, scoring consumers and upkeep to the table keeper.

All frozen and picklable. Lance fragments travel as their metadata's JSON: the data files are
already written, only the keeper's commit makes them part of the table.

`written_at_ms` is the writer's clock before it wrote the files. Files that no version names are
removed after days, so the keeper takes none that have waited long; 0 is of unknown age.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.dead_letter import DeadLetter


@dataclass(frozen=True, slots=True)
class TopicPartition:
    """A partition of one incarnation of a topic.

    A topic that was deleted and made anew has another `topic_id` (KIP-516), hence is another
    partition here: its offsets start again and mean other events.
    """

    topic: str
    partition: int
    topic_id: str

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets `[offset_first, offset_next)` of one partition."""

    at: TopicPartition
    offset_first: int
    offset_next: int

    def __post_init__(self) -> None:
        if not 0 <= self.offset_first < self.offset_next:
            raise ValueError(f"{self.at}: [{self.offset_first}, {self.offset_next}) is no range")


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """A micro-batch: every offset in `ranges` is a row in `fragments` or one of `dead_letters`.

    `batch_id` stays the same over all attempts to commit it. `ids` holds the rows' ids, 16 bytes
    each, in the order of the rows.
    """

    batch_id: str
    ranges: tuple[OffsetRange, ...]
    fragments: tuple[str, ...]
    rows: int
    dead_letters: tuple[DeadLetter, ...] = ()
    ids: bytes = b""
    written_at_ms: int = 0

    def new_files(self) -> set[str]:
        """Names of its files in the table's folder of data."""
        return _files(self.fragments)


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """New column files of one fragment.

    `base` is the fragment's metadata that the files were written for; if the table has another by
    now, the request is refused. `fields` are the ids of the columns in the new files.
    """

    label: str
    fragment_id: int
    base: str
    updated: str
    fields: tuple[int, ...]
    rows: int
    written_at_ms: int = 0

    def new_files(self) -> set[str]:
        return _files([self.updated]) - _files([self.base])


@dataclass(frozen=True, slots=True)
class RewindRequest:
    """Kafka's log of a partition now ends before where the table stands, at `offset_next`.

    Taken only while the table stands at `offset_table`: then the next batch starts at
    `offset_next`.
    """

    at: TopicPartition
    offset_table: int
    offset_next: int


@dataclass(frozen=True, slots=True)
class CompactRequest:
    """Fragments rewritten as fewer, with the same rows, ids and labels.

    `base` is the old fragments' metadata as they were read; if the table has another by now, the
    request is refused. `rewrite` is Lance's own account of it, as JSON.
    """

    fragment_ids: tuple[int, ...]
    base: tuple[str, ...]
    rewrite: str
    rows: int
    written_at_ms: int = 0

    def new_files(self) -> set[str]:
        found = json.loads(self.rewrite)["new_fragments"]
        return {file["path"] for fragment in found for file in fragment["files"]}


CommitRequest = AppendRequest | LabelRequest | CompactRequest | RewindRequest


def _files(fragments: Iterable[str]) -> set[str]:
    return {file["path"] for text in fragments for file in json.loads(text)["files"]}


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """The request is part of `table_version`, and of every later one."""

    table_version: int
    committed_at_ms: int
