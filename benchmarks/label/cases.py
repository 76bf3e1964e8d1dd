"""The cases of the benchmark. Each makes the tables and files that it needs, and gives its figures."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.label import parquet, peer, quality, serve_path
from benchmarks.label.ours import Labelled, OurTable
from benchmarks.label.rounds import Rounds, Spent, Stopwatch, middle
from benchmarks.label.rows import BATCH_ROWS, TINY_PICTURE, Picture, append, keeper_of, row_batches
from benchmarks.label.scorers import SCORE, VERDICT, FromLabelScorer, NullScorer
from schemas.table import Label
from serve_apps.contract import Scorer

NEW_SHARE = 0.01
FLAT_ROWS = (2_000, 200_000)
FLAT_NEW = 200
PLAIN_ROWS = 2_000
QUALITY_ROWS = 4_000
LARGE_ROWS = 8_192
"""In a fragment, as compaction would leave them."""
APPENDS = 3
THREADS = 2
"""Fragments at once, as two replicas would have them."""


def make_table(at: Path, pictures: list[Picture], rows: int, batch_rows: int = BATCH_ROWS) -> Path:
    append(keeper_of(str(at), (SCORE,)), row_batches(pictures, 0, rows, batch_rows), 0)
    return at


def labelled(original: Path, at: Path) -> Path:
    """A copy whose rows all have `score1`."""
    OurTable(original, at, (SCORE,)).label(SCORE, NullScorer, THREADS)
    return at


def _theirs(file: Path, out: Path, label: Label, scorer: Scorer, found: Rounds, name: str) -> None:
    watch = Stopwatch.synced()
    parquet.rewrite(file, out, label, scorer)
    found.add(name, watch.spent())


@dataclass(slots=True)
class Bench:
    home: Path
    pictures: list[Picture]
    rows: int
    rounds: int

    def whole_table(self) -> dict[str, Any]:
        """A null scorer that reads every image; then a label that reads none."""
        table = self._made(f"table_{BATCH_ROWS}.lance", self.rows)
        file, out = self.home / "rows.parquet", self.home / "out.parquet"
        parquet.write_parquet(file, row_batches(self.pictures, 0, self.rows))
        found = Rounds()
        passes = []
        for _ in range(self.rounds):
            passes.append(self._ours(table, SCORE, NullScorer, found, "null"))
            _theirs(file, out, SCORE, NullScorer(), found, "null_parquet")
        file = out.rename(self.home / "scored.parquet")
        scored = self._scored()
        large = self._scored(LARGE_ROWS)
        for _ in range(self.rounds):
            self._ours(scored, VERDICT, FromLabelScorer, found, "no_image")
            self._ours(large, VERDICT, FromLabelScorer, found, "no_image_large")
            _theirs(file, out, VERDICT, FromLabelScorer(), found, "no_image_parquet")
        images = sum(len(self.pictures[n % len(self.pictures)][0]) for n in range(self.rows))
        return {
            **found.ratios("null_vs_parquet", "null_parquet", "null"),
            **found.ratios("no_image_vs_parquet", "no_image_parquet", "no_image"),
            **found.ratios("no_image_vs_parquet_large", "no_image_parquet", "no_image_large"),
            "bytes_written_share": round(passes[-1].bytes_written / images, 6),
            "image_bytes": images,
            **found.medians(),
        }

    def new_rows(self) -> dict[str, Any]:
        """1 % new rows in a table whose other rows have the label."""
        new = int(self.rows * NEW_SHARE)
        found = Rounds()
        scored = self._scored()
        file, out = self.home / "with_new.parquet", self.home / "out.parquet"
        alone = self.home / "new_alone.parquet"
        parquet.write_parquet(file, self._scored_but(new))
        parquet.write_parquet(alone, row_batches(self.pictures, self.rows, self.rows + new))
        for _ in range(self.rounds):
            found.add("new_rows", self._label_new(scored, new))
            _theirs(file, out, SCORE, NullScorer(), found, "new_rows_parquet")
            _theirs(alone, out, SCORE, NullScorer(), found, "new_rows_own_file")
        return {
            **found.ratios("new_rows_vs_parquet", "new_rows_parquet", "new_rows"),
            **found.ratios("new_rows_vs_parquet_own_file", "new_rows_own_file", "new_rows"),
            **found.medians(),
        }

    def flatness(self) -> dict[str, Any]:
        """As many new rows in a small and in a large table, with the old rows in fragments as ingest
        leaves them, and in large ones. Old rows, which nothing reads, have tiny images."""
        found = Rounds()
        tables = {}
        for rows, batch_rows in itertools.product(FLAT_ROWS, (BATCH_ROWS, LARGE_ROWS)):
            table = make_table(self.home / "tiny.lance", [TINY_PICTURE], rows, batch_rows)
            name = f"new_rows_at_{rows}_by_{batch_rows}"
            tables[name] = labelled(table, self.home / f"{name}.lance")
            shutil.rmtree(table)
        for _ in range(self.rounds):
            for name, at in tables.items():
                found.add(name, self._label_new(at, FLAT_NEW))
        few, few_large, many, many_large = tables
        return {
            **found.ratios("new_rows_flatness", many, few),
            **found.ratios("new_rows_flatness_large", many_large, few_large),
            **found.medians(),
        }

    def quality(self) -> dict[str, Any]:
        table = self._made("quality.lance", QUALITY_ROWS)
        rounds = quality.rounds(table, self.home / "copy.lance", THREADS, self.rounds)
        shares = [each.through_table_per_s / each.alone_per_s for each in rounds]
        cpu_shares = [each.alone_cpu_s / each.through_table_cpu_s for each in rounds]
        return {
            "quality_vs_alone": round(middle(shares), 3),
            "quality_vs_alone_rounds": [round(each, 3) for each in shares],
            "quality_frames_per_s": round(middle(each.alone_per_s for each in rounds)),
            "quality_through_table_per_s": round(
                middle(each.through_table_per_s for each in rounds)
            ),
            "quality_vs_alone_cpu": round(middle(cpu_shares), 3),
            "quality_cpu_ms": round(1000 * middle(each.alone_cpu_s for each in rounds), 3),
        }

    def serve(self) -> dict[str, Any]:
        found = serve_path.measure(self._made("quality.lance", QUALITY_ROWS), THREADS, self.rounds)
        return {f"serve_{name}": round(middle(values), 3) for name, values in found.items()}

    def lance_ray(self) -> dict[str, Any]:
        """The same null scorer over 2,000 frames in fragments of 100, at rest, Ray already up."""
        plain = self.home / "plain.lance"
        peer.plain_table(plain, self.pictures, PLAIN_ROWS)
        ours = make_table(self.home / "small.lance", self.pictures, PLAIN_ROWS, peer.FRAGMENT_ROWS)
        found = Rounds()
        for _ in range(self.rounds):
            self._ours(ours, SCORE, NullScorer, found, "null_small")
        theirs = peer.run_lance_ray(plain, self.rounds)
        return {
            "vs_lance_ray": round(middle(theirs["seconds"]) / found.wall_s("null_small"), 1),
            "lance_ray_s": theirs["seconds"],
            "lance_ray_beside_appends": theirs["beside_appends"],
            "ours_beside_appends": self._beside_appends(ours),
            **found.medians(),
        }

    def geneva(self) -> dict[str, Any]:
        frames = self.home / "geneva_frames.lance"
        peer.plain_table(frames, self.pictures, PLAIN_ROWS)
        return {"geneva": peer.run_geneva(frames)}

    def _beside_appends(self, original: Path) -> list[str]:
        """Our outcomes when a batch of rows is committed between each fragment's look and commit."""
        table = OurTable(original, self.home / "copy.lance")
        outcomes = []
        rows = PLAIN_ROWS
        for fragment in table.unlabelled(SCORE)[:APPENDS]:
            request = table.label_fragment(fragment, SCORE, NullScorer())
            append(table.keeper, row_batches([TINY_PICTURE], rows, rows + 10), rows)
            rows += 10
            answer = table.keeper.step([request]).answers[0]
            outcomes.append(str(answer) if isinstance(answer, Exception) else "")
        return outcomes

    def _made(self, name: str, rows: int, batch_rows: int = BATCH_ROWS) -> Path:
        at = self.home / name
        return at if at.exists() else make_table(at, self.pictures, rows, batch_rows)

    def _scored(self, batch_rows: int = BATCH_ROWS) -> Path:
        at = self.home / f"scored_{batch_rows}.lance"
        if not at.exists():
            labelled(self._made(f"table_{batch_rows}.lance", self.rows, batch_rows), at)
        return at

    def _ours(
        self, table: Path, label: Label, make: Callable[[], Scorer], found: Rounds, name: str
    ) -> Labelled:
        copy = OurTable(table, self.home / "copy.lance")
        done = copy.label(label, make, THREADS)
        if done.rows != copy.rows:
            raise SystemExit(f"{done.rows} of {copy.rows} rows were labelled")
        found.add(name, done.spent)
        return done

    def _label_new(self, original: Path, new: int) -> Spent:
        """From the look at the table to the commit; the new rows are there before."""
        table = OurTable(original, self.home / "copy.lance")
        append(table.keeper, row_batches(self.pictures, table.rows, table.rows + new), table.rows)
        done = table.label(SCORE, NullScorer, 1)
        if done.rows != new:
            raise SystemExit(f"{done.rows} rows were labelled, {new} are new")
        return done.spent

    def _scored_but(self, new: int) -> Iterator[pa.Table]:
        """All rows with a score, and then `new` that have none yet."""
        for batch in row_batches(self.pictures, 0, self.rows):
            yield batch.append_column(SCORE.name, pa.array([1.0] * len(batch), pa.float32()))
        for batch in row_batches(self.pictures, self.rows, self.rows + new):
            yield batch.append_column(SCORE.name, pa.nulls(len(batch), pa.float32()))
