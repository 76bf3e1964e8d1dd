"""A row becomes one event or one problem that names its line; nothing is made up."""

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import list_rows
from producers.url_list import ListError, RowProblem, event_id_of, read_url_list
from schemas.event import ScreenshotEvent

URL = "http://h/a.jpg"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def events(path: Path, **options: Any) -> list[ScreenshotEvent]:
    rows = list(read_url_list(path, **options))
    assert not [r for r in rows if isinstance(r, RowProblem)]
    return [r for r in rows if isinstance(r, ScreenshotEvent)]


def problems(path: Path, **options: Any) -> list[tuple[int, str]]:
    rows = list(read_url_list(path, **options))
    return [(r.line, r.reason) for r in rows if isinstance(r, RowProblem)]


def test_every_format_gives_the_same_event(tmp_path: Path) -> None:
    time = "2026-01-31T12:00:00+00:00"
    row = {"event_id": "e1", "source": "s1", "url": URL, "caption": "A cap", "captured_at": time}
    row["game"] = "Doom"
    comma, tab = (sep.join(row) + "\n" + sep.join(row.values()) + "\n" for sep in (",", "\t"))
    parquet = tmp_path / "l.parquet"
    pq.write_table(pa.Table.from_pylist([row]), parquet)
    found = [
        events(path)
        for path in (
            write(tmp_path, "l.csv", comma),
            write(tmp_path, "with-mark.csv", b"\xef\xbb\xbf" + comma.encode()),
            write(tmp_path, "crlf.CSV", comma.replace("\n", "\r\n")),
            write(tmp_path, "l.tsv", tab),
            write(tmp_path, "l.jsonl", json.dumps(row) + "\n"),
            write(tmp_path, "l.ndjson", json.dumps(row)),
            parquet,
        )
    ]
    expected = ScreenshotEvent(
        event_id="e1",
        source="s1",
        image_url=URL,
        caption="A cap",
        captured_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        attributes={"game": "Doom"},
    )
    assert found == [[expected]] * 7


