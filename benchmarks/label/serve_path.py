"""Through Ray Serve: references to rows that the replica reads itself, or images in calls of 32.

Both in one local Ray, as many replicas, four fragments in hand as the scoring consumer has them; the
caller reads the images that it sends. Nothing is written.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import ray
from ray import serve

from benchmarks.ingest.steady import CpuSampler, Window, tree_of
from benchmarks.label.scorers import SCORE, NullScorer
from frameloop.adapters import lance_table
from frameloop.runtime.label_settings import LabelSettings
from frameloop.runtime.memory import keep_freed_memory
from frameloop.runtime.ray_cluster import start_ray
from frameloop.runtime.settings import Settings
from serve_apps.app import ONGOING_REQUESTS_MAX, build_app
from serve_apps.contract import Scorer
from serve_apps.fragment_scoring import BATCH_ROWS, READAHEAD_BATCHES, FragmentRequest
from serve_apps.quality import QualityScorer

IN_HAND = 4
SETTLE_SECONDS = 0.3
"""So that there are CPU samples before and after."""
OWN_SCORERS = Path(__file__).with_name("scorers.py")
SCORERS: dict[str, tuple[str, type[Scorer]]] = {
    "null": (f"{OWN_SCORERS}:NullScorer", NullScorer),
    "quality": ("quality", QualityScorer),
}


class ByBytes:
    """A replica that is sent the images."""

    def __init__(self, make: type[Scorer]) -> None:
        keep_freed_memory()
        self._scorer = make()

    async def score(self, batch: pa.RecordBatch) -> list[Any]:
        return [score.value for score in self._scorer.score(batch)]


@dataclass(frozen=True, slots=True)
class Way:
    """Of having a table scored. Call `run`: it returns the number of frames."""

    name: str
    run: Callable[[], Coroutine[Any, Any, int]]


def measure(table: Path, replicas: int, rounds: int) -> dict[str, list[float]]:
    """By scorer and by what is sent, a value each round: frames a second, and CPU milliseconds a
    frame of all processes together, Serve and the caller included."""
    settings = Settings(ray={"num_cpus": 2 * replicas * len(SCORERS) + 2}, metrics={"port": 0})
    start_ray(settings, log_to_driver=False)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        ways = [way for name in SCORERS for way in _ways(name, table, replicas)]
        return asyncio.run(_measured(ways, rounds))
    finally:
        serve.shutdown()
        ray.shutdown()


def _ways(name: str, table: Path, replicas: int) -> Iterator[Way]:
    setting, make = SCORERS[name]
    label = LabelSettings(scorer=setting, replicas_min=replicas, replicas_max=replicas)
    reference = serve.run(build_app(name, label), name=f"{name}-reference", route_prefix=None)
    yield Way(f"{name}_by_reference", Caller(table, reference).by_reference)
    app = serve.deployment(
        ByBytes,
        num_replicas=replicas,
        ray_actor_options={"num_cpus": label.replica_cpus},
        max_ongoing_requests=ONGOING_REQUESTS_MAX,
    ).bind(make)
    sent = serve.run(app, name=f"{name}-bytes", route_prefix=None)
    yield Way(f"{name}_by_bytes", Caller(table, sent).by_bytes)


async def _measured(ways: list[Way], rounds: int) -> dict[str, list[float]]:
    for way in ways:
        await way.run()  # replicas import and open the table
    windows: list[tuple[str, Window]] = []
    processes = tree_of(os.getpid())
    with CpuSampler(lambda: {"all": processes}) as sampler:
        await asyncio.sleep(SETTLE_SECONDS)
        for _ in range(rounds):
            for way in ways:
                began = time.time()
                frames = await way.run()
                windows.append((way.name, Window(began, time.time(), frames)))
        await asyncio.sleep(SETTLE_SECONDS)
    found: dict[str, list[float]] = {}
    for name, window in windows:
        cpu_ms = 1000 * sampler.used_s("all", window) / window.images
        found.setdefault(f"{name}_per_s", []).append(window.images_per_s)
        found.setdefault(f"{name}_cpu_ms", []).append(cpu_ms)
    return found


class Caller:
    """Has all fragments scored, `IN_HAND` at once."""

    def __init__(self, table: Path, handle: Any) -> None:
        self._uri, self._handle = str(table), handle
        self._table = lance.dataset(self._uri)
        self._fragments = lance_table.unlabelled_fragments(self._table, SCORE.name)

    async def by_reference(self) -> int:
        return await self._all(self._ask_for_fragment)

    async def by_bytes(self) -> int:
        return await self._all(self._send_fragment)

    async def _all(self, do: Callable[[int], Awaitable[int]]) -> int:
        waiting = iter(self._fragments)

        async def work() -> int:
            return sum([await do(fragment) for fragment in waiting])

        return sum(await asyncio.gather(*(work() for _ in range(IN_HAND))))

    async def _ask_for_fragment(self, fragment: int) -> int:
        asked = FragmentRequest(self._uri, int(self._table.version), fragment, SCORE)
        scores = await self._handle.score_fragment.remote(asked)
        return int(scores.rows)

    async def _send_fragment(self, fragment: int) -> int:
        scanner = self._table.get_fragment(fragment).scanner(
            columns=["image"], batch_size=BATCH_ROWS, batch_readahead=READAHEAD_BATCHES
        )
        batches = iter(scanner.to_reader())
        rows = 0
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            rows += len(await self._handle.score.remote(batch))
        return rows
