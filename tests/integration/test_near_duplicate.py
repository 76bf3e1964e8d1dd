"""The scorer on real Lance tables: the same answers in any order, after a restart, after compaction."""

import io
import random
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from frameloop.adapters import lance_table
from frameloop.adapters.image import verify_image
from frameloop.core.errors import FatalError, SettingsError, TransientError
from producers.games import JPEG_QUALITY, AtariSession, DoomSession, GameSession
from schemas.table import ROW_FIELDS, Label
from serve_apps.contract import LookingScorer
from serve_apps.near_duplicate import WINDOW_ROWS_LIMITS, WINDOWS_MAX, NearDuplicateScorer

WINDOW = WINDOW_ROWS_LIMITS[0]
SCHEMA = pa.schema([f for f in ROW_FIELDS if f.name in ("id", "source", "phash", "image")])
Row = tuple[str | None, str | None]
"""Source and phash."""


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "screenshots.lance")


class Writer:
    """Appends fragments of rows with ids 0, 1, 2, ... as 32 hex digits."""

    def __init__(self, uri: str) -> None:
        self.uri, self.rows = uri, 0

    def append(self, rows: Iterable[Row], rows_each: int = 1 << 20) -> lance.LanceDataset:
        taken = list(rows)
        ids = [f"{number:032x}" for number in range(self.rows, self.rows + len(taken))]
        sources, hashes = zip(*taken, strict=True)
        values = [ids, sources, hashes, [b"image"] * len(taken)]
        columns = [pa.array(v, f.type) for v, f in zip(values, SCHEMA, strict=True)]
        self.rows += len(taken)
        return lance.write_dataset(
            pa.Table.from_arrays(columns, schema=SCHEMA),
            self.uri,
            mode="append" if Path(self.uri).exists() else "create",
            max_rows_per_file=rows_each,
            enable_stable_row_ids=True,
        )


