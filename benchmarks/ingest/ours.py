"""Our side: a broker, a keeper and ingest actors on events that are in Kafka before the clock starts.

The ingest half alone, as the service runs it: scoring and retraining have no counterpart in the peer.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import ray
from ray.actor import ActorHandle

from benchmarks.ingest.steady import CpuSampler, Mark, Window, steady_window, tree_of
from consumers.ingest import IngestActor
from consumers.keeper import KEEPER_NAME, TableKeeper
from frameloop.adapters.dead_letter_reader import read_dead_letters
from frameloop.adapters.kafka_topics import ensure_topics
from frameloop.demo.accounting import Place, find_problems, read_topic
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.runtime.ray_cluster import SMALL_ACTOR_CPUS, start_ray
from frameloop.runtime.settings import Settings
from producers.emit import EventEmitter
from schemas.commit import CommitNotice
from schemas.event import ScreenshotEvent

SECONDS_MAX = 600.0
SOURCES = 500  # many, so that each partition gets about as many events as the others
STOP_SECONDS = 15.0
GROUPS = ("ingest", "keeper", "kafka", "ray")


@dataclass(frozen=True, slots=True)
class OurRun:
    """`cpu_s` by group of processes, in the window; `resident_bytes` the most, by actor.

    `ended_s`: Unix time when all was committed and `at_end` had returned.
    """

    window: Window
    cpu_s: dict[str, float]
    resident_bytes: dict[str, int]
    problems: list[str]
    marks: list[Mark]
    ended_s: float

    def images_after(self, when_s: float) -> int:
        return sum(images for at_s, images in self.marks if at_s > when_s)


def make_settings(data: Path, table: Path, actors: int) -> Settings:
    return Settings(
        data_dir=data,
        kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        table={"uri": str(table)},
        fetch={"allow_networks": ["127.0.0.0/8"]},
        ingest={"actors": actors},
        metrics={"port": 0},
    )


def run_ours(
    settings: Settings, urls: Sequence[str], at_end: Callable[[], None] = lambda: None
) -> OurRun:
    """Ingest all URLs, an event each, and check that each became a row."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    broker = EmbeddedKafka(settings.data_dir / "kafka", _port(settings))
    try:
        broker.start()
        ensure_topics(settings.kafka)
        _send(settings, urls)
        others = tree_of(os.getpid())
        start_ray(settings, log_to_driver=False)
        with _actors(settings) as actors:
            groups = _groups(actors, broker, others)
            with CpuSampler(lambda: groups) as sampler:
                status = _wait(actors, len(urls))
                at_end()
                ended_s = time.time()
        marks = _marks(settings)
        problems = _problems(settings)
    finally:
        if ray.is_initialized():
            ray.shutdown()
        broker.stop()
    window = steady_window(marks)
    return OurRun(
        window=window,
        cpu_s={name: sampler.used_s(name, window) for name in GROUPS},
        resident_bytes={name: each["resident_bytes_max"] for name, each in status.items()},
        problems=problems,
        marks=marks,
        ended_s=ended_s,
    )


def _send(settings: Settings, urls: Sequence[str]) -> None:
    with EventEmitter.connect(settings.kafka) as emitter:
        for number, url in enumerate(urls):
            source = f"bench-{number % SOURCES}"
            emitter.send(
                ScreenshotEvent(
                    event_id=str(number),
                    source=source,
                    image_url=url,
                    attributes={"game": "Doom", "step": number},
                )
            )


@contextmanager
def _actors(settings: Settings) -> Iterator[dict[str, ActorHandle]]:
    options = {"namespace": settings.ray.namespace, "num_cpus": SMALL_ACTOR_CPUS}
    keeper = ray.remote(TableKeeper).options(name=KEEPER_NAME, **options).remote(settings)
    ray.get(keeper.status.remote())
    actors = {KEEPER_NAME: keeper}
    for index in range(settings.ingest.actors):
        name = f"ingest-{index}"
        actors[name] = ray.remote(IngestActor).options(name=name, **options).remote(settings, index)
    ingest = [actor for name, actor in actors.items() if name != KEEPER_NAME]
    ray.get([actor.status.remote() for actor in ingest])
    runs = [actor.run.remote() for actor in ingest]
    yield actors
    ray.get([actor.stop.remote() for actor in ingest])
    ray.wait(runs, num_returns=len(runs), timeout=STOP_SECONDS)


def _groups(
    actors: dict[str, ActorHandle], broker: EmbeddedKafka, others: Sequence[int]
) -> dict[str, list[int]]:
    """`others` are the processes from before Ray: the rest of its tree is Ray's own."""
    pids = {name: int(ray.get(actor.status.remote())["pid"]) for name, actor in actors.items()}
    if broker.pid is None:
        raise SystemExit("the broker has ended")
    keeper = pids.pop(KEEPER_NAME)
    ingest = list(pids.values())
    rays = set(tree_of(os.getpid())) - {keeper, *ingest, *others}
    return {
        "ingest": ingest,
        "keeper": [keeper],
        "kafka": tree_of(broker.pid),
        "ray": sorted(rays),
    }


def _wait(actors: dict[str, ActorHandle], total: int) -> dict[str, Any]:
    done = 0
    for _ in Deadline(SECONDS_MAX).ticks(0.25):
        status = {name: ray.get(actor.status.remote()) for name, actor in actors.items()}
        ingest = {name: each for name, each in status.items() if name != KEEPER_NAME}
        done = sum(s["committed_rows"] + s["committed_letters"] for s in ingest.values())
        if done >= total:
            return ingest
    raise SystemExit(f"not done in {SECONDS_MAX:.0f} s: {done} of {total} events")


def _marks(settings: Settings) -> list[Mark]:
    records = read_topic(settings, settings.kafka.commit_topic)
    notices = [CommitNotice.model_validate_json(record.value) for record in records]
    return [(each.committed_at_ms / 1000, each.rows) for each in notices if each.rows]


def _problems(settings: Settings) -> list[str]:
    """Each event must be one row or one dead letter. Rows of other topics were there before."""
    ours = f"topic = '{settings.kafka.topic}'"
    dataset = lance.dataset(settings.table_uri)
    found = dataset.to_table(columns=["partition", "offset"], filter=ours)
    columns = [found[name].to_pylist() for name in ("partition", "offset")]
    rows: list[Place] = list(zip(*columns, strict=True))
    sent = {(each.partition, each.offset) for each in read_topic(settings, settings.kafka.topic)}
    letters = {(x.partition, x.offset) for x in read_dead_letters(settings.kafka)}
    return [*find_problems(sent, rows, letters), *(f"a dead letter: {at}" for at in letters)]


def _port(settings: Settings) -> int:
    return int(settings.kafka.bootstrap_servers.rpartition(":")[2])
