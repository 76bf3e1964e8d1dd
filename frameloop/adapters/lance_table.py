"""The Lance table of screenshots: open, write data files, commit, find what is unlabelled.

Writing data files and committing them are apart: any number of processes write, one keeper commits
(docs/protocol.md). Never fork a process that has used this module: Lance is not fork-safe.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import lance
import pyarrow as pa
from lance import FragmentMetadata, LanceOperation, Transaction
from lance.commit import CommitConflictError
from lance.fragment import write_fragments

from frameloop.core.errors import Conflict, FatalError, TransientError
from frameloop.core.labels import FragmentLabels
from frameloop.core.ledger import Ledger
from frameloop.core.row_ids import pack_ids
from schemas.table import (
    LEDGER_FIELD,
    LEDGER_ID,
    ROWS_FILTER,
    Label,
    label_fields,
    ledger_schema,
    row_schema,
    table_schema,
)

COMMIT_PROPERTY = "frameloop.commit_id"
ROW_ADDRESS_FRAGMENT_SHIFT = 32
"""A Lance row address is the fragment's id and the row's place in it, 32 bits each."""
LEDGER_FILTER = f"id = '{LEDGER_ID}'"


def metadata_json(fragment: FragmentMetadata) -> str:
    """Metadata as text that is equal exactly when the fragments are."""
    return json.dumps(fragment.to_json(), sort_keys=True)


def open_or_create(uri: str, labels: Sequence[Label]) -> lance.LanceDataset:
    """Open the table, or make it with its ledger row; labels it lacks become columns of nulls.

    Raises `FatalError` if a table of another make is there.
    """
    try:
        dataset = lance.dataset(uri)
    except (ValueError, FileNotFoundError):
        return _create(uri, labels)
    wanted = table_schema(labels)
    have = set(dataset.schema.names)
    if missing := [f.name for f in row_schema() if f.name not in have]:
        raise FatalError(f"{uri} is no table of screenshots: it has no column {missing[0]}")
    for field in (field for label in labels for field in label_fields(label)):
        if field.name in have and dataset.schema.field(field.name).type != field.type:
            was = dataset.schema.field(field.name).type
            raise FatalError(f"{uri}: column {field.name} is {was}, the settings want {field.type}")
    if new := [field for field in wanted if field.name not in have]:
        dataset.add_columns(pa.schema(new))
        dataset = lance.dataset(uri)
    read_ledger(dataset)
    return dataset


def _create(uri: str, labels: Sequence[Label]) -> lance.LanceDataset:
    # Two steps would leave a table without a ledger if the process died between them, and
    # `create` refuses when another process was faster: one write, with all columns.
    schema = table_schema(labels)
    ledger = Ledger().model_dump_json()
    values = {"id": [LEDGER_ID], "ledger": [ledger]}
    columns = [
        pa.array(values[field.name], field.type)
        if field.name in values
        else pa.nulls(1, field.type)
        for field in schema
    ]
    row = pa.Table.from_arrays(columns, schema=schema)
    try:
        return lance.write_dataset(row, uri, mode="create", enable_stable_row_ids=True)
    except OSError as error:
        if "already exists" in str(error).lower():
            return open_or_create(uri, labels)
        raise


def read_ledger(dataset: lance.LanceDataset) -> tuple[Ledger, int]:
    """The ledger at the dataset's version, and the id of the fragment that holds it.

    Raises `FatalError` unless there is exactly one ledger row.
    """
    # Where the metadata says which fragment it is, the others need not be looked into.
    known = ledger_fragments(dataset)
    found = dataset.scanner(
        columns=["ledger"],
        filter=LEDGER_FILTER,
        with_row_address=True,
        fragments=known or None,
    ).to_table()
    if len(found) != 1:
        raise FatalError(f"{dataset.uri}: {len(found)} ledger rows, there must be one")
    text, address = found["ledger"][0].as_py(), found["_rowaddr"][0].as_py()
    return Ledger.model_validate_json(text), address >> ROW_ADDRESS_FRAGMENT_SHIFT


def set_ledger_apart(dataset: lance.LanceDataset) -> lance.LanceDataset:
    """Put the ledger row back into a fragment of its own, where compaction by hand has merged it.

    In a fragment with other rows it would be in the way of their labels: a commit can change a
    fragment once. One commit, refused if another has touched the fragment: raises `Conflict` then.
    """
    row = dataset.to_table(filter=LEDGER_FILTER)
    try:
        merge = dataset.merge_insert("id").when_matched_update_all().conflict_retries(0)
        merge.execute(row)
    except OSError as error:
        if "conflict" in str(error).lower():
            raise Conflict(str(error).split(", /")[0]) from error
        raise TransientError(f"the ledger could not be set apart: {error}") from error
    return lance.dataset(dataset.uri)


def ledger_fragments(dataset: lance.LanceDataset) -> list[lance.LanceFragment]:
    """The ledger's fragment, by metadata: each commit of a keeper gives it a file of that column alone.

    None before the first such commit.
    """
    ledger = field_id(dataset, LEDGER_FIELD.name)
    return [
        fragment
        for fragment in dataset.get_fragments()
        if any(set(file.fields) == {ledger} for file in fragment.data_files())
    ]


def write_rows(uri: str, rows: pa.Table) -> tuple[str, ...]:
    """Write data files for `rows` (schema `row_schema()`); nobody sees them before a commit.

    Raises `TransientError` if the storage refuses, e.g. a full disk; the same rows may be written
    again.
    """
    try:
        fragments = write_fragments(rows, uri, schema=row_schema(), enable_stable_row_ids=True)
    except OSError as error:
        raise TransientError(f"{uri}: data files could not be written: {error}") from error
    return tuple(metadata_json(fragment) for fragment in fragments)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit does to the table, all of it or nothing."""

    ledger: Ledger
    new_fragments: Sequence[str] = ()
    updated_fragments: Sequence[str] = ()
    fields: frozenset[int] = frozenset()


