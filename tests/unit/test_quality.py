"""The quality score on real frames: it means something, and damage of any kind lowers it."""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise

import numpy as np
import pytest

from producers.games import AtariSession, DoomSession, GameSession
from serve_apps.calibrate import DEGRADATIONS, Degradation, encode, report, score_of
from serve_apps.frame_decode import Pixels

pytest.importorskip("vizdoom", reason="needs the extra games")
pytest.importorskip("ale_py", reason="needs the extra games")

Families = dict[str, list[Pixels]]
GRADUAL = {"dark", "washed out", "low contrast", "Gaussian blur", "Gaussian noise"}
"""Damage of which any amount counts, so that its mildest strength is below the intact frame.
A gain of 2 is none to a dark frame, and JPEG's strengths begin at the intact frame's own."""

CASES = [
    (family, damage)
    for family in ("doom", "atari")
    for damage in DEGRADATIONS
    # What an earlier JPEG left behind can't be told from what Atari draws (docs/quality-score.md).
    if (family, damage.name) != ("atari", "JPEG quality, then again at 95")
]


def _sessions() -> dict[str, list[GameSession]]:
    return {
        "doom": [DoomSession("deathmatch", 5), DoomSession("defend_the_center", 5)],
        "atari": [AtariSession(game, 5) for game in ("Breakout", "Pong", "Seaquest")],
    }


@pytest.fixture(scope="module")
def families() -> Iterator[Families]:
    """Twelve frames: six of Doom, six of Atari games."""
    with ExitStack() as stack:
        frames: Families = {}
        for family, sessions in _sessions().items():
            count = 6 // len(sessions)
            for session in sessions:
                stack.enter_context(closing(session))
            frames[family] = [s.next_frame().image for s in sessions for _ in range(count)]
        yield frames


@pytest.mark.parametrize("family", ["doom", "atari"])
def test_frames_as_games_draw_them_score_above_60(families: Families, family: str) -> None:
    assert min(score_of(encode(frame)) for frame in families[family]) > 60


@pytest.mark.parametrize(("family", "damage"), CASES, ids=[f"{f}-{d.name}" for f, d in CASES])
def test_the_stronger_the_damage_the_lower_the_score(
    families: Families, family: str, damage: Degradation
) -> None:
    frames = families[family]
    means = [
        statistics.fmean(score_of(damage.apply(frame, strength)) for frame in frames)
        for strength in damage.strengths
    ]
    if damage.name.split(":")[0].split(",")[0] in GRADUAL:
        means.insert(0, statistics.fmean(score_of(encode(frame)) for frame in frames))
    assert all(milder > stronger for milder, stronger in pairwise(means)), means


@pytest.mark.parametrize("damage", DEGRADATIONS, ids=lambda d: d.name)
def test_no_frame_gains_from_the_strongest_damage(families: Families, damage: Degradation) -> None:
    for frame in (*families["doom"], *families["atari"]):
        assert score_of(damage.apply(frame, damage.strengths[-1])) < score_of(encode(frame))


@pytest.mark.parametrize("level", [0, 1, 30, 128, 254, 255])
@pytest.mark.parametrize("shape", [(480, 640, 3), (210, 160, 3)])
@pytest.mark.parametrize("grain", [0, 2, 5])
def test_a_blank_or_nearly_blank_frame_scores_below_10(
    shape: tuple[int, ...], level: int, grain: int
) -> None:
    noise = np.random.default_rng(0).normal(level, grain, shape)
    assert score_of(encode(np.clip(noise, 0, 255).astype(np.uint8))) < 10


def test_a_blank_frame_scores_nothing_at_all() -> None:
    assert score_of(encode(np.zeros((480, 640, 3), np.uint8))) == 0


def test_few_sprites_on_an_empty_screen_are_no_blank_frame() -> None:
    frame = np.zeros((210, 160, 3), np.uint8)
    for row, column in ((20, 70), (60, 30), (90, 110), (150, 80), (180, 20)):
        frame[row : row + 10, column : column + 8] = (210, 164, 74)
    assert score_of(encode(frame)) > 60


def test_the_report_has_a_row_for_each_damage(families: Families) -> None:
    text = "".join(report(families["atari"][:1]))
    assert all(f"| {damage.name} |" in text for damage in DEGRADATIONS)
