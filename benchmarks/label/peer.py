"""lance-ray and Geneva, each in an environment of its own, on the frames in a plain Lance table."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from benchmarks.environments import peer_environment
from benchmarks.label.rows import Picture

LANCE_RAY = ("lance-ray==0.5.0", "pylance==14.0.2", "ray[data]==2.60.0")
GENEVA = ("geneva==0.17.0", "pylance==14.0.2", "ray==2.60.0")
SCRIPTS = Path(__file__).parent / "peers"
FRAGMENT_ROWS = 100
SECONDS_MAX = 900.0
QUIET = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "GENEVA_TELEMETRY": "0", "PYTHONPATH": ""}


def plain_table(at: Path, pictures: Sequence[Picture], rows: int) -> None:
    """`id` and `image`, in fragments of 100 rows, as any Lance writer makes them."""
    numbers = range(rows)
    images = [pictures[number % len(pictures)][0] for number in numbers]
    table = pa.table(
        {"id": [f"{n:032x}" for n in numbers], "image": pa.array(images, pa.large_binary())}
    )
    lance.write_dataset(table, str(at), max_rows_per_file=FRAGMENT_ROWS)


def run_lance_ray(table: Path, rounds: int) -> dict[str, Any]:
    """`seconds` of each round, and what became of it beside appends."""
    home = peer_environment(*LANCE_RAY)
    return _run(home, "lance_ray_columns.py", str(table), str(rounds))


def run_geneva(table: Path) -> dict[str, Any]:
    """`seconds` of two back-fills of a column each, and the rows that they left without a value."""
    home = peer_environment(*GENEVA)
    return _run(home, "geneva_columns.py", str(table.parent), table.stem)


def _run(home: Path, script: str, *arguments: str) -> dict[str, Any]:
    """The JSON object that the script prints last."""
    log = Path(arguments[0]).parent / f"{script}.log"
    command = [str(home / "bin" / "python"), str(SCRIPTS / script), *arguments]
    with log.open("wb") as file:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=file,
            timeout=SECONDS_MAX,
            env={**os.environ, **QUIET},
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{script} failed: {log.read_text(encoding='utf-8')[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
