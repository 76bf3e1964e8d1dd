"""Named steps at which a test may have a process killed, to prove docs/protocol.md.

A test puts a file named after a step into a folder and the folder's path into the environment. The
process that reaches the step first takes the file away and kills itself with SIGKILL: no clean-up
runs, as in a real crash. Without the variable a step costs one look-up.
"""

import os
import signal
from pathlib import Path

VARIABLE = "FRAMELOOP_FAULTS"
STEPS = (
    "ingest.fetched",
    "ingest.written",
    "ingest.before_hint",
    "keeper.before_commit",
    "keeper.committed",
    "keeper.answered",
    "keeper.before_compaction",
    "keeper.compacted",
    "scoring.scored",
    "scoring.written",
    "upkeep.rewritten",
    "upkeep.executed",
    "upkeep.cleaned",
)


def reach(step: str) -> None:
    """Say that this process is at a step. Does nothing unless a test asked for its death there."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    try:
        (Path(folder) / step).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
