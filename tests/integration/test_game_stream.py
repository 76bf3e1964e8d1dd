"""The game stream: what it sends can be fetched or is bad as planned, and comes out the same."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from frameloop.core.errors import SettingsError
from producers.game_stream import BAD_KINDS, EVENTS_MAX, FRAME, StreamPlan, stream_games
from schemas.cloudevents import EventError, decode
from schemas.event import ScreenshotEvent

pytest.importorskip("vizdoom", reason="needs the extra games")
pytest.importorskip("ale_py", reason="needs the extra games")

BASE = "http://127.0.0.1:1/"


class RecordingEmitter:
    """Keeps what it is given, and what was on the disk at that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[ScreenshotEvent] = []
        self.raw: list[tuple[bytes | None, bytes]] = []
        self.file_was_there: list[bool] = []
        self.flushed_after = -1

    def send(self, event: ScreenshotEvent) -> None:
        self.events.append(event)
        if event.caption:
            name = event.image_url.removeprefix(BASE)
            self.file_was_there.append((self.folder / name).is_file())

    def send_raw(
        self, value: bytes, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self.raw.append((key, value))
        assert not headers

    def flush(self) -> None:
        self.flushed_after = len(self.events) + len(self.raw)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordingEmitter, dict[str, int]]:
    folder = tmp_path_factory.mktemp("frames")
    emitter = RecordingEmitter(folder)
    return emitter, stream_games(emitter, StreamPlan(folder, BASE, 60, seed=5, bad_every=6))


Played = tuple[RecordingEmitter, dict[str, int]]


def test_each_event_is_counted_once_and_flushed(played: Played) -> None:
    emitter, counts = played
    assert counts == {FRAME: 50, **dict.fromkeys(BAD_KINDS, 2)}
    assert len(emitter.events) + len(emitter.raw) == emitter.flushed_after == 60


def test_a_frame_is_on_the_disk_before_its_event_is_sent(played: Played) -> None:
    emitter, _ = played
    assert len(emitter.file_was_there) == 50
    assert all(emitter.file_was_there)
    names = sorted(p.name for p in emitter.folder.iterdir())
    sent = sorted(e.image_url.removeprefix(BASE) for e in emitter.events if e.caption)
    assert names == sent
    for name in names:
        with Image.open(emitter.folder / name) as image:
            image.load()


def test_two_in_five_frames_are_doom_and_the_rest_five_atari_games(played: Played) -> None:
    emitter, _ = played
    games = Counter(e.attributes["game"] for e in emitter.events if e.caption)
    assert games.pop("Doom") == 20
    assert sorted(games.values()) == [6, 6, 6, 6, 6]


def test_an_event_tells_the_state_that_its_caption_tells(played: Played) -> None:
    emitter, _ = played
    doom = next(e for e in emitter.events if e.attributes.get("game") == "Doom")
    state = doom.attributes
    assert doom.caption == (
        f"Doom. Health {state['health']}, ammo {state['ammo']}, kills {state['kills']}."
    )
    assert doom.captured_at is not None
    assert doom.source == f"games/{state['session']}"


def test_the_bad_ones_are_bad_in_each_way(played: Played) -> None:
    emitter, _ = played
    bad = [e.image_url for e in emitter.events if not e.caption]
    paths = ["bad/missing.jpg", "bad/page.jpg", "bad/truncated.jpg"]
    assert [u.removeprefix(BASE) for u in bad if u.startswith(BASE)] == paths * 2
    assert sum(u.startswith("ftp://") for u in bad) == 2
    for key, value in emitter.raw:
        with pytest.raises(EventError):
            decode(key, value, [])


def test_the_same_plan_gives_the_same_frames_and_ids(tmp_path: Path) -> None:
    plays = []
    for name in ("one", "two"):
        emitter = RecordingEmitter(tmp_path / name)
        stream_games(emitter, StreamPlan(tmp_path / name, BASE, 10, seed=9))
        files = {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
        plays.append((files, [(e.event_id, e.caption) for e in emitter.events]))
    assert plays[0] == plays[1]


@pytest.mark.parametrize(
    ("frames", "bad_every"),
    [(0, 0), (EVENTS_MAX + 1, 0), (5, -1)],
    ids=["none", "many", "negative"],
)
def test_a_plan_out_of_bounds_is_refused(tmp_path: Path, frames: int, bad_every: int) -> None:
    with pytest.raises(SettingsError):
        StreamPlan(tmp_path, BASE, frames, bad_every=bad_every)
