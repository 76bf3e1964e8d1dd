"""Small values for tests of the protocol."""

import pyarrow as pa

from frameloop.adapters import lance_table
from frameloop.core.batch import AppendRequest, OffsetRange, TopicPartition
from frameloop.core.row_ids import pack_ids
from schemas.dead_letter import DeadLetter, Reason
from schemas.table import row_schema

TOPIC_ID = "topic-id-1"


def at(partition: int = 0, topic_id: str = TOPIC_ID) -> TopicPartition:
    return TopicPartition("screenshots", partition, topic_id)


def letter(offset: int, partition: int = 0) -> DeadLetter:
    return DeadLetter(
        topic="screenshots",
        topic_id=TOPIC_ID,
        partition=partition,
        offset=offset,
        reason=Reason.EVENT_NOT_VALID,
        detail="no JSON",
        failed_at_ms=0,
        original_base64="",
    )


def append(batch_id: str, first: int, following: int, partition: int = 0) -> AppendRequest:
    """A batch whose data files are of no interest."""
    part = OffsetRange(at(partition), first, following)
    return AppendRequest(batch_id, (part,), (), following - first)


def row_id_of(partition: int, offset: int) -> str:
    return f"{partition:016x}{offset:016x}"


def rows(first: int, following: int, partition: int = 0) -> pa.Table:
    """Rows for offsets `[first, following)`."""
    count = following - first
    values = {
        "id": [row_id_of(partition, offset) for offset in range(first, following)],
        "partition": [partition] * count,
        "offset": list(range(first, following)),
        "image": [b"image"] * count,
        "format": ["JPEG"] * count,
    }
    schema = row_schema()
    columns = [
        pa.array(values[f.name], f.type) if f.name in values else pa.nulls(count, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def written_append(
    uri: str, batch_id: str, first: int, following: int, partition: int = 0
) -> AppendRequest:
    """A batch with real data files in the table's folder."""
    fragments = lance_table.write_rows(uri, rows(first, following, partition))
    part = OffsetRange(at(partition), first, following)
    ids = pack_ids([row_id_of(partition, offset) for offset in range(first, following)])
    return AppendRequest(batch_id, (part,), fragments, following - first, (), ids)
