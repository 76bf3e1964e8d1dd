"""Real games, played headless: frames with what the game itself says is on them.

Doom (vizdoom with Freedoom's data) and Atari 2600 games (ale-py), both from package registries. The
extra `games` holds them; nothing else of the service needs it.
"""

import tempfile
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from frameloop.core.errors import FatalError, SettingsError

DOOM_SCENARIOS = ("defend_the_line", "deadly_corridor", "deathmatch", "defend_the_center")
ATARI_ROMS = {
    "Breakout": "breakout",
    "Ms Pac-Man": "ms_pacman",
    "Pong": "pong",
    "Seaquest": "seaquest",
    "Space Invaders": "space_invaders",
}
JPEG_QUALITY = 90
DECISIONS_PER_FRAME = 4
DOOM_TICS_PER_DECISION = 4
ATARI_FRAMES_PER_DECISION = 4
ATARI_KEEP_ACTION = 0.6
BLANK_DEVIATION_MAX = 4.0
TRIES_MAX = 200
DOOM_BUTTONS = frozenset(
    {"ATTACK", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT", "TURN_RIGHT", "USE"}
)
CAPTIONED = ("health", "ammo", "kills", "lives", "score")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One screen of a game. `state` is what the game reports, and what this screen shows of it.

    Doom: health, ammo of the weapon in hand, kills, armor. Atari: lives (where the game has
    lives) and score. `step` counts the player's decisions since the session began.
    """

    game: str
    session_id: str
    step: int
    image: Pixels
    state: dict[str, int]


class GameSession(Protocol):
    """A game being played at random. The same game and seed give the same frames."""

    session_id: str

    def next_frame(self) -> Frame:
        """Play on a little; the screen after that.

        A screen that is blank or has not changed since the last one is played past. Raises
        `FatalError` if that does not end.
        """

    def close(self) -> None:
        """End the game. May be called twice."""


def caption_of(frame: Frame) -> str:
    """One sentence with the game, one with its state: `Breakout. Lives 5, score 12.`"""
    known = [f"{name} {frame.state[name]}" for name in CAPTIONED if name in frame.state]
    return f"{frame.game}. {', '.join(known).capitalize()}." if known else f"{frame.game}."


def write_frame(folder: Path, frame: Frame) -> str:
    """Write the frame as JPEG; the file's name. Nobody ever sees half a file of that name."""
    name = f"{frame.session_id}-{frame.step:06d}.jpg"
    unfinished = folder / f".{name}"
    Image.fromarray(frame.image).save(unfinished, format="JPEG", quality=JPEG_QUALITY)
    unfinished.replace(folder / name)
    return name


class DoomSession:
    """Doom at 640x480 with its status bar. One child process a session.

    Raises `SettingsError` if the extra is missing or there is no such scenario.
    """

    def __init__(self, scenario: str, seed: int) -> None:
        self.session_id = f"doom-{scenario.replace('_', '-')}-{seed}"
        self._step = 0
        self._last_image: Pixels | None = None
        self._rng = np.random.default_rng(seed)
        self._folder = tempfile.TemporaryDirectory(prefix="frameloop-doom-")
        try:
            self._vizdoom: Any = _import_vizdoom()
            self._game = self._start(scenario, seed)
        except BaseException:
            self._folder.cleanup()
            raise
        buttons = self._game.get_available_buttons()
        self._buttons = [i for i, b in enumerate(buttons) if b.name in DOOM_BUTTONS]
        self._buttons_count = len(buttons)

    def next_frame(self) -> Frame:
        for _ in range(TRIES_MAX):
            for _ in range(DECISIONS_PER_FRAME):
                self._decide()
            if self._game.is_episode_finished():
                continue
            # The status bar shows what was true a tic ago, so the picture is taken a tic later.
            state = self._state()
            self._game.make_action([0.0] * self._buttons_count, 1)
            if self._game.is_episode_finished():
                continue
            image = np.array(self._game.get_state().screen_buffer, dtype=np.uint8)
            if _is_news(image, self._last_image):
                self._last_image = image
                return Frame("Doom", self.session_id, self._step, image, state)
        raise _nothing_new(self.session_id)

    def close(self) -> None:
        self._game.close()
        self._folder.cleanup()

    def _start(self, scenario: str, seed: int) -> Any:
        vizdoom = self._vizdoom
        path = Path(vizdoom.scenarios_path) / f"{scenario}.cfg"
        if not path.is_file():
            raise SettingsError(f"no Doom scenario {scenario!r}; try {', '.join(DOOM_SCENARIOS)}")
        game = vizdoom.DoomGame()
        game.load_config(str(path))
        game.set_doom_config_path(str(Path(self._folder.name) / "vizdoom.ini"))
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X480)
        game.set_render_hud(True)
        game.set_seed(seed)
        with chdir(self._folder.name):  # the engine makes a folder where it starts
            game.init()
        return game

    def _decide(self) -> None:
        if self._game.is_episode_finished():
            self._game.new_episode()
        pressed = self._rng.choice(self._buttons, size=min(2, len(self._buttons)), replace=False)
        action = [1.0 if i in pressed else 0.0 for i in range(self._buttons_count)]
        self._game.make_action(action, DOOM_TICS_PER_DECISION)
        self._step += 1

    def _state(self) -> dict[str, int]:
        variable = self._vizdoom.GameVariable
        named = {
            "health": variable.HEALTH,
            "ammo": variable.SELECTED_WEAPON_AMMO,
            "kills": variable.KILLCOUNT,
            "armor": variable.ARMOR,
        }
        # Below 0: a weapon without ammo; the status bar shows none of these below 0 either.
        return {k: max(0, int(self._game.get_game_variable(v))) for k, v in named.items()}


