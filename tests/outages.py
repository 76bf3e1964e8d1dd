"""What can befall a running service from outside: processes killed or paused, the broker killed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from frameloop.runtime.embedded_kafka import EmbeddedKafka
from frameloop.runtime.settings import Settings
from frameloop.service import Service
from tests.waiting import until


def status_of(service: Service, name: str) -> dict[str, Any]:
    """Of an actor; one that is just starting again is waited for."""
    found: dict[str, dict[str, Any]] = {}

    def answers() -> bool:
        found.update(service.status())
        return name in found

    until(answers, f"{name} answers")
    return found[name]


def pid_of(service: Service, name: str) -> int:
    """Of the actor's present process."""
    return int(status_of(service, name)["pid"])


def log_of(pid: int) -> str:
    """What a process has written to its standard error, which Ray sends to a file."""
    return Path(f"/proc/{pid}/fd/2").resolve().read_text(encoding="utf-8")


def replica_pids(settings: Settings, label: str = "score1") -> list[int]:
    """Of the replicas of a label's scorer."""
    title = f"ray::ServeReplica:{settings.serve_app(label)}"
    return [p.pid for p in psutil.process_iter(["cmdline"]) if _title(p).startswith(title)]


def kill(pid: int) -> None:
    """SIGKILL; a process that has just ended by itself is fine, too."""
    _signal(pid, signal.SIGKILL)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end of the block; it may end before or be killed meanwhile."""
    _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


@contextmanager
def broker_away(broker: EmbeddedKafka) -> Iterator[None]:
    """Stop it, and start it at the end of the block."""
    broker.stop()
    try:
        yield
    finally:
        broker.start()


def kill_broker(broker: EmbeddedKafka) -> None:
    """SIGKILL the Java process itself; its supervisor then ends by itself."""
    supervisor = broker.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    (java,) = children.read_text(encoding="ascii").split()
    os.kill(int(java), signal.SIGKILL)
    broker.stop()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _title(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])
