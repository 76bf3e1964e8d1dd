"""The other side: img2dataset, in a virtual environment of its own outside the repository."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ingest.steady import CpuSampler, Mark, Window, steady_window, tree_of
from frameloop.runtime.child import start_child, stop_child

REQUIREMENT = "img2dataset==1.47.0"
PROCESSES = 2
THREADS = 64
SHARD = 1000
STEPS = 50
# Nothing but loopback: no look for a newer version, no telemetry.
QUIET = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}


@dataclass(frozen=True, slots=True)
class PeerRun:
    window: Window
    cpu_s: float
    images: int


def run_peer(home: Path, out: Path, urls: list[str], *, reencode: bool) -> PeerRun:
    """Download all URLs: 2 processes x 64 threads, no resize, Parquet.

    By default img2dataset encodes each image anew, and stores that; with `reencode` False it still
    decodes each, and stores the bytes that it got.
    """
    (out / "_tmp").mkdir(parents=True)
    url_list = out.with_suffix(".txt")
    url_list.write_text("\n".join(urls) + "\n", encoding="ascii")
    options = {
        "url_list": url_list,
        "input_format": "txt",
        "output_folder": out,
        "output_format": "parquet",
        "processes_count": PROCESSES,
        "thread_count": THREADS,
        "resize_mode": "no",
        "skip_reencode": not reencode,
        "number_sample_per_shard": SHARD,
        "incremental_mode": "incremental",
        "enable_wandb": False,
    }
    command = [str(home / "bin" / "img2dataset")]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with out.with_suffix(".log").open("wb") as log:
        child = start_child(command, log=log, env={**os.environ, **QUIET})
        try:
            with CpuSampler(lambda: {"peer": tree_of(child.pid)}) as sampler:
                status = child.wait()
        finally:
            stop_child(child)
    stats = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*_stats.json")]
    images = sum(each["successes"] for each in stats)
    if status or images != len(urls):
        raise SystemExit(f"img2dataset: status {status}, {images} images; see {log.name}")
    window = steady_window([mark for each in stats for mark in _marks(each)])
    return PeerRun(window, sampler.used_s("peer", window), images)


def _marks(shard: dict[str, Any]) -> list[Mark]:
    """Only a shard's start and end are known; its images count as done evenly in between."""
    began_s, seconds, images = shard["start_time"], shard["duration"], shard["successes"]
    marks, counted = [], 0
    for step in range(1, STEPS + 1):
        done = images * step // STEPS
        marks.append((began_s + seconds * step / STEPS, done - counted))
        counted = done
    return marks
