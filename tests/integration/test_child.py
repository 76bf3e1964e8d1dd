"""Child processes end with their parent, however the parent ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frameloop.runtime.child import start_child, stop_child

SECONDS_MAX = 20.0
# A parent whose child writes its own pid and that of a grandchild, then both sleep.
PARENT = """
import signal, subprocess, sys, time
from frameloop.runtime.child import start_child
# A shell has what it starts in the background ignore this one.
signal.signal(signal.SIGINT, signal.default_int_handler)
family = (
    "import os, subprocess, sys, time;"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(os.getpid(), inner.pid, file=open(sys.argv[1] + '.part', 'w'), flush=True);"
    "os.rename(sys.argv[1] + '.part', sys.argv[1]);"
    "time.sleep(600)"
)
start_child([sys.executable, "-c", family, sys.argv[1]])
time.sleep(600)
"""


def until(condition: object, what: str) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_and_its_children_end_with_the_parent(number: int, tmp_path: Path) -> None:
    pids_file = tmp_path / "pids"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(pids_file)])
    until(pids_file.exists, "the child has not started")
    pids = [int(pid) for pid in pids_file.read_text(encoding="ascii").split()]
    assert all(is_alive(pid) for pid in pids)
    os.kill(parent.pid, number)
    parent.wait(SECONDS_MAX)
    until(lambda: not any(is_alive(pid) for pid in pids), f"{pids} are still alive")


def test_a_child_that_ignores_the_polite_signal_is_killed() -> None:
    stubborn = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", stubborn]
    child = start_child(command, output=subprocess.PIPE, stop_seconds=0.2)
    assert child.stdout is not None
    child.stdout.readline()
    assert stop_child(child) == 128 + signal.SIGKILL
    child.stdout.close()


def test_the_exit_status_and_the_output_are_the_commands_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as to:
        child = start_child([sys.executable, "-c", "print('hello'); raise SystemExit(7)"], log=to)
        assert child.wait(SECONDS_MAX) == 7
    stop_child(child)
    assert log.read_text(encoding="ascii") == "hello\n"


def test_a_program_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        start_child([str(tmp_path / "nothing")])
