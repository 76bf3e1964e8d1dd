"""Captions say what the game reported, and nothing else. No game is needed here."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frameloop.core.errors import SettingsError
from producers.games import AtariSession, DoomSession, Frame, caption_of, write_frame

IMAGE = np.zeros((4, 6, 3), dtype=np.uint8)


def frame(game: str, **state: int) -> Frame:
    return Frame(game, f"{game.lower()}-1", 7, IMAGE, state)


@pytest.mark.parametrize(
    ("given", "caption"),
    [
        (
            frame("Doom", health=87, ammo=40, kills=2, armor=0),
            "Doom. Health 87, ammo 40, kills 2.",
        ),
        (frame("Breakout", lives=5, score=12), "Breakout. Lives 5, score 12."),
        (frame("Pong", score=-3), "Pong. Score -3."),
        (frame("Chess"), "Chess."),
        (frame("Doom", kills=2, health=0), "Doom. Health 0, kills 2."),
    ],
    ids=["doom", "atari", "no-lives", "no-state", "fixed-order"],
)
def test_a_caption_names_the_game_and_exactly_the_known_state(given: Frame, caption: str) -> None:
    assert caption_of(given) == caption


def test_a_written_frame_is_one_whole_jpeg_and_nothing_beside_it(tmp_path: Path) -> None:
    name = write_frame(tmp_path, frame("Pong", score=1))
    assert [p.name for p in tmp_path.iterdir()] == [name] == ["pong-1-000007.jpg"]
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.size) == ("JPEG", (6, 4))


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_games(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("vizdoom", "ale_py"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_games)
    with pytest.raises(SettingsError, match=r"frameloop\[games\]"):
        DoomSession("basic", seed=1)
    with pytest.raises(SettingsError, match=r"frameloop\[games\]"):
        AtariSession("Pong", seed=1)
