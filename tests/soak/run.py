"""One run: a part with all faults, a part in which no process is killed, then the accounts.

A killed process is young again, and young processes grow; so memory is judged in the second part.
"""

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lance

from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.conftest import make_kafka_settings, service_settings
from tests.soak import strikes
from tests.soak.memory import JUDGED_SECONDS_MIN, MIB, MemoryWatch, figures_of, rounded
from tests.soak.strikes import Strikes
from tests.upstream import Load, image_server, send_bad_events, send_pictures
from tests.waiting import is_labelled, lag_of, until, until_settled

EVENTS_A_ROUND = 100
REPEATED_EVENTS = 5
SHARE_OF_KILLS = 0.5
SETTLE_SECONDS_MAX = 600.0
"""At the end Kafka and the table are read whole, a few times."""


class Soak:
    def __init__(self, folder: Path, faults: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        self._faults = faults
        self._broker = EmbeddedKafka(folder / "kafka", free_port()).start()
        kafka = make_kafka_settings(self._broker.bootstrap_servers)
        self._settings = service_settings(
            folder,
            kafka,
            fetch={"breaker_open_s": 1.0},
            ingest={"batch_rows": 64, "batch_age_s": 0.5},
            upkeep={"fan_in": 8, "interval_s": 5, "clean_interval_s": 60, "keep_versions_s": 300},
        )
        self._done: dict[str, int] = {}

    def run(self, seconds: float) -> dict[str, Any]:
        service = Service(self._settings)
        begin = time.monotonic()
        middle, end = begin + SHARE_OF_KILLS * seconds, begin + seconds
        try:
            service.start()
            with image_server() as images, MemoryWatch() as memory:
                struck = Strikes(service, self._broker, images, self._faults, self._dice)
                load = Load(self._settings.kafka, images)
                while time.monotonic() < middle:
                    self._round(struck, load, strikes.ALL)
                struck.end()
                while time.monotonic() < end:
                    self._round(struck, load, strikes.MILD)
                accounts = self._settle(service)
            figures = figures_of(memory.samples, middle, end)
            is_judged = end - middle >= JUDGED_SECONDS_MIN
            found = {
                **accounts,
                "memory": {role: rounded(each) for role, each in figures.items()},
                "memory_is_judged": is_judged,
            }
            growing = [role for role, each in figures.items() if not each.is_steady]
            assert not (is_judged and growing), f"{growing} keep growing: {json.dumps(found)}"
            return found
        finally:
            service.stop()
            self._broker.stop()

    def _round(self, struck: Strikes, load: Load, faults: Mapping[str, int]) -> None:
        began = time.monotonic()
        (fault,) = self._dice.choices([*faults], [*faults.values()])
        struck.strike(fault, load.send, EVENTS_A_ROUND)
        if self._dice.random() < 0.3:
            send_bad_events(load.kafka, load.server)
            repeated = self._dice.randrange(load.sent)
            send_pictures(load.kafka, load.server, repeated, repeated + REPEATED_EVENTS)
        if self._dice.random() < 0.5:  # otherwise the next fault finds a backlog
            self._until_worked_off(struck.service)
        struck.service.check()
        self._done[fault] = self._done.get(fault, 0) + 1
        seconds = round(time.monotonic() - began, 1)
        line = {"round": fault, "events": load.sent, "seconds": seconds}
        print(json.dumps(line), flush=True)

    def _until_worked_off(self, service: Service) -> None:
        def is_worked_off() -> bool:
            service.check()
            return lag_of(self._settings) == 0

        until(is_worked_off, "the backlog is worked off")

    def _settle(self, service: Service) -> dict[str, Any]:
        """Wait for the end, then take the accounts of all that was ever sent."""
        settings = self._settings
        self._until_worked_off(service)
        until(lambda: is_labelled(settings), "every row scored")
        books = until_settled(settings, SETTLE_SECONDS_MAX)
        assert_each_event_once(books)
        table = lance.dataset(settings.table_uri)
        scored = table.count_rows("score1 is not null or score1_error is not null")
        assert scored == len(books.rows), f"{scored} rows of {len(books.rows)} have a score"
        service.check()
        return {
            "events": len(books.sent),
            "rows": len(books.rows),
            "dead_letters": len(books.letters),
            "duplicates": books.duplicates,
            "fragments": len(table.get_fragments()),
            "table_versions": len(table.versions()),
            "table_mib": round(sum(_sizes(Path(settings.table_uri))) / MIB),
            "faults": self._done,
        }


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # upkeep may just remove it
            yield path.stat().st_size
