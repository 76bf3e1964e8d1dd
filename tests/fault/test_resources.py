"""A resource that runs out: the disk."""

import os
from pathlib import Path

import pytest

from consumers.keeper import KEEPER_NAME
from tests.fault.conftest import Spare
from tests.outages import log_of, pid_of
from tests.waiting import count_table_rows, is_labelled, until

SPARE_BYTES = 64 << 10
FULL = "No space left on device"


def fill(folder: Path) -> Path:
    """Take all space but a little."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    ballast.write_bytes(b"\0" * max(0, free - SPARE_BYTES))
    return ballast


def test_a_full_disk_holds_the_events_until_there_is_space_again(spare: Spare) -> None:
    if not spare.disk.is_mount():
        pytest.skip("no small file system can be mounted here")
    settings, load = spare.settings, spare.load
    load.send(20)
    spare.settle()
    rows = count_table_rows(settings)
    ballast = fill(spare.disk)
    load.send(100)
    pids = [pid_of(spare.service, name) for name in ("ingest-0", KEEPER_NAME)]
    until(lambda: any(FULL in log_of(pid) for pid in pids), "a file that could not be written")
    assert count_table_rows(settings) < rows + 100
    ballast.unlink()
    spare.settle()
    until(lambda: is_labelled(settings), "every row scored")
