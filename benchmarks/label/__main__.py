"""How fast are labels written? `make bench-label`

Real frames of Doom, in a table as ingest leaves it and in one Parquet file, on the same disk, both in
the page cache. The service's own code without Ray scores, writes and commits; the other side reads
the file and writes it again with the column. In turns; medians. Then through Ray Serve, and lance-ray
and Geneva on a plain Lance table. Prints one JSON object as its last line.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.ingest.frames import DISTINCT, make_frames
from benchmarks.label.cases import Bench
from benchmarks.label.rounds import say
from benchmarks.label.rows import load_pictures
from frameloop.runtime.memory import keep_freed_memory

CASES = ("whole", "new", "flat", "quality", "serve", "peers", "geneva")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(
        prefix="frameloop-bench-", dir=arguments.disk.resolve()
    ) as folder:
        home = Path(folder)
        count = min(DISTINCT, arguments.images)
        pictures = load_pictures(make_frames(home / "frames", count))
        bench = Bench(home, pictures, arguments.images, arguments.rounds)
        result: dict[str, Any] = {
            "images": arguments.images,
            "rounds": arguments.rounds,
            "memory_kept": arguments.keep_memory,
            "cores": os.cpu_count(),
        }
        cases = {
            "whole": bench.whole_table,
            "new": bench.new_rows,
            "flat": bench.flatness,
            "quality": bench.quality,
            "serve": bench.serve,
            "peers": bench.lance_ray,
            "geneva": bench.geneva,
        }
        for name in arguments.only or CASES:
            result |= cases[name]()
            say(json.dumps(result))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.label", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5, help="each side, in turns")
    parser.add_argument("--disk", type=Path, default=Path(), help="a folder; 8 GB are used")
    parser.add_argument("--only", choices=CASES, nargs="+", help="some of the cases")
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with freed memory kept, as the replicas keep it",
    )
    arguments = parser.parse_args()
    if arguments.keep_memory:
        keep_freed_memory()
    print(json.dumps(run(arguments)))


if __name__ == "__main__":
    main()
