"""A resource that runs out: the disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from frameloop.runtime.embedded_kafka import EmbeddedKafka
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.fault.conftest import outage_settings
from tests.upstream import ImageServer, Load
from tests.waiting import books_of, count_table_rows, is_labelled, until, until_settled

DISK_BYTES = 8 << 20
SPARE_BYTES = 64 << 10


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
    ray_session: None, own_kafka: EmbeddedKafka, small_disk: Path, images: ImageServer
) -> None:
    settings = outage_settings(small_disk, own_kafka)
    service = Service(settings)
    load = Load(settings.kafka, images)
    try:
        service.start()
        load.send(20)
        until_settled(settings)
        ballast = fill(small_disk)
        load.send(100)

        def is_held() -> bool:
            status = service.status()["ingest-0"]
            return bool(status["events_held"] + status["committed_rows"] < 120)

        until(is_held, "events are held")
        assert count_table_rows(settings) < 120
        assert not books_of(settings).letters
        ballast.unlink()
        assert_each_event_once(until_settled(settings))
        until(lambda: is_labelled(settings), "every row scored")
    finally:
        service.stop()
