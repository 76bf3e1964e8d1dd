"""Does the table stay bounded? A day of micro-batches, one every 5 s: `make bench-upkeep`

17,280 commits through the real commit loop, each batch labelled as the scoring consumer does, and upkeep
in between as its actor works: a look every 30 s, a clean-up every 5 minutes of the day that is played.
Only the clock is faster, so the age at which versions go is given in commits. Prints one JSON object as its
last line.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from consumers.commit_loop import CommitLoop
from consumers.upkeep_work import UpkeepWork
from frameloop.adapters import lance_compaction, lance_table
from frameloop.core.batch import (
    AppendRequest,
    CommitReceipt,
    CommitRequest,
    LabelRequest,
    OffsetRange,
    TopicPartition,
)
from frameloop.core.row_ids import pack_ids
from frameloop.core.table_health import judge
from frameloop.runtime.metrics import resident_bytes_max
from frameloop.runtime.settings import Settings
from schemas.table import ROWS_FILTER, Label, row_schema

COMMITS_A_DAY = 17_280
SECONDS_A_COMMIT = 5.0
LABEL = "score1"
AT = TopicPartition("screenshots", 0, "topic-id")
EDGE_COMMITS = 500
"""The start and the end, of which commit times are compared."""


@dataclass(slots=True)
class Day:
    """What is played, and what was counted. Times are seconds."""

    uri: str
    work: UpkeepWork
    rows: int
    image_bytes: int
    upkeep: bool = True
    loop: CommitLoop = field(init=False)
    commit_s: list[float] = field(default_factory=list)
    open_s: list[float] = field(default_factory=list)
    batch_bytes: int = 0
    merges: int = 0
    merged_bytes: int = 0
    most: dict[str, int] = field(default_factory=dict)
    _committed_at: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        upkeep = self.work.settings.upkeep
        self._committed_at = deque(maxlen=int(upkeep.keep_versions_s / SECONDS_A_COMMIT))
        self.loop = CommitLoop(self.uri, (Label(LABEL),), outbox_max=100)
        self.loop.take_over()

    def play(self, commits: int) -> None:
        upkeep = self.work.settings.upkeep
        look_every = int(upkeep.interval_s / SECONDS_A_COMMIT)
        clean_every = int(upkeep.clean_interval_s / SECONDS_A_COMMIT)
        for number in range(commits):
            self._append(number)
            self._label()
            self._committed_at.append(time.time())
            if self.upkeep and number % look_every == look_every - 1:
                self._merge()
            if number % clean_every == clean_every - 1:
                if self.upkeep:
                    self._clean()
                self._count()

    def _step(self, request: CommitRequest) -> None:
        began = time.perf_counter()
        (answer,) = self.loop.step([request]).answers.values()
        if not isinstance(answer, CommitReceipt):
            raise SystemExit(f"not committed: {answer}")
        if isinstance(request, AppendRequest):
            self.commit_s.append(time.perf_counter() - began)

    def _append(self, number: int) -> None:
        rows = make_rows(number, self.rows, self.image_bytes)
        fragments = lance_table.write_rows(self.uri, rows)
        files = [file for text in fragments for file in json.loads(text)["files"]]
        self.batch_bytes += sum(file["file_size_bytes"] for file in files)
        part = OffsetRange(AT, number * self.rows, (number + 1) * self.rows)
        ids = pack_ids(row_ids(number, self.rows))
        self._step(AppendRequest(f"batch-{number}", (part,), fragments, self.rows, (), ids))

    def _label(self) -> None:
        dataset = self.loop.dataset
        for fragment_id in lance_table.unlabelled_fragments(dataset, LABEL):
            fragment = dataset.get_fragment(fragment_id)
            addresses = fragment.scanner(columns=[], with_row_address=True).to_table()["_rowaddr"]
            scores = pa.array([50.0] * len(addresses), pa.float32())
            columns = pa.table({"_rowaddr": addresses, LABEL: scores})
            updated, fields = fragment.update_columns(columns, left_on="_rowaddr")
            base = lance_table.metadata_json(fragment.metadata)
            text = lance_table.metadata_json(updated)
            self._step(LabelRequest(LABEL, fragment_id, base, text, tuple(fields), len(addresses)))

    def _merge(self) -> None:
        while jobs := self.work.plan():
            for job in jobs:
                self._step(lance_compaction.execute(job))
                self.merges += 1
                self.merged_bytes += job.size

    def _clean(self) -> None:
        if len(self._committed_at) == self._committed_at.maxlen:
            self.work.clean(timedelta(seconds=time.time() - self._committed_at[0]))
        self.work.tend_index()

    def _count(self) -> None:
        began = time.perf_counter()
        dataset = lance.dataset(self.uri)
        self.open_s.append(time.perf_counter() - began)
        found = {
            "fragments": len(dataset.get_fragments()),
            "versions": len(list((Path(self.uri) / "_versions").iterdir())),
            "files": sum(len(files) for _, _, files in os.walk(self.uri)),
        }
        self.most = {name: max(self.most.get(name, 0), value) for name, value in found.items()}


def row_ids(number: int, rows: int) -> list[str]:
    return [f"{number:024x}{row:08x}" for row in range(rows)]


def make_rows(number: int, rows: int, image_bytes: int) -> pa.Table:
    """A batch; images are noise, which nothing compresses, of half to one and a half the size asked for."""
    chance = random.Random(number)
    values: dict[str, list[Any]] = {
        "id": row_ids(number, rows),
        "offset": [number * rows + row for row in range(rows)],
        "image": [
            chance.randbytes(chance.randint(image_bytes // 2, image_bytes * 3 // 2))
            for _ in range(rows)
        ],
    }
    columns = [
        pa.array(values[f.name], f.type) if f.name in values else pa.nulls(rows, f.type)
        for f in row_schema()
    ]
    return pa.Table.from_arrays(columns, schema=row_schema())


def percentile_ms(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return round(1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))], 2)


def report(day: Day, commits: int, seconds: float) -> dict[str, Any]:
    facts = day.work.look()
    rows = lance.dataset(day.uri).count_rows(f"{ROWS_FILTER} AND {LABEL} = 50")
    start, end = day.commit_s[:EDGE_COMMITS], day.commit_s[-EDGE_COMMITS:]
    edge = max(1, min(10, len(day.open_s) // 2))
    return {
        "commits": commits,
        "rows_labelled": rows,
        "rows_lost": commits * day.rows - rows,
        "most": day.most,
        "final": {
            "fragments": facts.fragments,
            "full": facts.full,
            "small": facts.small_count,
            "versions": facts.versions,
            "files": facts.files,
            "unnamed_files": facts.unnamed_count,
            "data_bytes": facts.size,
            "disk_bytes": sum(p.stat().st_size for p in Path(day.uri).rglob("*") if p.is_file()),
        },
        "bounds_broken": [v.what for v in judge(facts, day.work.bounds) if not v.is_kept],
        "open_ms": [percentile_ms(day.open_s[:edge], 0.5), percentile_ms(day.open_s[-edge:], 0.5)],
        "commit_ms_start": [percentile_ms(start, 0.5), percentile_ms(start, 0.99)],
        "commit_ms_end": [percentile_ms(end, 0.5), percentile_ms(end, 0.99)],
        "merges": day.merges,
        "merged_bytes_per_batch_byte": round(day.merged_bytes / day.batch_bytes, 2),
        "resident_bytes_max": resident_bytes_max(),
        "seconds": round(seconds),
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commits", type=int, default=COMMITS_A_DAY)
    parser.add_argument("--rows", type=int, default=8, help="of a batch")
    parser.add_argument("--image-bytes", type=int, default=8192, help="of an image, about")
    parser.add_argument("--fragment-bytes", type=int, default=128 << 20)
    parser.add_argument("--no-upkeep", action="store_true", help="to compare with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            data_dir=Path(scratch), upkeep={"fragment_bytes": arguments.fragment_bytes}
        )
        day = Day(
            settings.table_uri,
            UpkeepWork(settings),
            arguments.rows,
            arguments.image_bytes,
            upkeep=not arguments.no_upkeep,
        )
        began = time.perf_counter()
        day.play(arguments.commits)
        print(json.dumps(report(day, arguments.commits, time.perf_counter() - began)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
