"""Soak: load, and faults at random, for as long as you like. `make soak MINUTES=10`

A service of its own runs under a steady stream of events while processes are killed at random steps of
the protocol and the broker is restarted. At the end every event must be one row or one dead letter, each
row scored, and no actor may have outgrown its bound. Prints its seed first and one JSON object last.
"""

import argparse
import itertools
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.runtime.faults import STEPS, VARIABLE
from frameloop.runtime.ray_cluster import start_ray
from frameloop.runtime.settings import Settings
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.conftest import make_kafka_settings, service_settings
from tests.upstream import ImageServer, image_server, send_bad_events, send_pictures
from tests.waiting import books_of, is_labelled, until, until_settled

EVENTS_A_ROUND = 100
RESIDENT_BYTES_MAX = 1 << 30


class Soak:
    """One run; `faults` is the folder that names the steps where somebody is to die."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = itertools.count(step=EVENTS_A_ROUND)
        self.faults = folder / "faults"
        self.faults.mkdir()
        self._broker = EmbeddedKafka(folder / "kafka", free_port()).start()
        self._settings = service_settings(
            folder, make_kafka_settings(self._broker.bootstrap_servers)
        )
        self.done: dict[str, int] = {}
        self.resident: dict[str, int] = {}

    def run(self, seconds: float) -> dict[str, Any]:
        service = Service(self._settings)
        end = time.monotonic() + seconds
        try:
            service.start()
            with image_server() as images:
                while time.monotonic() < end:
                    self._round(service, images)
                return self._verdict(service)
        finally:
            service.stop()
            self._broker.stop()

    def _round(self, service: Service, images: ImageServer) -> None:
        fault = self._random.choice([*STEPS, "broker", "none"])
        if fault in STEPS:
            (self.faults / fault).touch()
        first = next(self._numbers)
        send_pictures(self._settings.kafka, images, first, first + EVENTS_A_ROUND)
        if self._random.random() < 0.3:
            send_bad_events(self._settings.kafka, images)
            repeated = self._random.randrange(0, first + 1)
            send_pictures(self._settings.kafka, images, repeated, repeated + 5)
        if fault == "broker":
            self._broker.stop()
            self._broker.start()
        if self._random.random() < 0.5:
            until(lambda: not self._backlog(), "the backlog is worked off")
        service.check()
        for name, status in service.status().items():
            if "resident_bytes_max" in status:
                known = self.resident.get(name, 0)
                self.resident[name] = max(known, status["resident_bytes_max"])
        self.done[fault] = self.done.get(fault, 0) + 1
        print(json.dumps({"round": fault, "events": first + EVENTS_A_ROUND}), flush=True)

    def _backlog(self) -> int:
        books = books_of(self._settings)
        return max(0, len(books.sent) - books.settled - books.duplicates)

    def _verdict(self, service: Service) -> dict[str, Any]:
        books = until_settled(self._settings)
        assert_each_event_once(books)
        until(lambda: is_labelled(self._settings), "every row scored")
        service.check()
        assert all(size < RESIDENT_BYTES_MAX for size in self.resident.values()), self.resident
        return {
            "events": len(books.sent),
            "rows": len(books.rows),
            "dead_letters": len(books.letters),
            "duplicates": books.duplicates,
            "faults": self.done,
            "resident_bytes_max": self.resident,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Load and faults at random; then the invariant.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(json.dumps({"seed": arguments.seed}), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), arguments.seed)
        with_faults(soak.faults)
        print(json.dumps(soak.run(arguments.minutes * 60)))


def with_faults(folder: Path) -> None:
    os.environ[VARIABLE] = str(folder)  # before Ray starts: its workers inherit it
    start_ray(Settings(ray={"num_cpus": 8}), log_to_driver=False)


if __name__ == "__main__":
    main()
