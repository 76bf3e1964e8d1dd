"""Rows of CSV, TSV, JSON Lines and Parquet files, lazily, with where each stands."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types
from pydantic_core import from_json

from frameloop.core.errors import FrameloopError

LINE_BYTES_MAX = 1 << 20
PARQUET_BATCH_ROWS = 256
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ListError(FrameloopError):
    """The file can't be read on. The message says where and what to mend."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that became no event. `line` is the file's line, in Parquet the row, from 1 on."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    values: dict[str, object]


ColumnsCheck = Callable[[Sequence[str]], None]
Rows = Iterator[Row | RowProblem]


def read_rows(path: Path, check_columns: ColumnsCheck) -> Rows:
    """The rows of the file, in the format that its name's ending says.

    `check_columns` gets the column names before the first row; of JSON Lines, which have none, it
    is not called. Memory stays bounded, whatever the file's size. Raises `ListError`.
    """
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise ListError(f"{path}: no known format; name it {', '.join(FORMATS)}")
    try:
        yield from reader(path, check_columns)
    except OSError as error:
        raise ListError(f"{path}: can't be read: {error.strerror or error}") from None


def _csv_rows(path: Path, check_columns: ColumnsCheck) -> Rows:
    return _separated_rows(path, check_columns, ",")


def _tsv_rows(path: Path, check_columns: ColumnsCheck) -> Rows:
    return _separated_rows(path, check_columns, "\t")


def _separated_rows(path: Path, check_columns: ColumnsCheck, separator: str) -> Rows:
    """A broken quote can't be told from data, so reading on after it would invent rows: stop."""
    reader = csv.reader(_text_lines(path), delimiter=separator, strict=True)
    line = 1
    try:
        header = next(reader, [])
        _check_names(path, header, check_columns)
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield Row(line, dict(zip(header, cells, strict=True)))
            elif cells:
                yield RowProblem(line, f"{len(cells)} cells, but {len(header)} columns")
            line = reader.line_num + 1
    except csv.Error as error:
        raise ListError(f"{path}: line {line}: {error}; is a quote left open?") from None


def _json_rows(path: Path, _: ColumnsCheck) -> Rows:
    for number, line in _lines(path):
        if line is None:
            yield RowProblem(number, f"more than {LINE_BYTES_MAX} bytes in one line")
            continue
        if not line.strip():
            continue
        try:
            values = from_json(line)
        except ValueError as error:
            yield RowProblem(number, f"no JSON in UTF-8: {error}")
            continue
        if isinstance(values, dict):
            yield Row(number, values)
        else:
            yield RowProblem(number, "no JSON object")


def _parquet_rows(path: Path, check_columns: ColumnsCheck) -> Rows:
    row = 1
    try:
        with pq.ParquetFile(path) as file:
            fields = [f for f in file.schema_arrow if _is_scalar(f.type)]
            names = [f.name for f in fields]
            _check_names(path, names, check_columns)
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=names):
                table = pa.table(batch).cast(_readable_schema(batch.schema), safe=False)
                for values in table.to_pylist():
                    yield Row(row, values)
                    row += 1
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ListError(f"{path}: from row {row} on it can't be read: {error}") from None


def _is_scalar(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_date(kind)
        or types.is_time(kind)
        or types.is_timestamp(kind)
    )


def _readable_schema(schema: pa.Schema) -> pa.Schema:
    """Nanoseconds as microseconds: Python's times hold no finer ones."""
    fields = []
    for field in schema:
        kind = field.type
        if types.is_timestamp(kind) and kind.unit == "ns":
            kind = pa.timestamp("us", tz=kind.tz)
        fields.append(field.with_type(kind))
    return pa.schema(fields)


def _check_names(path: Path, names: Sequence[str], check_columns: ColumnsCheck) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ListError(f"{path}: the column {twice[0]!r} is there twice; rename one")
    check_columns(names)


def _text_lines(path: Path) -> Iterator[str]:
    """What is not UTF-8 becomes surrogates, which no event may hold: the row is refused later."""
    for number, line in _lines(path):
        if line is None:
            raise ListError(f"{path}: line {number} has more than {LINE_BYTES_MAX} bytes")
        yield line.decode("utf-8", "surrogateescape")


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None in place of one that is longer than allowed."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if len(line) <= LINE_BYTES_MAX:
                yield number, line
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_BYTES_MAX)
            yield number, None


FORMATS: dict[str, Callable[[Path, ColumnsCheck], Rows]] = {
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}
