"""Play games and send an event for each frame: the demo's upstream.

    python -m producers.game_stream --bootstrap HOST:PORT --topic T --frames N --seed S \\
        --frames-dir D --base-url U --bad-every K

prints a JSON line every 50 events and one with the totals at the end. Two events in five are Doom,
the rest Atari. Every K-th event is wrong on purpose, in one of the ways of `BAD_KINDS` in turn.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, cycle
from pathlib import Path
from typing import Protocol

from frameloop.core.errors import FrameloopError, SettingsError
from frameloop.runtime.settings import KafkaSettings, load_settings
from producers.emit import EventEmitter
from producers.frame_server import MISSING_PATH, PAGE_PATH, TRUNCATED_PATH
from producers.games import (
    ATARI_ROMS,
    DOOM_SCENARIOS,
    AtariSession,
    DoomSession,
    Frame,
    GameSession,
    caption_of,
    write_frame,
)
from schemas.event import AttributeValue, ScreenshotEvent

EVENTS_MAX = 2_000
PROGRESS_EVENTS = 50
FRAME = "frame"
NOT_JSON = "not_json"
BAD_KINDS = ("http_404", "html_page", "truncated_jpeg", "ftp_scheme", NOT_JSON)
NOT_JSON_VALUE = b"level 3 loaded, not an event"


class Emitter(Protocol):
    """What is used of `producers.emit.EventEmitter`."""

    def send(self, event: ScreenshotEvent) -> None: ...
    def send_raw(
        self, value: bytes, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None: ...
    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What to play. `frames` counts events, bad ones included; `bad_every` 0 means none is bad.

    Raises `SettingsError` if a number is out of its bounds.
    """

    frames_dir: Path
    base_url: str
    frames: int
    seed: int = 0
    bad_every: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= EVENTS_MAX:
            raise SettingsError(f"frames: 1 to {EVENTS_MAX} are allowed, not {self.frames}")
        if self.bad_every < 0 or self.seed < 0:
            raise SettingsError("bad_every and seed: 0 or more are allowed")

    def bad_kind(self, number: int) -> str | None:
        """In which way event `number`, from 1 on, is bad; None for a good one."""
        if not self.bad_every or number % self.bad_every:
            return None
        return BAD_KINDS[(number // self.bad_every - 1) % len(BAD_KINDS)]


def stream_games(
    emitter: Emitter,
    plan: StreamPlan,
    on_progress: Callable[[Mapping[str, int]], None] = lambda counts: None,
) -> dict[str, int]:
    """Play, write and send as planned; how many events of each kind were sent.

    When it returns, Kafka has confirmed all of them. A frame's file is there before its event is
    sent. The same plan gives the same frames, event ids and captions. Raises what the emitter
    raises, and `SettingsError` if the extra `games` is missing.
    """
    plan.frames_dir.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys((FRAME, *BAD_KINDS), 0)
    with closing(_sessions(plan.seed)) as sessions:
        for number in range(1, plan.frames + 1):
            kind = plan.bad_kind(number)
            if kind is None:
                _send_frame(emitter, plan, next(sessions).next_frame())
            else:
                _send_bad(emitter, plan, kind, number)
            counts[kind or FRAME] += 1
            if number % PROGRESS_EVENTS == 0:
                on_progress(counts)
    emitter.flush()
    return counts


def event_of(frame: Frame, image_url: str, captured_at: datetime) -> ScreenshotEvent:
    """The event that names this frame."""
    attributes: dict[str, AttributeValue] = {
        "game": frame.game,
        "session": frame.session_id,
        "step": frame.step,
        **frame.state,
    }
    return ScreenshotEvent(
        event_id=f"{frame.session_id}:{frame.step}",
        source=f"games/{frame.session_id}",
        image_url=image_url,
        captured_at=captured_at,
        caption=caption_of(frame),
        attributes=attributes,
    )


def _send_frame(emitter: Emitter, plan: StreamPlan, frame: Frame) -> None:
    captured_at = datetime.now(UTC)
    name = write_frame(plan.frames_dir, frame)
    emitter.send(event_of(frame, f"{plan.base_url.rstrip('/')}/{name}", captured_at))


def _send_bad(emitter: Emitter, plan: StreamPlan, kind: str, number: int) -> None:
    source = "games/bad"
    if kind == NOT_JSON:
        emitter.send_raw(NOT_JSON_VALUE, key=source.encode())
        return
    base = plan.base_url.rstrip("/")
    urls = {
        "http_404": f"{base}{MISSING_PATH}",
        "html_page": f"{base}{PAGE_PATH}",
        "truncated_jpeg": f"{base}{TRUNCATED_PATH}",
        "ftp_scheme": f"ftp://127.0.0.1/bad-{number}.jpg",
    }
    event_id = f"bad-{plan.seed}:{number}"
    emitter.send(ScreenshotEvent(event_id=event_id, source=source, image_url=urls[kind]))


def _sessions(seed: int) -> Generator[GameSession, None, None]:
    """Whose turn it is: two of Doom and three of Atari in five. Opened at their first turn."""
    doom = cycle([("doom", name) for name in DOOM_SCENARIOS])
    atari = cycle([("atari", name) for name in ATARI_ROMS])
    opened: dict[tuple[str, str], GameSession] = {}
    with ExitStack() as stack:
        for turn in count():
            which = next(doom) if turn % 5 in (0, 2) else next(atari)
            if which not in opened:
                kind, name = which
                session: GameSession
                session = DoomSession(name, seed) if kind == "doom" else AtariSession(name, seed)
                opened[which] = stack.enter_context(closing(session))
            yield opened[which]


def _kafka_settings(arguments: argparse.Namespace) -> KafkaSettings:
    settings = load_settings(arguments.config).kafka
    given = {"bootstrap_servers": arguments.bootstrap, "topic": arguments.topic}
    return settings.model_copy(update={k: v for k, v in given.items() if v is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Play games and send an event for each frame.")
    parser.add_argument("--config", type=Path, help="settings; for brokers that want a password")
    parser.add_argument("--bootstrap", help="instead of kafka.bootstrap_servers")
    parser.add_argument("--topic", help="instead of kafka.topic")
    parser.add_argument("--frames", type=int, required=True, help=f"events, at most {EVENTS_MAX}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames-dir", type=Path, required=True)
    parser.add_argument("--base-url", required=True, help="where the frame server is")
    parser.add_argument("--bad-every", type=int, default=0, help="0: none is bad")
    return parser


def _print_line(counts: Mapping[str, int], *, done: bool) -> None:
    line = {"done": done, "events": sum(counts.values()), "counts": dict(counts)}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    # Ends the loop where it stands: games are closed, what was handed over is flushed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        plan = StreamPlan(
            arguments.frames_dir,
            arguments.base_url,
            arguments.frames,
            arguments.seed,
            arguments.bad_every,
        )
        with EventEmitter.connect(_kafka_settings(arguments)) as emitter:
            counts = stream_games(emitter, plan, lambda counts: _print_line(counts, done=False))
    except (FrameloopError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    _print_line(counts, done=True)


if __name__ == "__main__":
    main()
