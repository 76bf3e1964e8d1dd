"""A batch's images come in one read, byte for byte, from the version that was pinned."""

from pathlib import Path
from typing import Any

import lance
import pytest
import tables
from llamafactory_lance import fetch
from llamafactory_lance.errors import ImageError
from llamafactory_lance.helper.tables import identity
from llamafactory_lance.patches.collator import with_images
from llamafactory_lance.reference import ImageColumn, ImageReference


@pytest.fixture
def source(tmp_path: Path) -> ImageColumn:
    uri = tables.write_table(tmp_path / "t.lance", [tables.row(i) for i in range(12)], 5)
    return ImageColumn(uri, 1, identity(lance.dataset(uri)), "image")


def reference(source: ImageColumn, index: int) -> str:
    return str(ImageReference(source, index, *tables.SIZES[index % len(tables.SIZES)]))


class CountingTable:
    def __init__(self, table: Any) -> None:
        self.table, self.takes = table, 0

    def take(self, rows: list[int], columns: list[str]) -> Any:
        self.takes += 1
        return self.table.take(rows, columns=columns)


def test_a_batch_is_one_read_of_exact_bytes(
    source: ImageColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = CountingTable(lance.dataset(source.uri, version=1))
    monkeypatch.setattr(fetch, "_open", lambda _: counting)
    order = [7, 0, 11, 7, 3]
    features = [{"images": [reference(source, i)]} for i in order]
    features += [{"images": None}, {"images": [b"other", "path.png"]}, {}]
    got = with_images(features)
    assert [one["images"][0] for one in got[:5]] == [tables.encoded_image(i) for i in order]
    assert got[6] == {"images": [b"other", "path.png"]}
    assert counting.takes == 1


def test_a_batch_without_references_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_open", lambda _: pytest.fail("opened a table"))
    assert with_images([{"images": ["a.png"]}]) == [{"images": ["a.png"]}]


def test_an_image_of_another_size_is_refused(source: ImageColumn) -> None:
    with pytest.raises(ImageError, match="is 160x210: mend the row's width and height"):
        fetch.fetch_images([str(ImageReference(source, 0, 161, 210))])


def test_a_vanished_version_says_so(source: ImageColumn) -> None:
    gone = ImageColumn(source.uri, 77, source.identity, "image")
    with pytest.raises(ImageError, match="has no version 77"):
        fetch.fetch_images([reference(gone, 0)])


def test_a_replaced_table_is_noticed(source: ImageColumn) -> None:
    other = ImageColumn(source.uri, 1, "000000000000", "image")
    with pytest.raises(ImageError, match="no longer the one"):
        fetch.fetch_images([reference(other, 0)])


def test_handles_belong_to_one_process(
    source: ImageColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.fetch_images([reference(source, 0)])
    opened: list[ImageColumn] = []
    open_before = fetch._open

    def counted(one: ImageColumn) -> Any:
        opened.append(one)
        return open_before(one)

    monkeypatch.setattr(fetch, "_open", counted)
    fetch.fetch_images([reference(source, 1)])
    assert opened == []
    monkeypatch.setattr(fetch.os, "getpid", lambda: -1)
    fetch.fetch_images([reference(source, 1)])
    assert opened == [source]
