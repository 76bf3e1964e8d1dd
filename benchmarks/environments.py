"""Virtual environments of peers, outside the repository; made at the first call, kept for the next."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frameloop-bench"


def peer_environment(*requirements: str) -> Path:
    """The folder of an environment with these packages; the first of them names it."""
    home = CACHE / requirements[0].replace("==", "-")
    ready = home / ".ready"
    if not ready.exists():
        for command in _commands(home, requirements):
            subprocess.run(command, check=True, stdout=sys.stderr)
        ready.touch()
    return home


def _commands(home: Path, requirements: Sequence[str]) -> list[list[str]]:
    uv = shutil.which("uv", path=f"{os.environ.get('PATH', '')}:{Path('.tools/bin').resolve()}")
    python = str(home / "bin" / "python")
    if uv:
        return [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "--quiet", "--python", python, *requirements],
        ]
    return [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [python, "-m", "pip", "install", "--quiet", *requirements],
    ]