def some_rows(count: int, seed: int) -> list[Row]:
    """Three sources; many hashes come again, exactly or with a bit flipped."""
    rng = random.Random(seed)
    bases = [rng.getrandbits(64) for _ in range(count // 4)]
    return [
        (f"game-{rng.randrange(3)}", f"{rng.choice(bases) ^ (rng.getrandbits(1) << 9):016x}")
        for _ in range(count)
    ]


def label(
    scorer: NearDuplicateScorer, table: lance.LanceDataset, fragment_id: int
) -> dict[str, str | None]:
    """The fragment's values by row id, as a replica comes to them."""
    scorer.look(table)
    reader = table.get_fragment(fragment_id).scanner(columns=list(scorer.inputs), batch_size=32)
    values: dict[str, str | None] = {}
    for batch in reader.to_batches():
        scores = scorer.score(batch)
        assert [score.error for score in scores] == [None] * batch.num_rows
        values.update(zip(batch.column("id").to_pylist(), [s.value for s in scores], strict=True))
    return values


def label_all(
    scorer: NearDuplicateScorer,
    table: lance.LanceDataset,
    order: Callable[[list[int]], list[int]] = list,
) -> dict[str, str | None]:
    ids = [fragment.fragment_id for fragment in table.get_fragments()]
    values: dict[str, str | None] = {}
    for fragment_id in order(ids):
        values |= label(scorer, table, fragment_id)
    return values


def repeats_of(values: dict[str, str | None]) -> int:
    return sum(value is not None for value in values.values())


def test_a_repeat_names_an_earlier_original_of_its_source_within_the_distance(uri: str) -> None:
    rows = some_rows(600, seed=1)
    values = label_all(NearDuplicateScorer(1), Writer(uri).append(rows, rows_each=50))
    assert 100 < repeats_of(values) < 600
    for row_id, original in values.items():
        if original is None:
            continue
        (source, bits), (its_source, its_bits) = rows[int(row_id, 16)], rows[int(original, 16)]
        assert int(original, 16) < int(row_id, 16)
        assert source == its_source
        assert (int(bits or "", 16) ^ int(its_bits or "", 16)).bit_count() <= 1
        assert values[original] is None


def test_labels_are_the_same_live_and_back_filled_newest_first(uri: str) -> None:
    writer, live, seen = Writer(uri), NearDuplicateScorer(), dict[str, str | None]()
    for turn in range(12):
        table = writer.append(some_rows(97, seed=turn % 5))
        newest = max(fragment.fragment_id for fragment in table.get_fragments())
        seen |= label(live, table, newest)
    assert repeats_of(seen) > 300
    assert label_all(NearDuplicateScorer(), table, lambda ids: sorted(ids, reverse=True)) == seen
    shuffled = random.Random(4)
    replicas = [NearDuplicateScorer() for _ in range(3)]
    values: dict[str, str | None] = {}
    for fragment_id in shuffled.sample(range(12), 12):
        values |= label(shuffled.choice(replicas), table, fragment_id)
    assert values == seen


def test_a_fragment_of_an_older_version_gets_the_same_labels(uri: str) -> None:
    writer, scorer = Writer(uri), NearDuplicateScorer()
    first = writer.append(some_rows(200, seed=1))
    expected = label_all(NearDuplicateScorer(), first)
    scorer.look(writer.append(some_rows(200, seed=1)))
    assert label_all(scorer, lance.dataset(uri, version=first.version)) == expected


def test_compaction_changes_no_label(uri: str) -> None:
    writer, scorer = Writer(uri), NearDuplicateScorer()
    table = writer.append(some_rows(3 * WINDOW, seed=3), rows_each=100)
    expected = label_all(scorer, table)
    table.optimize.compact_files(target_rows_per_fragment=5000)
    compacted = lance.dataset(uri)
    assert len(compacted.get_fragments()) == 1
    assert label_all(scorer, compacted) == expected
    assert label_all(NearDuplicateScorer(), compacted) == expected
    grown = writer.append(some_rows(50, seed=3))
    newest = max(fragment.fragment_id for fragment in grown.get_fragments())
    assert label(scorer, grown, newest) == label(NearDuplicateScorer(), grown, newest)


def test_a_row_of_a_service_s_table_is_compared_and_the_ledger_is_not(uri: str) -> None:
    table = lance_table.open_or_create(uri, (Label("score1"),))
    assert label_all(NearDuplicateScorer(), lance.dataset(uri), lambda ids: []) == {}
    scorer = NearDuplicateScorer()
    scorer.look(table)
    assert scorer.score(batch_of([None]))[0].error == "the row has no id"


def test_what_has_been_looked_at_is_not_read_again(uri: str) -> None:
    writer, scorer = Writer(uri), NearDuplicateScorer()
    table = writer.append(some_rows(100, seed=1))
    scorer.look(table)
    old = list((Path(uri) / "data").iterdir())
    grown = writer.append(some_rows(100, seed=1))
    for file in old:
        file.unlink()
    scorer.look(grown)
    assert repeats_of(label(scorer, grown, 1)) == 100
    with pytest.raises(TransientError):
        NearDuplicateScorer().look(grown)


def test_memory_is_bounded_and_rows_meet_only_rows_of_their_window(uri: str) -> None:
    blank: list[Row] = [("game", "0" * 16)]
    table = Writer(uri).append(blank * (6 * WINDOW), rows_each=700)
    scorer = NearDuplicateScorer(window_rows=WINDOW)
    values = label_all(scorer, table, lambda ids: sorted(ids, reverse=True))
    originals = [int(row_id, 16) for row_id, value in sorted(values.items()) if value is None]
    assert originals == [window * WINDOW for window in range(6)]
    assert label_all(NearDuplicateScorer(window_rows=WINDOW), table) == values
    whole = NearDuplicateScorer()
    assert repeats_of(label_all(whole, table)) == len(values) - 1
    assert len(scorer._windows) == WINDOWS_MAX


def test_a_failed_read_leaves_it_as_it_was(uri: str) -> None:
    writer, scorer = Writer(uri), NearDuplicateScorer()
    expected = label_all(scorer, writer.append(some_rows(100, seed=1)))
    old = set((Path(uri) / "data").iterdir())
    grown = writer.append(some_rows(100, seed=2))
    (file,) = set((Path(uri) / "data").iterdir()) - old
    hidden = file.rename(file.with_suffix(".hidden"))
    with pytest.raises(TransientError):
        scorer.look(grown)
    hidden.rename(file)
    table = lance.dataset(uri)
    assert label(scorer, table, 0) == expected
    assert label(scorer, table, 1) == label(NearDuplicateScorer(), table, 1)


def batch_of(ids: list[str | None]) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.string())})