def test_a_row_without_an_id_gets_the_same_one_each_time(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", f"url\n{URL}\nhttp://h/b.jpg\n{URL}\n")
    first, other, again = events(path)
    assert first.event_id == again.event_id == event_id_of("list/l.csv", URL)
    assert first.event_id != other.event_id
    assert events(path, source="mine")[0].event_id == event_id_of("mine", URL)
    assert event_id_of("a", "b\nc") == event_id_of("a", "b\nc") != event_id_of("ab", "c")


def test_problems_name_their_line_and_the_other_rows_come_through(tmp_path: Path) -> None:
    text = (
        f'url,caption,captured_at\n{URL},"two\nlines",\n,,\n{URL},ok\n\n{URL},,yesterday\n{URL},,\n'
    )
    path = write(tmp_path, "l.csv", text)
    assert [line for line, _ in problems(path)] == [4, 5, 7]
    reasons = [reason for _, reason in problems(path)]
    assert reasons[:2] == ["no URL", "2 cells, but 3 columns"]
    assert "line 4: no URL" in map(str, read_url_list(path))
    assert reasons[2].startswith("captured_at")
    assert sum(isinstance(r, ScreenshotEvent) for r in read_url_list(path)) == 2


def test_json_lines_that_are_no_objects_are_problems(tmp_path: Path) -> None:
    lines = [b"{", b"[1]", b'{"url":"\\ud800"}', b"[" * 5000, b'{"image_url": 7}', b"\xff", b""]
    path = write(tmp_path, "l.jsonl", b"\n".join([*lines, json.dumps({"url": URL}).encode()]))
    assert [line for line, _ in problems(path)] == [1, 2, 3, 4, 5, 6]
    assert sum(isinstance(r, ScreenshotEvent) for r in read_url_list(path)) == 1


def test_text_that_is_not_utf8_is_a_problem_of_its_row_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", b"url,c\n" + URL.encode() + b",\xff\n" + URL.encode() + b",x\n")
    assert [line for line, _ in problems(path)] == [2]


def test_an_event_that_kafka_would_not_get_is_a_problem(tmp_path: Path) -> None:
    row = {"url": URL, **{f"a{i}": "x" * 1024 for i in range(64)}}
    path = write(tmp_path, "l.jsonl", json.dumps(row))
    assert "bytes" in problems(path)[0][1]
    many = write(tmp_path, "m.jsonl", json.dumps({"url": URL, **{f"a{i}": i for i in range(65)}}))
    assert "attributes" in problems(many)[0][1]


def test_columns_can_be_mapped_and_the_rest_become_attributes(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", f"link,url,n,empty\n{URL},other,007,\n")
    event = events(path, columns={"image_url": "link", "event_id": "n"})[0]
    assert (event.image_url, event.event_id) == (URL, "007")
    assert event.attributes == {"url": "other"}


def test_json_and_parquet_keep_types_and_leave_out_what_is_no_single_value(tmp_path: Path) -> None:
    line = {"url": URL, "i": 1, "f": 1.5, "b": True, "t": "x", "n": None, "l": [1], "o": {"a": 1}}
    plain = {"i": 1, "f": 1.5, "b": True, "t": "x"}
    assert events(write(tmp_path, "l.jsonl", json.dumps(line)))[0].attributes == plain
    table = pa.table(
        {
            "url": pa.array([URL]).dictionary_encode(),
            "event_id": pa.array([7]),
            "captured_at": pa.array([1], pa.timestamp("ns", tz="UTC")),
            "i": pa.array([1], pa.int8()),
            "f": [1.5],
            "b": [True],
            "t": pa.array(["x"], pa.large_string()),
            "nan": [float("nan")],
            "d": [Decimal("1.10")],
            "day": pa.array([datetime(2026, 1, 31)], pa.date32()),
            "l": [[1]],
            "image": [b"\xff\xd8"],
        }
    )
    pq.write_table(table, tmp_path / "l.parquet")
    event = events(tmp_path / "l.parquet")[0]
    assert event.attributes == {**plain, "d": "1.10", "day": "2026-01-31"}
    assert event.event_id == "7"
    assert event.captured_at == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_parquet_time_without_zone_is_a_problem_not_a_guess(tmp_path: Path) -> None:
    table = pa.table({"url": [URL], "captured_at": pa.array([1], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "l.parquet")
    assert problems(tmp_path / "l.parquet")[0][0] == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", "link\nx\n", "link"),
        ("l.csv", "", "image_url"),
        ("l.csv", "url,url\nx,y\n", "twice"),
        ("l.csv", "url,c\n" + URL + ',"' + "x\n" * 70_000, "quote"),
        ("l.csv", f'url,c\n{URL},"open\n{URL},x\n', "line 2"),
        ("l.parquet", "no parquet", "row 1"),
        ("l.xlsx", "", ".parquet"),
    ],
    ids=["no-column", "empty", "twice", "open-quote", "short-open-quote", "no-parquet", "format"],
)
def test_a_file_that_is_no_list_is_refused_with_what_to_mend(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(ListError, match=said):
        list(read_url_list(write(tmp_path, name, content)))


def test_absent_files_and_wrong_mappings_are_list_errors(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="can't be read"):
        list(read_url_list(tmp_path / "absent.csv"))
    path = write(tmp_path, "l.csv", "url\n")
    with pytest.raises(ListError, match="no field 'game'"):
        list(read_url_list(path, columns={"game": "g"}))
    with pytest.raises(ListError, match="no column 'x'"):
        list(read_url_list(path, columns={"caption": "x"}))


def test_an_endless_line_is_not_taken_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_rows, "LINE_BYTES_MAX", 64)
    line = json.dumps({"url": URL})
    lines = f"{line}\n{'x' * 1000}\n{line}\n"
    assert [n for n, _ in problems(write(tmp_path, "l.jsonl", lines))] == [2]
    with pytest.raises(ListError, match="line 2"):
        list(read_url_list(write(tmp_path, "l.csv", "url\n" + "x" * 1000)))


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", f"url,c\n{URL},x\n" + f"{URL},y\n" * 100 + '"' + "x\n" * 70_000)
    assert isinstance(next(read_url_list(path)), ScreenshotEvent)


@given(st.lists(st.lists(st.text(max_size=12), min_size=3, max_size=3), max_size=8))
def test_any_csv_row_is_an_event_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("list") / "l.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["url", "captured_at", "game"])
        writer.writerows(rows)
    assert len(list(read_url_list(path))) == len(rows)