class AtariSession:
    """An Atari 2600 game at 160x210, in this process.

    Raises `SettingsError` if the extra is missing or there is no such game.
    """

    def __init__(self, game: str, seed: int) -> None:
        if game not in ATARI_ROMS:
            raise SettingsError(f"no Atari game {game!r}; try {', '.join(ATARI_ROMS)}")
        ale_py = _import_ale_py()
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # else a banner on stderr
        self.session_id = f"{ATARI_ROMS[game].replace('_', '-')}-{seed}"
        self._game = game
        self._step = self._score = 0
        self._last_image: Pixels | None = None
        self._rng = np.random.default_rng(seed)
        self._ale = ale_py.ALEInterface()
        self._ale.setInt("random_seed", seed)
        self._ale.setInt("frame_skip", ATARI_FRAMES_PER_DECISION)
        self._ale.loadROM(ale_py.roms.get_rom_path(ATARI_ROMS[game]))
        self._actions = self._ale.getMinimalActionSet()
        self._action = self._actions[0]
        self._has_lives = self._ale.lives() > 0

    def next_frame(self) -> Frame:
        for _ in range(TRIES_MAX):
            for _ in range(DECISIONS_PER_FRAME - 1):
                self._decide()
            state = self._state()
            self._decide()
            # Some of the games draw a new score or life a frame late: wait until it is drawn.
            if self._ale.game_over() or self._state() != state:
                continue
            image = np.array(self._ale.getScreenRGB(), dtype=np.uint8)
            if _is_news(image, self._last_image):
                self._last_image = image
                return Frame(self._game, self.session_id, self._step, image, state)
        raise _nothing_new(self.session_id)

    def close(self) -> None:
        """Nothing runs outside this process."""

    def _decide(self) -> None:
        if self._ale.game_over():
            self._ale.reset_game()
            self._score = 0
        if self._rng.random() >= ATARI_KEEP_ACTION:  # held a while, the player gets somewhere
            self._action = self._actions[int(self._rng.integers(len(self._actions)))]
        self._score += int(self._ale.act(self._action))
        self._step += 1

    def _state(self) -> dict[str, int]:
        lives = {"lives": int(self._ale.lives())} if self._has_lives else {}
        return {**lives, "score": self._score}


def _is_news(image: Pixels, last: Pixels | None) -> bool:
    """Neither one colour all over, as between two screens, nor the same as the last."""
    if float(image[::4, ::4].std()) < BLANK_DEVIATION_MAX:
        return False
    return last is None or not np.array_equal(image, last)


def _nothing_new(session_id: str) -> FatalError:
    return FatalError(f"{session_id}: {TRIES_MAX} screens in a row were blank or unchanged")


def _import_vizdoom() -> Any:
    try:
        import vizdoom
    except ImportError as error:
        raise _not_installed("vizdoom", error) from None
    return vizdoom


def _import_ale_py() -> Any:
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise _not_installed("ale-py", error) from None
    return ale_py


def _not_installed(package: str, error: ImportError) -> SettingsError:
    return SettingsError(
        f"{package} can't be imported ({error}); install the extra: pip install 'frameloop[games]'"
    )
