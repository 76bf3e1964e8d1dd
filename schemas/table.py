"""Arrow schema of the Lance table `screenshots`: one row an image, and one ledger row.

The ledger row (`id == LEDGER_ID`) holds the keeper's bookkeeping in the column `ledger`; every other
row has null there. It is changed by every commit, which makes each commit a compare-and-swap
(docs/protocol.md). `ROWS_FILTER` leaves it out.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa

LEDGER_ID = "frameloop:ledger"
ROWS_FILTER = f"id != '{LEDGER_ID}'"
USER_PROMPT = "<image>Please describe what is happening in this image"

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
TIMESTAMP = pa.timestamp("us", tz="UTC")

# Images are compressed by their own formats. Lance would try all the same, at 0.2 ms of CPU each.
AS_IT_IS = {"lance-encoding:compression": "none"}

ROW_FIELDS: tuple["pa.Field[Any]", ...] = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("event_id", pa.string()),
    pa.field("source", pa.string()),
    pa.field("captured_at", TIMESTAMP),
    pa.field("image_url", pa.string()),
    pa.field("topic", pa.string()),
    pa.field("partition", pa.int32()),
    pa.field("offset", pa.int64()),
    pa.field("ingested_at", TIMESTAMP),
    pa.field("sha256", pa.string()),
    pa.field("phash", pa.string()),
    pa.field("image", pa.large_binary(), metadata=AS_IT_IS),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("format", pa.string()),
    pa.field("messages", MESSAGES),
    pa.field("attributes", pa.json_()),
)
"""What ingest writes. A label's columns are absent from these files, hence null."""

LEDGER_FIELD = pa.field("ledger", pa.large_string())


LABEL_TYPES: dict[str, pa.DataType] = {
    "float32": pa.float32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}


class Label(NamedTuple):
    """A label's column, and the type of its values: one of `LABEL_TYPES`."""

    name: str
    type: str = "float32"


def label_fields(label: Label) -> tuple["pa.Field[Any]", ...]:
    """Columns of one label: the value, who gave it, why there is none, and what was said for it."""
    return (
        pa.field(label.name, LABEL_TYPES[label.type]),
        pa.field(f"{label.name}_scorer", pa.string()),
        pa.field(f"{label.name}_error", pa.string()),
        pa.field(f"{label.name}_reason", pa.string()),
    )


def taken_names(labels: Iterable[Label]) -> list[str]:
    """Columns that the table would have twice with these labels."""
    names = [field.name for field in (*ROW_FIELDS, LEDGER_FIELD)]
    names += [field.name for label in labels for field in label_fields(label)]
    return [name for name, count in Counter(names).items() if count > 1]


def row_schema() -> pa.Schema:
    """Schema of the row fragments that ingest writes."""
    return pa.schema(ROW_FIELDS)


def ledger_schema() -> pa.Schema:
    return pa.schema([ROW_FIELDS[0], LEDGER_FIELD])


def table_schema(labels: Iterable[Label]) -> pa.Schema:
    """Schema of the whole table: rows, then the columns of each label, then the ledger."""
    fields = [*ROW_FIELDS]
    for label in labels:
        fields.extend(label_fields(label))
    return pa.schema([*fields, LEDGER_FIELD])
