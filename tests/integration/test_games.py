"""The real games: they play, they are the same for the same seed, and leave nothing behind."""

from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from frameloop.core.errors import SettingsError
from producers.games import ATARI_ROMS, DOOM_SCENARIOS, AtariSession, DoomSession, GameSession

pytest.importorskip("vizdoom", reason="needs the extra games")
pytest.importorskip("ale_py", reason="needs the extra games")

OPENERS: dict[str, Callable[[int], GameSession]] = {
    "doom": lambda seed: DoomSession(DOOM_SCENARIOS[0], seed),
    "breakout": lambda seed: AtariSession("Breakout", seed),
    "pong": lambda seed: AtariSession("Pong", seed),
}


def play(name: str, seed: int, count: int) -> tuple[list[bytes], list[dict[str, int]]]:
    with closing(OPENERS[name](seed)) as session:
        frames = [session.next_frame() for _ in range(count)]
    return [f.image.tobytes() for f in frames], [f.state for f in frames]


@pytest.mark.parametrize("name", OPENERS)
def test_the_same_seed_plays_the_same_game(name: str) -> None:
    assert play(name, 7, 6) == play(name, 7, 6)
    assert play(name, 7, 6) != play(name, 8, 6)


@pytest.mark.parametrize("scenario", DOOM_SCENARIOS)
def test_doom_frames_differ_and_carry_their_state(scenario: str) -> None:
    with closing(DoomSession(scenario, 3)) as session:
        frames = [session.next_frame() for _ in range(8)]
    assert {f.image.shape for f in frames} == {(480, 640, 3)}
    assert len({f.image.tobytes() for f in frames}) == len(frames)
    for frame in frames:
        assert frame.game == "Doom"
        assert list(frame.state) == ["health", "ammo", "kills", "armor"]
        assert 0 <= frame.state["health"] <= 200
        assert frame.state["ammo"] >= 0


def test_dooms_status_bar_shows_the_state_that_its_frame_tells() -> None:
    shown: dict[tuple[str, int], set[bytes]] = {}
    with closing(DoomSession("deadly_corridor", 11)) as session:
        for frame in (session.next_frame() for _ in range(40)):
            for name, (left, right) in {"ammo": (0, 92), "health": (96, 208)}.items():
                digits = frame.image[408:448, left:right].tobytes()
                shown.setdefault((name, frame.state[name]), set()).add(digits)
    assert len(shown) > 10
    assert all(len(pictures) == 1 for pictures in shown.values())


@pytest.mark.parametrize("game", ATARI_ROMS)
def test_atari_frames_show_something_and_carry_their_state(game: str) -> None:
    with closing(AtariSession(game, 3)) as session:
        frames = [session.next_frame() for _ in range(8)]
    assert {f.image.shape for f in frames} == {(210, 160, 3)}
    assert all(np.ptp(f.image) > 0 for f in frames)
    expected = ["score"] if game == "Pong" else ["lives", "score"]
    assert all(list(f.state) == expected for f in frames)
    assert not any(np.array_equal(a.image, b.image) for a, b in pairwise(frames))


def test_a_session_outlives_its_episodes() -> None:
    with closing(AtariSession("Breakout", 1)) as session:
        lives = [session.next_frame().state["lives"] for _ in range(150)]
    assert any(after > before for before, after in pairwise(lives))


def test_doom_leaves_nothing_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = DoomSession(DOOM_SCENARIOS[0], 1)
    session.next_frame()
    session.close()
    session.close()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_game_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="deathmatch"):
        DoomSession("nowhere", 1)
    with pytest.raises(SettingsError, match="Breakout"):
        AtariSession("Nothing", 1)
