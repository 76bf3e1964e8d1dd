"""Lists of image URLs as events: CSV, TSV, JSON Lines and Parquet, read a piece at a time.

Columns: `image_url` (or `url`), and perhaps `event_id`, `source`, `caption`, `captured_at` (ISO
8601 with a zone), or whichever columns the caller maps to these names. Each other column that holds
single values becomes an attribute: as text in CSV and TSV, which know no types; as number, boolean
or text elsewhere, dates and decimals as text. Lists, objects and bytes are left out. An empty text,
a null and a NaN count as no value.

Without `event_id` a row's id is made from its source and URL: a list that is sent twice, or a URL
that is in it twice, gives the same id.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from producers.list_rows import ListError, Row, RowProblem, read_rows
from schemas.cloudevents import EventError, encode_binary, explain
from schemas.event import AttributeValue, ScreenshotEvent

__all__ = ["ListError", "RowProblem", "read_url_list"]

URL_COLUMNS = ("image_url", "url")
FIELDS = ("image_url", "event_id", "source", "caption", "captured_at")


def read_url_list(
    path: Path, *, source: str | None = None, columns: Mapping[str, str] | None = None
) -> Iterator[ScreenshotEvent | RowProblem]:
    """An event for each row that is one, a problem for each row that is not, in the file's order.

    `columns` names the column of a field where it is not the field's own name. `source` is for rows
    without one; default: `list/` and the file's name. Every event given can be sent. Raises
    `ListError` at the first `next`, or where the file can't be read on.
    """
    mapping = dict(columns or {})
    if unknown := sorted(set(mapping) - set(FIELDS)):
        raise ListError(f"no field {unknown[0]!r} to map; the fields are {', '.join(FIELDS)}")

    def check_columns(names: Sequence[str]) -> None:
        wanted = set(mapping.values()) - set(names)
        if wanted:
            raise ListError(f"{path}: no column {min(wanted)!r}; there are: {_listed(names)}")
        if "image_url" not in mapping and not set(URL_COLUMNS) & set(names):
            raise ListError(f"{path}: no column image_url or url; map one of: {_listed(names)}")

    default_source = source or f"list/{path.name}"
    for row in read_rows(path, check_columns):
        yield row if isinstance(row, RowProblem) else _event(row, mapping, default_source)


def event_id_of(source: str, image_url: str) -> str:
    """The id of an event whose sender gave it none."""
    text = f"{source}\n{image_url}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _event(row: Row, mapping: Mapping[str, str], source: str) -> ScreenshotEvent | RowProblem:
    values: dict[str, Any] = {name: v for name, v in row.values.items() if not _is_empty(v)}
    found = {f: values.pop(_column_of(f, mapping, row.values), None) for f in FIELDS}
    url = found["image_url"]
    if not isinstance(url, str):
        return RowProblem(row.line, "no URL")
    found["image_url"] = url = url.strip()
    found["source"] = str(found["source"] or source)
    # An id is often a number in its table.
    found["event_id"] = str(found["event_id"] or event_id_of(found["source"], url))
    attributes = {name: a for name, v in values.items() if (a := _attribute(v)) is not None}
    try:
        event = ScreenshotEvent(**found, attributes=attributes)
        encode_binary(event)
    except ValidationError as error:
        return RowProblem(row.line, explain(error))
    except EventError as error:
        return RowProblem(row.line, error.detail)
    return event


def _column_of(field: str, mapping: Mapping[str, str], values: Mapping[str, object]) -> str:
    if field in mapping:
        return mapping[field]
    if field == "image_url":
        return next((name for name in URL_COLUMNS if name in values), field)
    return field


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _attribute(value: object) -> AttributeValue:
    """The value as an attribute holds it; None if it can't be one."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return (f"{shown} …" if len(names) > 20 else shown)[:400]
