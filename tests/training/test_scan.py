"""What a scan reads, what it leaves out, and how it says what is missing."""

import json
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
import tables
from llamafactory_lance import helper_client
from llamafactory_lance.errors import EntryError, ImageError, LanceDatasetError, TableError
from llamafactory_lance.helper import tables as helper_tables
from llamafactory_lance.helper.prepare import prepare
from llamafactory_lance.helper.scan import RowScan, Tally
from llamafactory_lance.reference import ImageReference
from llamafactory_lance.spec import TableSpec


def spec_for(uri: str, **options: Any) -> TableSpec:
    defaults: dict[str, Any] = {
        "dataset": "shots",
        "columns": ("messages", "image"),
        "text_column": "messages",
        "message_fields": ("role", "content"),
        "image_column": "image",
    }
    return TableSpec(uri=uri, **{**defaults, **options})


def scanned(spec: TableSpec) -> tuple[list[dict[str, Any]], Tally]:
    scan = RowScan(helper_tables.open_pinned(spec, None), spec)
    rows = [one for batch in scan.batches() for one in batch.to_pylist()]
    return rows, scan.tally


def answers(rows: list[dict[str, Any]]) -> list[str]:
    return [one["messages"][-1]["content"].rpartition(" ")[2] for one in rows]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return tables.write_table(
        tmp_path / "t.lance", [tables.row(i) for i in range(12)], 5, ledger=True
    )


def test_rows_come_in_table_order_without_the_ledger_row(uri: str) -> None:
    rows, tally = scanned(spec_for(uri))
    assert answers(rows) == [str(i) for i in range(12)]
    assert tally == Tally(rows=12, text_null=1)


def test_a_filter_and_a_limit_count_rows_that_are_kept(uri: str) -> None:
    rows, tally = scanned(spec_for(uri, filter="score1 >= 3 OR id = 'frameloop:ledger'", limit=4))
    assert answers(rows) == ["3", "4", "5", "6"]
    assert tally.rows == 4


@pytest.mark.parametrize("sized", [True, False])
def test_rows_without_messages_or_image_are_left_out_and_counted(
    tmp_path: Path, sized: bool
) -> None:
    changes = {2: {"image": None}, 5: {"messages": None}, 9: {"image": None, "messages": None}}
    rows = [{**tables.row(i), **changes.get(i, {})} for i in range(12)]
    if not sized:
        rows = [{**one, "width": None, "height": None} for one in rows]
    uri = tables.write_table(tmp_path / "t.lance", rows, 4, ledger=True)
    kept, tally = scanned(spec_for(uri))
    assert answers(kept) == [str(i) for i in range(12) if i not in changes]
    assert tally == Tally(rows=9, text_null=3, image_null=1)


def test_images_and_other_columns_are_not_read(uri: str, tmp_path: Path) -> None:
    summary = prepare(spec_for(uri), None, tmp_path / "cache")
    image_bytes = sum(len(tables.encoded_image(i)) for i in range(12))
    assert summary["bytes_read"] < image_bytes / 20


def test_sizes_missing_in_the_table_are_read_from_the_images(tmp_path: Path) -> None:
    rows = [{**tables.row(i), "width": None} for i in range(4)]
    uri = tables.write_table(tmp_path / "t.lance", rows)
    kept, _ = scanned(spec_for(uri))
    assert [ImageReference.parse(one["image"][0]).size for one in kept] == list(tables.SIZES)


def test_rows_are_found_after_deletions(uri: str) -> None:
    lance.dataset(uri).delete("score1 < 3 OR score1 = 7")
    rows, _ = scanned(spec_for(uri))
    from llamafactory_lance.fetch import fetch_images

    images = fetch_images([one["image"][0] for one in rows])
    assert answers(rows) == ["3", "4", "5", "6", "8", "9", "10", "11"]
    assert [images[one["image"][0]] for one in rows] == [
        tables.encoded_image(int(i)) for i in answers(rows)
    ]


