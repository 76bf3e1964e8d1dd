"""The faults that a soak draws from. Each strikes beside the load of its round."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from consumers.keeper import KEEPER_NAME
from frameloop.runtime.embedded_kafka import EmbeddedKafka
from frameloop.runtime.faults import STEPS
from frameloop.service import UPKEEP_NAME, Service
from tests.outages import kill, kill_broker, paused, pid_of, replica_pids
from tests.upstream import ImageServer

DELAY_S_MAX = 1.0
PAUSE_S_MAX = 6.0
"""Well below the time after which the service has a silent keeper killed."""

KEEPER_KILLED = "keeper killed"
INGEST_KILLED = "ingest killed"
SCORING_KILLED = "scoring killed"
UPKEEP_KILLED = "upkeep killed"
REPLICA_KILLED = "replica killed"
BROKER_KILLED = "broker killed"
BROKER_RESTARTED = "broker restarted"
KEEPER_PAUSED = "keeper paused"
IMAGES_AWAY = "images away"
NOTHING = "nothing"

MILD: Mapping[str, int] = {NOTHING: 20, IMAGES_AWAY: 1, KEEPER_PAUSED: 1}
"""With weights. These kill no process, so that memory can be watched over a long time; an ingest actor
may end itself while the broker is away.
"""
ACTORS = {
    KEEPER_KILLED: KEEPER_NAME,
    INGEST_KILLED: "ingest-0",
    SCORING_KILLED: "scoring-0",
    UPKEEP_KILLED: UPKEEP_NAME,
}
ALL: Mapping[str, int] = dict.fromkeys(
    (*STEPS, *ACTORS, REPLICA_KILLED, BROKER_KILLED, BROKER_RESTARTED, *MILD), 1
)

Send = Callable[[int], None]
"""Send so many events."""


@dataclass(frozen=True)
class Strikes:
    """What is struck, and the dice."""

    service: Service
    broker: EmbeddedKafka
    images: ImageServer
    faults: Path
    dice: random.Random

    def strike(self, fault: str, send: Send, events: int) -> None:
        """Send `events`, with `fault` before, beside or after them; returns when it is over."""
        if fault in STEPS:
            (self.faults / fault).touch()
            send(events)
        elif fault in ACTORS:
            self._kill_beside(pid_of(self.service, ACTORS[fault]), send, events)
        elif fault == REPLICA_KILLED:
            for pid in replica_pids(self.service.settings):
                self._kill_beside(pid, send, events)
        elif fault in (BROKER_KILLED, BROKER_RESTARTED):
            send(events)
            kill_broker(self.broker) if fault == BROKER_KILLED else self.broker.stop()
            self.broker.start()
        elif fault == KEEPER_PAUSED:
            with paused(pid_of(self.service, KEEPER_NAME)):
                send(events)
                time.sleep(self.dice.uniform(0, PAUSE_S_MAX))
        elif fault == IMAGES_AWAY:
            with self.images.away():
                send(events // 4)
                time.sleep(self.dice.uniform(0, DELAY_S_MAX))
            send(events - events // 4)
        else:
            send(events)

    def end(self) -> None:
        """Nobody is to die any more at a step that was not reached yet."""
        for step in STEPS:
            (self.faults / step).unlink(missing_ok=True)

    def _kill_beside(self, pid: int, send: Send, events: int) -> None:
        killing = threading.Timer(self.dice.uniform(0, DELAY_S_MAX), kill, [pid])
        killing.start()
        send(events)
        killing.join()
