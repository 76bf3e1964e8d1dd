"""Images verified in threads, in turn, off the event loop.

A thread that has begun goes on while images wait, and reports several at once: handing each over
and back by itself costs a tenth of the verification.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from frameloop.core.event_row import ImageFacts

REPORT_MAX = 8

Verify = Callable[[bytes], ImageFacts]
Outcome = ImageFacts | Exception


class Verifiers:
    """For one event loop. At most `threads` images are verified at once; the others wait in turn."""

    def __init__(self, verify: Verify, threads: int) -> None:
        self._verify = verify
        self._waiting: deque[tuple[asyncio.Future[ImageFacts], bytes]] = deque()
        self._idle = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="verify")

    async def verify(self, data: bytes) -> ImageFacts:
        """What `verify` returns for these bytes, or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ImageFacts] = loop.create_future()
        self._waiting.append((future, data))
        self._wake(loop)
        return await future

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._idle and self._waiting:
            self._idle -= 1
            self._threads.submit(self._work, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: until nothing waits. Only the queue is shared with the loop."""
        done: list[tuple[asyncio.Future[ImageFacts], Outcome]] = []
        while self._waiting:
            try:
                future, data = self._waiting.popleft()
            except IndexError:  # another thread was faster
                break
            done.append((future, self._outcome(data)))
            if len(done) >= REPORT_MAX:
                loop.call_soon_threadsafe(_report, done)
                done = []
        loop.call_soon_threadsafe(self._rest, loop, done)

    def _outcome(self, data: bytes) -> Outcome:
        try:
            return self._verify(data)
        except Exception as error:  # noqa: BLE001  it is raised to the one who waits for it
            return error

    def _rest(
        self,
        loop: asyncio.AbstractEventLoop,
        done: list[tuple[asyncio.Future[ImageFacts], Outcome]],
    ) -> None:
        """On the loop: the thread is free. What came since it looked last must not be left lying."""
        _report(done)
        self._idle += 1
        self._wake(loop)


def _report(done: list[tuple[asyncio.Future[ImageFacts], Outcome]]) -> None:
    for future, outcome in done:
        if future.done():  # nobody waits any more
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