def test_a_tag_pins_what_it_tags(uri: str) -> None:
    lance.dataset(uri).tags.create("run-1", lance.dataset(uri).version)
    tables_version = lance.dataset(uri).version
    lance.write_dataset(
        pa.Table.from_pylist([tables.row(50)], schema=tables.ROWS), uri, mode="append"
    )
    assert scanned(spec_for(uri, tag="run-1"))[1].rows == 12
    assert scanned(spec_for(uri, version=tables_version))[1].rows == 12
    assert scanned(spec_for(uri))[1].rows == 13


def test_text_without_images_reads_no_image_column(uri: str) -> None:
    rows, _ = scanned(spec_for(uri, columns=("messages", "attributes"), image_column=None))
    assert json.loads(rows[3]["attributes"]) == {"lives": 3}
    assert set(rows[0]) == {"messages", "attributes"}


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (
            {"version": 99},
            TableError,
            "has no version 99; latest version: 3, tags: none; a clean-up deletes",
        ),
        ({"tag": "run-9"}, TableError, "has no tag run-9; latest version: 3"),
        ({"filter": "nope > 3"}, TableError, "bad filter 'nope > 3'"),
        ({"filter": "score1 >>= 3"}, TableError, "bad filter 'score1 >>= 3'"),
        ({"filter": "score1 > 1000"}, TableError, "no rows that match 'score1 > 1000'"),
        (
            {"filter": "id = 'frameloop:ledger'"},
            TableError,
            "1 left out because 'messages' is null",
        ),
        (
            {"columns": ("messages", "image", "nope")},
            TableError,
            "no column 'nope'; it has id, image, width",
        ),
        (
            {"message_fields": ("from", "value")},
            EntryError,
            "no field 'from', 'value' but ['role', 'content']",
        ),
        (
            {"columns": ("messages", "id"), "image_column": "id"},
            EntryError,
            "'id' is of type string",
        ),
    ],
)
def test_errors_say_what_is_there(
    uri: str, tmp_path: Path, options: dict[str, Any], kind: type[LanceDatasetError], words: str
) -> None:
    with pytest.raises(kind) as error:
        prepare(spec_for(uri, **options), None, tmp_path / "cache")
    assert words in str(error.value)
    assert ".rs:" not in str(error.value)


def test_a_missing_table_is_named_and_its_error_crosses_the_process(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.lance")
    with pytest.raises(TableError, match=r"none\.lance cannot be opened"):
        helper_client.prepare(spec_for(missing), None, str(tmp_path / "cache"))


def test_bytes_that_are_no_image_are_named(tmp_path: Path) -> None:
    rows = [{**tables.row(0), "image": b"no image", "width": None}]
    uri = tables.write_table(tmp_path / "t.lance", rows)
    with pytest.raises(ImageError, match="row 0 of column 'image'"):
        scanned(spec_for(uri))


def test_a_prepared_folder_is_used_again_and_a_new_table_is_not_taken_for_it(
    tmp_path: Path,
) -> None:
    uri, cache = str(tmp_path / "t.lance"), tmp_path / "cache"
    tables.write_table(tmp_path / "t.lance", [tables.row(1)])
    first = prepare(spec_for(uri), None, cache)
    assert prepare(spec_for(uri, version=1), None, cache) == first
    lance_files = tmp_path / "t.lance"
    lance_files.rename(tmp_path / "old.lance")
    tables.write_table(lance_files, [tables.row(2)])
    second = prepare(spec_for(uri), None, cache)
    assert second["version"] == first["version"] == 1
    assert second["fingerprint"] != first["fingerprint"]
    assert not list(cache.glob(".draft-*"))


def test_another_rank_refuses_a_table_that_was_replaced(uri: str, tmp_path: Path) -> None:
    pin = {"version": 3, "identity": "000000000000"}
    with pytest.raises(TableError, match="was replaced"):
        prepare(spec_for(uri), pin, tmp_path / "cache")


def test_a_stream_gives_the_rows_of_its_fragments(uri: str) -> None:
    pin = helper_client.resolve(spec_for(uri))
    assert len(pin.fragments) == 4
    rows = list(helper_client.stream(spec_for(uri), pin, list(pin.fragments[1:3])))
    assert answers(rows) == ["5", "6", "7", "8", "9", "10", "11"]
    stopped = helper_client.stream(spec_for(uri), pin, list(pin.fragments))
    assert next(stopped)
    stopped.close()
