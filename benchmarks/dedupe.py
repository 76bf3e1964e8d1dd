"""What does the search for repeated events cost as the table grows? `make bench-dedupe`

Two real tables, one of 10,000 rows and one of 1,000,000, in equally many fragments, so that they differ in
rows alone. In turns, so that both see the same machine: a commit of 256 new rows, a batch of 256 of which
64 are in the table (refused), the look-up alone. Then the keeper's start, each in a process of its own:
it reads all ids. Prints one JSON object as its last line.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from consumers.commit_loop import CommitLoop
from frameloop.adapters import lance_table
from frameloop.core.batch import AppendRequest, CommitReceipt, OffsetRange, TopicPartition
from frameloop.core.errors import DuplicateRows
from frameloop.core.row_ids import RowIds, pack_ids
from schemas.table import Label, row_schema

LABELS = (Label("score1"),)
PARTITION = TopicPartition("bench", 0, "bench-id")
FRAGMENTS = 20
BATCH_ROWS = 256
REPEATS = 64
LOOKUPS = 50
SAMPLE = 4096
PIXEL = bytes(range(64))


def make_rows(ids: list[str], first: int) -> pa.Table:
    """Rows at offsets `[first, first + len(ids))`, with all columns, but hardly an image."""
    count = len(ids)
    values: dict[str, list[Any]] = {
        "id": ids,
        "event_id": [f"event-{first + place}" for place in range(count)],
        "source": [f"source-{place % 16}" for place in range(count)],
        "image_url": [f"http://images.example/{each}.jpg" for each in ids],
        "topic": [PARTITION.topic] * count,
        "partition": [PARTITION.partition] * count,
        "offset": list(range(first, first + count)),
        "sha256": [each * 2 for each in ids],
        "image": [PIXEL] * count,
        "format": ["JPEG"] * count,
    }
    columns = [
        pa.array(values[f.name], f.type) if f.name in values else pa.nulls(count, f.type)
        for f in row_schema()
    ]
    return pa.Table.from_arrays(columns, schema=row_schema())


@dataclass
class Side:
    """One table with its keeper's loop, and how long each thing took, in seconds."""

    uri: str
    rows: int
    dice: random.Random
    loop: CommitLoop = field(init=False)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    _sample: list[str] = field(default_factory=list)
    """Ids that are in the table."""
    _offset: int = 0

    def build(self) -> None:
        self.loop = CommitLoop(self.uri, LABELS, outbox_max=1)
        self.loop.take_over()
        for _ in range(FRAGMENTS):
            ids = self.new_ids(self.rows // FRAGMENTS)
            self._sample += ids[: SAMPLE // FRAGMENTS]
            self.commit(self.request(ids))
        self.loop.take_over()  # a keeper that has just started: all ids in one run

    def new_ids(self, count: int) -> list[str]:
        return [self.dice.randbytes(16).hex() for _ in range(count)]

    def request(self, ids: list[str]) -> AppendRequest:
        """A batch whose data files are written."""
        fragments = lance_table.write_rows(self.uri, make_rows(ids, self._offset))
        part = OffsetRange(PARTITION, self._offset, self._offset + len(ids))
        name = self.dice.randbytes(16).hex()
        return AppendRequest(name, (part,), fragments, len(ids), (), pack_ids(ids))

    def commit(self, request: AppendRequest) -> None:
        answer = self.loop.step([request]).answers[0]
        if not isinstance(answer, CommitReceipt):
            raise RuntimeError(f"not committed: {answer}")
        self._offset += request.rows

    def refuse(self, request: AppendRequest) -> None:
        answer = self.loop.step([request]).answers[0]
        if not isinstance(answer, DuplicateRows) or len(answer.places) != REPEATS:
            raise RuntimeError(f"not refused for its {REPEATS} repeats: {answer}")

    def one_round(self) -> None:
        """Measure each thing once."""
        fresh = self.request(self.new_ids(BATCH_ROWS))
        with_repeats = self.new_ids(BATCH_ROWS - REPEATS) + self.dice.sample(self._sample, REPEATS)
        asked = [pack_ids(self.new_ids(BATCH_ROWS)) for _ in range(LOOKUPS)]
        self._time("commit", lambda: self.commit(fresh))
        repeated = self.request(with_repeats)
        self._time("refuse", lambda: self.refuse(repeated))
        self._time("lookup", lambda: [self.loop.row_ids.known(each) for each in asked])

    def _time(self, name: str, call: Callable[[], object]) -> None:
        began = time.perf_counter()
        call()
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)


def start_keeper(uri: str) -> None:
    """In a process of its own: take the table over as the keeper does, and say what it took."""
    before = resident_bytes()
    began = time.perf_counter()
    loop = CommitLoop(uri, LABELS, outbox_max=1)
    loop.take_over()
    seconds = time.perf_counter() - began
    found = {"seconds": seconds, "bytes": resident_bytes() - before}
    print(json.dumps({**found, "rows": len(loop.row_ids)}))


def resident_bytes() -> int:
    """Of this process, now (Linux counts pages)."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measure_start(uri: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.dedupe", "--start", uri]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def merge_seconds(rows: int, dice: random.Random) -> float:
    """The dearest merge on the way to `rows`: of two runs of half of them."""
    ids = RowIds()
    halves = [dice.randbytes(16 * (rows // 2)) for _ in range(2)]
    ids.add(halves[0])
    began = time.perf_counter()
    ids.add(halves[1])
    return time.perf_counter() - began


def run(folder: Path, rounds: int, starts: int, seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    small = Side(str(folder / "small.lance"), 10_000, dice)
    large = Side(str(folder / "large.lance"), 1_000_000, dice)
    for side in (small, large):
        side.build()
    for number in range(rounds):
        for side in (small, large) if number % 2 else (large, small):
            side.one_round()
    begun = [(measure_start(small.uri), measure_start(large.uri)) for _ in range(starts)]
    start_small, start_large = (median(pair[i]["seconds"] for pair in begun) for i in (0, 1))
    grown = median(b["bytes"] - a["bytes"] for a, b in begun)
    return {
        **{f"{name}_ratio": _ratio(name, small, large) for name in ("lookup", "commit", "refuse")},
        **{f"{name}_ms_10k": _milliseconds(name, small) for name in small.seconds},
        **{f"{name}_ms_1m": _milliseconds(name, large) for name in large.seconds},
        "start_s_10k": round(start_small, 3),
        "start_s_1m": round(start_large, 3),
        "start_s_10m_extrapolated": round(start_small + 10 * (start_large - start_small), 1),
        "merge_s_1m": round(merge_seconds(large.rows, dice), 3),
        "bytes_a_row": round(grown / (begun[0][1]["rows"] - begun[0][0]["rows"]), 1),
        "rounds": rounds,
        "seed": seed,
        "cores": os.cpu_count(),
    }


def _ratio(name: str, small: Side, large: Side) -> float:
    """Median over the rounds: the large table's time over the small one's in the same round."""
    pairs = zip(small.seconds[name], large.seconds[name], strict=True)
    return round(median(b / a for a, b in pairs), 3)


def _milliseconds(name: str, side: Side) -> float:
    calls = LOOKUPS if name == "lookup" else 1
    return round(median(side.seconds[name]) * 1000 / calls, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--start", help="only take this table over (used by the benchmark itself)")
    arguments = parser.parse_args()
    if arguments.start:
        start_keeper(arguments.start)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.rounds, arguments.starts, arguments.seed)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