def test_rows_that_can_t_be_compared_are_errors_on_the_row(uri: str) -> None:
    good = "0123456789abcdef"
    table = Writer(uri).append([("game", None), (None, good), ("game", "no hash"), ("game", good)])
    scorer = NearDuplicateScorer()
    scorer.look(table)
    ids = [f"{number:032x}" for number in range(4)]
    errors = [score.error for score in scorer.score(batch_of([*ids, "it's unknown", None]))]
    assert errors == [
        "the row has no perceptual hash",
        "the row has no source",
        "the row has no perceptual hash",
        None,
        "the table has no such row",
        "the row has no id",
    ]


def test_it_asks_to_see_the_table_and_refuses_one_without_an_order(uri: str) -> None:
    scorer = NearDuplicateScorer()
    assert isinstance(scorer, LookingScorer)
    assert scorer.score(batch_of([])) == []
    with pytest.raises(FatalError, match="look"):
        scorer.score(batch_of(["a"]))
    rows = pa.table({"id": ["a"], "source": ["s"], "phash": ["0" * 16]})
    with pytest.raises(FatalError, match="stable row ids"):
        scorer.look(lance.write_dataset(rows, uri))
    other = lance.write_dataset(rows.select(["id"]), f"{uri}2", enable_stable_row_ids=True)
    with pytest.raises(FatalError, match="phash"):
        scorer.look(other)


def test_its_version_says_with_what_options_it_answered() -> None:
    assert NearDuplicateScorer().version == "1-d1-w1048576"
    assert NearDuplicateScorer(0, 2048).version == "1-d0-w2048"
    for options in ({"distance_max": 4}, {"window_rows": 10}):
        with pytest.raises(SettingsError):
            NearDuplicateScorer(**options)


def phash(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=JPEG_QUALITY)
    return verify_image(file.getvalue(), formats=("JPEG",), pixels_max=1 << 20).phash


def played(session: GameSession, count: int) -> list[np.ndarray]:
    with closing(session):
        return [session.next_frame().image for _ in range(count)]


def test_a_paused_game_yields_repeats_and_play_does_not(uri: str) -> None:
    pytest.importorskip("vizdoom", reason="needs the extra games")
    doom = [phash(pixels) for pixels in played(DoomSession("deathmatch", 1), 40)]
    assert (
        repeats_of(label_all(NearDuplicateScorer(), Writer(uri).append(("doom", h) for h in doom)))
        == 0
    )
    paused = [*doom[:20], *[doom[19]] * 30, *doom[20:]]
    values = label_all(NearDuplicateScorer(), Writer(f"{uri}2").append(("doom", h) for h in paused))
    assert [row for row, value in values.items() if value] == [f"{i:032x}" for i in range(20, 50)]
    assert {value for value in values.values() if value} == {f"{19:032x}"}


def test_a_paused_game_is_seen_through_noise_and_coding(uri: str) -> None:
    pytest.importorskip("ale_py", reason="needs the extra games")
    rng = np.random.default_rng(0)
    pixels = played(AtariSession("Breakout", 1), 20)[-1]
    noisy = [np.clip(pixels + rng.normal(0, 1, pixels.shape), 0, 255) for _ in range(40)]
    rows = [("breakout", phash(each.astype(np.uint8))) for each in noisy]
    assert repeats_of(label_all(NearDuplicateScorer(), Writer(uri).append(rows))) >= 32
