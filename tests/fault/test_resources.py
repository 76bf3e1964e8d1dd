"""Resources that run out or die: the disk, a Serve replica."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.conftest import make_kafka_settings, service_settings
from tests.upstream import ImageServer, image_server, send_pictures
from tests.waiting import books_of, is_labelled, until, until_settled

DISK_BYTES = 8 << 20
SPARE_BYTES = 64 << 10


@pytest.fixture(scope="module")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a few megabytes."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all space but a little."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    ballast.write_bytes(b"\0" * max(0, free - SPARE_BYTES))
    return ballast


def test_a_full_disk_holds_the_events_until_there_is_space_again(
    ray_session: None, kafka: Any, small_disk: Path, images: ImageServer
) -> None:
    settings = service_settings(small_disk, make_kafka_settings(kafka.bootstrap_servers))
    service = Service(settings)
    try:
        service.start()
        send_pictures(settings.kafka, images, 0, 20)
        until_settled(settings)
        ballast = fill(small_disk)
        send_pictures(settings.kafka, images, 20, 120)

        def is_held() -> bool:
            status = service.status()["ingest-0"]
            return bool(status["events_held"] + status["committed_rows"] < 120)

        until(is_held, "events are held")
        stuck = len(books_of(settings).rows)
        assert stuck < 120
        assert not books_of(settings).letters
        ballast.unlink()
        assert_each_event_once(until_settled(settings))
        until(lambda: is_labelled(settings), "every row scored")
    finally:
        service.stop()


def test_a_killed_scorer_replica_costs_no_score(
    ray_session: None, kafka: Any, tmp_path: Path, images: ImageServer
) -> None:
    settings = service_settings(tmp_path, make_kafka_settings(kafka.bootstrap_servers))
    service = Service(settings)
    try:
        service.start()
        name = f"ray::ServeReplica:{settings.serve_app('score1')}"
        replicas = [p.pid for p in psutil.process_iter(["cmdline"]) if _title(p).startswith(name)]
        assert replicas
        send_pictures(settings.kafka, images, 0, 60)
        for pid in replicas:
            os.kill(pid, signal.SIGKILL)
        send_pictures(settings.kafka, images, 60, 90)
        assert_each_event_once(until_settled(settings))
        until(lambda: is_labelled(settings), "every row scored")
    finally:
        service.stop()


def _title(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])
