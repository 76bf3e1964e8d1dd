"""The demo's upstream, as processes of its own: frames over HTTP, games that send events."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frameloop.core.errors import FatalError
from frameloop.demo.config import DemoFolder
from frameloop.runtime.child import start_child, stop_child
from frameloop.runtime.deadline import Deadline

BAD_EVERY = 25
SERVER_START_SECONDS_MAX = 30.0


@dataclass(slots=True)
class Upstream:
    """Frame server and game stream. `stop` in any case."""

    folder: DemoFolder
    frames: int
    seed: int
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def progress_path(self) -> Path:
        return self.folder.logs / "game-stream.jsonl"

    def start(self) -> None:
        """Raises `FatalError` if the frame server does not come up."""
        port_file = self.folder.logs / "frame-server.port"
        arguments = [str(self.folder.frames), "--port", "0", "--port-file", str(port_file)]
        self._start("producers.frame_server", arguments, self.folder.logs / "frame-server.out")
        base_url = f"http://127.0.0.1:{_wait_for_port(port_file)}"
        arguments = ["--config", str(self.folder.config), "--frames", str(self.frames)]
        arguments += ["--seed", str(self.seed), "--frames-dir", str(self.folder.frames)]
        arguments += ["--base-url", base_url, "--bad-every", str(BAD_EVERY)]
        self._start("producers.game_stream", arguments, self.progress_path)

    def sent(self) -> tuple[int, dict[str, int], bool]:
        """Events sent so far, by kind, and whether that is all. Raises `FatalError` if it failed."""
        lines = _lines(self.progress_path)
        last: dict[str, Any] = lines[-1] if lines else {"events": 0, "counts": {}, "done": False}
        status = self._children[-1].poll()
        if status:
            log = self.folder.logs / "game_stream.log"
            raise FatalError(f"the game stream ended with status {status}; see {log}")
        return last["events"], last["counts"], last["done"] and status == 0

    def stop(self) -> None:
        while self._children:
            stop_child(self._children.pop())

    def _start(self, module: str, arguments: list[str], output: Path) -> None:
        log = self.folder.logs / f"{module.rpartition('.')[2]}.log"
        with output.open("wb") as out, log.open("wb") as err:
            command = [sys.executable, "-m", module, *arguments]
            self._children.append(start_child(command, log=err, output=out))


def _wait_for_port(path: Path) -> int:
    for _ in Deadline(SERVER_START_SECONDS_MAX).ticks(0.05):
        if path.exists():
            return int(path.read_text(encoding="ascii"))
    raise FatalError("the frame server did not start")


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def make_tiny_model(folder: DemoFolder, environment: Path) -> subprocess.Popen[bytes]:
    """Start making the tiny Qwen2-VL; nothing happens if it is there already."""
    script = Path(__file__).resolve().parents[2] / "training" / "tiny_model.py"
    if not script.exists():
        raise FatalError(f"{script} is missing: run the demo from a checkout of the repository")
    with (folder.logs / "tiny-model.log").open("wb") as log:
        command = [str(environment.absolute() / "bin" / "python"), str(script)]
        return start_child([*command, str(folder.model.absolute())], log=log)
