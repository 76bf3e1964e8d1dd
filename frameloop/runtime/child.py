"""Child processes that never outlive their parent, even if the parent is killed with SIGKILL.

The command runs under a small supervisor (this module as a script), in a session of its own. The
supervisor's standard input is a pipe that only the parent holds: at its end, whatever ended the
parent, the supervisor ends the whole process group of the command.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

STOP_SECONDS_DEFAULT = 15.0


def start_child(
    command: Sequence[str],
    *,
    log: IO[bytes] | int = subprocess.DEVNULL,
    output: IO[bytes] | int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stop_seconds: float = STOP_SECONDS_DEFAULT,
) -> subprocess.Popen[bytes]:
    """Start `command`. Standard error goes to `log`, standard output to `output` or `log`.

    Raises `FileNotFoundError` if the program is not there.
    """
    program = command[0]
    if os.sep in program and not Path(program).exists():
        raise FileNotFoundError(f"{program} does not exist")
    return subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).resolve()), str(stop_seconds), *command],
        stdin=subprocess.PIPE,
        stdout=log if output is None else output,
        stderr=log,
        env=dict(env) if env is not None else None,
        cwd=cwd,
        start_new_session=True,
    )


def stop_child(child: subprocess.Popen[bytes]) -> int:
    """End the command as the parent's death would, and wait. Returns its exit status."""
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    return child.wait()


def _supervise(stop_seconds: float, command: list[str]) -> int:
    inner = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    stopping = threading.Event()

    def end_group() -> None:
        if stopping.is_set():
            return
        stopping.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(inner.pid, signal.SIGTERM)
        try:
            inner.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(inner.pid, signal.SIGKILL)

    def watch_parent() -> None:
        while os.read(0, 4096):
            pass
        end_group()

    # Ctrl-C reaches only the terminal's own process group, so these come from somebody's kill.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: threading.Thread(target=end_group).start())
    threading.Thread(target=watch_parent, daemon=True).start()
    status = inner.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(inner.pid, signal.SIGKILL)  # whatever the command itself left behind
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(_supervise(float(sys.argv[1]), sys.argv[2:]))
