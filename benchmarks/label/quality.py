"""The real scorer: alone, on images that are in memory, and through the table; as many processes.

A process stands for a replica: it is up, with everything imported, before the clock starts.
"""

import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from benchmarks.label.ours import OurTable, label_fragment
from benchmarks.label.scorers import SCORE
from frameloop.adapters import lance_table
from frameloop.core.batch import LabelRequest
from frameloop.runtime.memory import keep_freed_memory
from serve_apps.fragment_scoring import BATCH_ROWS
from serve_apps.quality import QualityScorer
from serve_apps.table_cache import TableCache

WAIT_SECONDS_MAX = 300.0


@dataclass(frozen=True, slots=True)
class Work:
    """What one process does in a round: its share of the fragments of one version."""

    uri: str
    version: int
    fragments: list[int]


@dataclass(frozen=True, slots=True)
class Round:
    """Frames a second, all processes together, and CPU time a frame in the processes."""

    alone_per_s: float
    through_table_per_s: float
    alone_cpu_s: float
    through_table_cpu_s: float


def rounds(original: Path, at: Path, processes: int, count: int) -> list[Round]:
    context = get_context("spawn")  # Lance is used in this process already
    barrier = context.Barrier(processes + 1)
    pipes = [context.Pipe() for _ in range(processes)]
    workers = [
        context.Process(target=_run, args=(pipe[1], barrier, count), daemon=True) for pipe in pipes
    ]
    for worker in workers:
        worker.start()
    found = [_round(original, at, [pipe[0] for pipe in pipes], barrier) for _ in range(count)]
    for worker in workers:
        worker.join()
    return found


def _round(original: Path, at: Path, pipes: list[Any], barrier: Barrier) -> Round:
    table = OurTable(original, at)
    version = lance.dataset(str(at))
    missing = lance_table.unlabelled_fragments(version, SCORE.name)
    rows = lance_table.count_screenshots(version)
    for index, pipe in enumerate(pipes):
        pipe.send(Work(str(at), int(version.version), missing[index :: len(pipes)]))
    barrier.wait(WAIT_SECONDS_MAX)  # images are in memory
    began = time.perf_counter()
    cpu = sum(pipe.recv() for pipe in pipes)
    alone = time.perf_counter() - began
    barrier.wait(WAIT_SECONDS_MAX)
    began = time.perf_counter()
    done = [pipe.recv() for pipe in pipes]
    table.commit([request for requests, _ in done for request in requests])
    through = time.perf_counter() - began
    through_cpu = sum(seconds for _, seconds in done)
    return Round(rows / alone, rows / through, cpu / rows, through_cpu / rows)


def _run(pipe: Any, barrier: Barrier, count: int) -> None:
    keep_freed_memory()
    scorer, cache = QualityScorer(), TableCache()
    for _ in range(count):
        work: Work = pipe.recv()
        held = _batches(work)
        barrier.wait(WAIT_SECONDS_MAX)
        pipe.send(_cpu_s(scorer, held))
        held.clear()
        barrier.wait(WAIT_SECONDS_MAX)
        began = time.process_time()
        requests: list[LabelRequest] = [
            label_fragment(work.uri, work.version, each, SCORE, scorer, cache)
            for each in work.fragments
        ]
        pipe.send((requests, time.process_time() - began))


def _batches(work: Work) -> list[pa.RecordBatch]:
    """In batches as the service reads them; copies, so that each batch is memory of its own."""
    table = lance.dataset(work.uri, version=work.version)
    fragments = [table.get_fragment(each) for each in work.fragments]
    scanner = table.scanner(columns=["image"], batch_size=BATCH_ROWS, fragments=fragments)
    return list(scanner.to_batches())


def _cpu_s(scorer: QualityScorer, batches: list[pa.RecordBatch]) -> float:
    began = time.process_time()
    for batch in batches:
        scorer.score(batch)
    return time.process_time() - began