def commit(
    dataset: lance.LanceDataset, ledger_fragment: int, changes: Changes
) -> lance.LanceDataset:
    """Commit on top of `dataset`'s version.

    A compare-and-swap: every commit rewrites the ledger's column file, and Lance refuses an
    `Update` of a fragment that another commit has touched since. Raises `Conflict` then, and
    `TransientError` when the storage failed: whether it was committed is then unknown, and the
    ledger's `commit_id` at the latest version tells.
    """
    value = pa.table(
        {"id": [LEDGER_ID], "ledger": [changes.ledger.model_dump_json()]}, schema=ledger_schema()
    )
    try:
        fragment = dataset.get_fragment(ledger_fragment)
        if fragment is None:
            raise Conflict("the ledger's fragment is gone")
        updated, fields = fragment.update_columns(value, left_on="id")
        operation = LanceOperation.Update(
            updated_fragments=[updated, *_parsed(changes.updated_fragments)],
            new_fragments=_parsed(changes.new_fragments),
            fields_modified=sorted({*fields, *changes.fields}),
            update_mode="rewrite_columns",
        )
        transaction = Transaction(
            read_version=dataset.version,
            operation=operation,
            transaction_properties={COMMIT_PROPERTY: changes.ledger.commit_id},
        )
        return lance.LanceDataset.commit(dataset, transaction)
    except CommitConflictError as error:
        raise Conflict(str(error).split(",")[0]) from error
    except OSError as error:
        raise TransientError(f"the commit failed: {error}") from error


def _parsed(fragments: Iterable[str]) -> list[FragmentMetadata]:
    return [FragmentMetadata.from_json(text) for text in fragments]


def field_id(dataset: lance.LanceDataset, column: str) -> int:
    """Lance's id of a top-level column. Raises `FatalError` if there is none."""
    for field in dataset.lance_schema.fields():
        if field.name() == column:
            return int(field.id())
    raise FatalError(f"{dataset.uri} has no column {column}")


def label_state(dataset: lance.LanceDataset, labels: Iterable[str]) -> list[FragmentLabels]:
    """Which fragments lack which labels. From metadata alone: no scan.

    The ledger's own fragment is never among them.
    """
    wanted = {field_id(dataset, label): label for label in labels}
    ledger = {f.fragment_id for f in ledger_fragments(dataset) if f.physical_rows == 1}
    found = []
    for fragment in dataset.get_fragments():
        if fragment.fragment_id in ledger:
            continue
        files = fragment.data_files()
        fields = {field for file in files for field in file.fields}
        rows = fragment.physical_rows
        missing = frozenset(label for each, label in wanted.items() if each not in fields)
        state = hash(tuple(file.path for file in files))
        found.append(FragmentLabels(int(fragment.fragment_id), rows, missing, state))
    return found


def has_label(dataset: lance.LanceDataset, fragment_id: int, label: str) -> bool:
    """Has the fragment the label's column? Looks at this fragment alone. False if it is not there."""
    fragment, wanted = dataset.get_fragment(fragment_id), field_id(dataset, label)
    return fragment is not None and any(wanted in file.fields for file in fragment.data_files())


def unlabelled_fragments(dataset: lance.LanceDataset, label: str) -> list[int]:
    """Ids of fragments none of whose files has the label's column."""
    return [each.fragment_id for each in label_state(dataset, [label]) if each.missing]


def fragments_by_id(dataset: lance.LanceDataset, ids: Iterable[int]) -> dict[int, str]:
    """Metadata JSON of those of the fragments that are in the table."""
    found = ((i, dataset.get_fragment(i)) for i in ids)
    return {i: metadata_json(fragment.metadata) for i, fragment in found if fragment is not None}


def read_row_ids(dataset: lance.LanceDataset) -> Iterator[bytes]:
    """The ids of all rows but the ledger's, packed, a batch at a time."""
    scanner = dataset.scanner(columns=["id"], filter=ROWS_FILTER, batch_size=65_536)
    for batch in scanner.to_batches():
        yield pack_ids(batch.column("id").to_pylist())


def count_screenshots(dataset: lance.LanceDataset) -> int:
    """Rows but the ledger's, from metadata alone."""
    return int(dataset.count_rows()) - 1


def count_rows(dataset: lance.LanceDataset, row_filter: str | None = None) -> int:
    """Rows that are screenshots, and pass `row_filter` if one is given."""
    parts = [ROWS_FILTER] + ([f"({row_filter})"] if row_filter else [])
    return int(dataset.count_rows(" AND ".join(parts)))
