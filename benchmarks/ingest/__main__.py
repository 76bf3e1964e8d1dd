"""How fast is ingest, against img2dataset on the same machine? `make bench-ingest`

Real frames of Doom from a local nginx. Ours: through Kafka into a Lance table, with verification,
the address guard, fencing and the search for duplicates on. The peer: 2 processes x 64 threads, no
resize, Parquet. Both on a memory-backed disk, in turns, steady state; then ours on the real disk.
Prints one JSON object as its last line.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import peer_environment
from benchmarks.ingest.disk import sequential_bytes_per_s, sync_tree, tree_bytes
from benchmarks.ingest.frames import make_frames, served
from benchmarks.ingest.ours import OurRun, make_settings, run_ours
from benchmarks.ingest.peer import REQUIREMENT, PeerRun, run_peer
from benchmarks.ingest.prefill import prefill

MEMORY_DISK = Path("/dev/shm")
FLAT_ROWS = (8_000, 200_000)


@dataclass(frozen=True, slots=True)
class Bench:
    """`memory` and `disk` are folders of this run, to be emptied by whoever used them."""

    memory: Path
    disk: Path
    urls: list[str]
    image_bytes: int
    actors: int

    def ours(self, at: Path, *, rows_before: int = 0, synced: bool = False) -> tuple[OurRun, Path]:
        home = at / "ours"
        shutil.rmtree(home, ignore_errors=True)
        settings = make_settings(self.memory / "service", home / "table.lance", self.actors)
        shutil.rmtree(settings.data_dir, ignore_errors=True)
        if rows_before:
            prefill(settings, rows_before)
        run = run_ours(settings, self.urls, lambda: sync_tree(home) if synced else None)
        if run.problems:
            raise SystemExit(f"events are not accounted for: {run.problems}")
        say(f"ours: {run.window.images_per_s:.0f} images/s")
        return run, home

    def peer(self, environment: Path, *, reencode: bool) -> PeerRun:
        out = self.memory / "peer"
        shutil.rmtree(out, ignore_errors=True)
        run = run_peer(environment, out, self.urls, reencode=reencode)
        shutil.rmtree(out)
        say(f"img2dataset (reencode {reencode}): {run.window.images_per_s:.0f} images/s")
        return run


def against_peer(bench: Bench, rounds: int) -> dict[str, Any]:
    """In turns, as the machine may be slower at one time than at another; medians of the rounds."""
    environment = peer_environment(REQUIREMENT)
    found: dict[str, list[float]] = {}
    ours: OurRun | None = None
    for _ in range(rounds):
        ours, home = bench.ours(bench.memory)
        shutil.rmtree(home)
        peer = bench.peer(environment, reencode=True)
        as_is = bench.peer(environment, reencode=False)
        for name, value in _compared(ours, peer, as_is).items():
            found.setdefault(name, []).append(value)
    if ours is None:
        raise SystemExit("--rounds: at least 1")
    return {
        **{name: round(median(values), 3) for name, values in found.items()},
        "wall_ratio_rounds": [round(each, 2) for each in found["wall_ratio"]],
        "cpu_ratio_rounds": [round(each, 2) for each in found["cpu_ratio"]],
        "resident_bytes": ours.resident_bytes,
    }


def _compared(ours: OurRun, peer: PeerRun, as_is: PeerRun) -> dict[str, float]:
    speed, images = ours.window.images_per_s, ours.window.images
    cpu = {name: seconds / images for name, seconds in ours.cpu_s.items()}
    own = cpu["ingest"] + cpu["keeper"]
    peer_cpu, as_is_cpu = (run.cpu_s / run.window.images for run in (peer, as_is))
    return {
        "images_per_s": speed,
        "peer_images_per_s": peer.window.images_per_s,
        "wall_ratio": speed / peer.window.images_per_s,
        "cpu_ratio": peer_cpu / own,
        "cpu_ratio_with_kafka_and_ray": peer_cpu / sum(cpu.values()),
        "peer_as_is_images_per_s": as_is.window.images_per_s,
        "wall_ratio_as_is": speed / as_is.window.images_per_s,
        "cpu_ratio_as_is": as_is_cpu / own,
        **{f"{name}_cpu_ms": 1000 * seconds for name, seconds in cpu.items()},
        "peer_cpu_ms": 1000 * peer_cpu,
        "peer_as_is_cpu_ms": 1000 * as_is_cpu,
    }


def on_disk(bench: Bench) -> dict[str, Any]:
    """Ours on the real disk, all of it synced, against what the disk writes before and after."""
    before = sequential_bytes_per_s(bench.disk, bench.image_bytes)
    run, home = bench.ours(bench.disk, synced=True)
    size = tree_bytes(home)
    shutil.rmtree(home)
    after = sequential_bytes_per_s(bench.disk, bench.image_bytes)
    disk = (before + after) / 2
    # What was committed before the window is on the disk by its end, too, and does not count.
    share = run.images_after(run.window.began_s) / len(bench.urls)
    ours = size * share / (run.ended_s - run.window.began_s)
    return {
        "disk_share": round(ours / disk, 3),
        "disk_bytes_per_s": round(disk),
        "our_bytes_per_s_on_disk": round(ours),
        "images_per_s_on_disk": round(run.window.images_per_s, 1),
    }


def flat(bench: Bench) -> dict[str, Any]:
    """Images a second when the table has few rows already, and when it has many."""
    found = {}
    for rows in FLAT_ROWS:
        run, home = bench.ours(bench.memory, rows_before=rows)
        shutil.rmtree(home)
        found[f"images_per_s_at_{rows}_rows"] = round(run.window.images_per_s, 1)
    few, many = found.values()
    return {**found, "flat_ratio": round(many / few, 3)}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="frameloop-bench-", dir=MEMORY_DISK) as memory,
        tempfile.TemporaryDirectory(
            prefix="frameloop-bench-", dir=arguments.disk.resolve()
        ) as disk,
    ):
        frames = make_frames(Path(memory) / "frames", arguments.images)
        image_bytes = sum(frame.stat().st_size for frame in frames)
        with served(Path(memory) / "frames", Path(memory) / "nginx") as base:
            urls = [f"{base}/{frame.name}" for frame in frames]
            bench = Bench(Path(memory), Path(disk), urls, image_bytes, arguments.actors)
            result = against_peer(bench, arguments.rounds)
            say(json.dumps(result))
            result |= on_disk(bench)
            if arguments.flat:
                say(json.dumps(result))
                result |= flat(bench)
    return result | {
        "images": len(urls),
        "image_bytes": image_bytes,
        "ingest_actors": arguments.actors,
        "cores": os.cpu_count(),
    }


def say(text: str) -> None:
    load = os.getloadavg()[0]
    print(f"{text} (load average {load:.1f})", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--actors", type=int, default=2, help="ingest actors")
    parser.add_argument("--rounds", type=int, default=3, help="ours and the peer, in turns")
    parser.add_argument("--disk", type=Path, default=Path(), help="a folder on the real disk")
    parser.add_argument("--flat", action="store_true", help="also with 8 k and 200 k rows before")
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
