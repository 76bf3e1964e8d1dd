"""Scores a batch of images, a request each, and tells a bad image from a bad server.

A row whose request fails may be to blame itself (an image that the server crashes on), or the server
is. So a failed row is followed by a plain picture of our own:

- The plain picture fails, too: `TransientError`, or `FatalError` if it is refused. No row is marked.
- It is answered: the image is a suspect. It gets an error on its row if another row of the batch was
  answered, or if it was a suspect `SUSPECTED_MAX` times within `KEPT_S`, of which a batch of one, or
  of nothing but suspects, needs so many: until then `TransientError`, and the batch comes again.

What was answered is kept for `KEPT_S`, as a fragment that fails at its last row comes again as a
whole: no answer is paid for twice. An image's answer comes from its own request and goes to rows
with the same bytes, to no other.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from frameloop.core.errors import FatalError, TransientError
from serve_apps.contract import Score
from serve_apps.frame_decode import DecodeError
from serve_apps.memory import Memory
from serve_apps.vlm_client import Answer, VlmClient
from serve_apps.vlm_errors import AnswerError, NoAnswerError, RefusedError
from serve_apps.vlm_image import data_url, plain_picture

KEPT_S = 3_600.0
KEPT_ROWS_MAX = 20_000
"""At 2 kB for the longest reason: 40 MB at most."""
SUSPECTED_MAX = 3
SUSPECTS_MAX = 8
"""Of one batch without an answer: enough to give up for now, each takes minutes to fail."""

Reader = Callable[[Answer], Score]
"""What an answer is worth. Raises `AnswerError`."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that failed while a plain picture was answered."""

    what: str
    times: int
    """Within `KEPT_S`, this one included."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A row's score, and whether it is the server that has answered."""

    score: Score
    answered: bool


Row = Settled | Suspect


@dataclass(slots=True)
class _Batch:
    answered: int = 0
    suspects: int = 0


class VlmScoring:
    """For one thread, in which no event loop runs: it has one of its own, for the calls only."""

    def __init__(
        self,
        client: VlmClient,
        read: Reader,
        *,
        image_side_max: int | None,
        concurrency: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._read = read
        self._image_side_max = image_side_max
        self._concurrency = concurrency
        self._clock = clock
        self._known: Memory[Settled] = Memory(KEPT_ROWS_MAX, KEPT_S)
        self._suspected: Memory[int] = Memory(KEPT_ROWS_MAX, KEPT_S)
        self._plain = plain_picture()
        self._plain_lock = asyncio.Lock()
        self._plain_asked_s = float("-inf")
        self._settings_hold = False
        self._runner = asyncio.Runner()

    def scores(self, images: Sequence[bytes | None]) -> list[Score]:
        """One score an image, in order. Raises `TransientError` or `FatalError`: see above."""
        return self._runner.run(self._scores(images)) if images else []

    def close(self) -> None:
        """Close the connections. It can't be used any more."""
        self._runner.run(self._client.close())
        self._runner.close()

    async def _scores(self, images: Sequence[bytes | None]) -> list[Score]:
        slots, batch = asyncio.Semaphore(self._concurrency), _Batch()
        try:
            async with asyncio.TaskGroup() as group:
                rows = [group.create_task(self._row(image, slots, batch)) for image in images]
        except ExceptionGroup as failures:
            raise _gravest(failures) from None
        return settle([row.result() for row in rows])

    async def _row(self, image: bytes | None, slots: asyncio.Semaphore, batch: _Batch) -> Row:
        if image is None:
            return Settled(Score(error="the image is null"), answered=False)
        async with slots:
            digest = hashlib.sha256(image).digest()
            row = self._known.get(digest, self._clock()) or await self._ask(image, digest)
        if isinstance(row, Settled):
            batch.answered += row.answered
            return row
        batch.suspects += 1
        if batch.suspects >= SUSPECTS_MAX and not batch.answered:
            raise TransientError(f"{batch.suspects} rows failed and none was answered: {row.what}")
        return row

    async def _ask(self, image: bytes, digest: bytes) -> Row:
        try:
            url = await asyncio.to_thread(data_url, image, self._image_side_max)
        except DecodeError as error:
            return Settled(Score(error=str(error)), answered=False)
        try:
            score = self._read(await self._client.ask(url))
        except AnswerError as error:
            score = Score(error=str(error))
        except RefusedError as error:
            if not self._settings_hold:
                await self._ask_plain()
            score = Score(error=str(error))
        except NoAnswerError as error:
            await self._ask_plain()
            return self._suspect(digest, str(error))
        self._settings_hold = True
        row = Settled(score, answered=True)
        self._known.put(digest, row, self._clock())
        return row

    def _suspect(self, digest: bytes, what: str) -> Row:
        now_s = self._clock()
        times = (self._suspected.get(digest, now_s) or 0) + 1
        if times < SUSPECTED_MAX:
            self._suspected.put(digest, times, now_s)
            return Suspect(what, times)
        self._suspected.forget(digest)
        row = Settled(Score(error=what), answered=False)
        self._known.put(digest, row, now_s)
        return row

    async def _ask_plain(self) -> None:
        """Returns if a plain picture is answered, with whatever, that is asked about from now on."""
        failed_s = self._clock()
        async with self._plain_lock:
            began_s = self._clock()
            if self._plain_asked_s >= failed_s:
                return  # for another row that failed at the same time
            try:
                await self._client.ask(self._plain)
            except AnswerError:
                pass
            except RefusedError as error:
                raise FatalError(f"even for a plain picture, {error}; see the options") from None
            except NoAnswerError as error:
                raise TransientError(f"even for a plain picture, {error}") from None
            self._plain_asked_s = began_s


def settle(rows: Sequence[Row]) -> list[Score]:
    """Scores of a batch. Raises `TransientError` if there are suspects and no row was answered."""
    suspects = [row for row in rows if isinstance(row, Suspect)]
    if suspects and not any(isinstance(row, Settled) and row.answered for row in rows):
        raise TransientError(f"no row of the batch was answered: {suspects[0].what}")
    return [Score(error=row.what) if isinstance(row, Suspect) else row.score for row in rows]


def _gravest(failures: ExceptionGroup[Exception]) -> Exception:
    """One error of those that ended the batch: a person must hear of a fatal one."""
    fatal, _ = failures.split(FatalError)
    found: Exception = fatal or failures
    while isinstance(found, ExceptionGroup):
        found = cast(Exception, found.exceptions[0])
    return found
