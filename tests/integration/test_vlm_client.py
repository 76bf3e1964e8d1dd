"""Never faster than allowed, and patient when asked to be: a real server, a clock of our own."""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from frameloop.core.errors import TransientError
from serve_apps.judge import JudgeOptions
from serve_apps.vlm_client import Prompt, VlmClient
from serve_apps.vlm_image import plain_picture
from tests.vlm_server import MODEL, Asked, Reply, Script, VlmServer, failed, judged


class FakeTime:
    """Goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def server() -> Iterator[VlmServer]:
    with VlmServer() as running:
        yield running


def times(
    server: VlmServer, calls: int, script: Script = lambda _: judged(), **options: Any
) -> list[float]:
    """When each request came, in fake seconds, of so many calls one after another."""
    fake, came = FakeTime(), []

    def reply(asked: Asked) -> Reply:
        came.append(fake.now)
        return script(asked)

    async def run() -> None:
        checked = JudgeOptions(base_url=server.url, model=MODEL, **options)
        prompt = Prompt("Judge.", "This.")
        client = VlmClient("judge", checked, prompt, clock=fake.clock, sleep=fake.sleep)
        for _ in range(calls):
            with contextlib.suppress(TransientError):
                await client.ask(plain_picture())
        await client.close()

    server.script = reply
    asyncio.run(run())
    return came


def test_requests_are_spaced_by_the_minute(server: VlmServer) -> None:
    came = times(server, 7, requests_per_minute=6)
    assert came == pytest.approx([0, 10, 20, 30, 40, 50, 60])


def test_retries_wait_for_their_turn_as_well(server: VlmServer) -> None:
    came = times(
        server,
        1,
        lambda _: failed(500) if len(server.asked) < 4 else judged(),
        requests_per_minute=1,
        backoff_base_s=0.1,
    )
    assert came == pytest.approx([0, 60, 120, 180])


def test_tokens_are_paid_for_as_the_server_counted_them(server: VlmServer) -> None:
    # 110 a request, though the first is taken for 1,400: settled once the answer is there.
    came = times(server, 20, tokens_per_minute=660)
    gaps = [b - a for a, b in pairwise(came)]
    assert gaps == pytest.approx([10] * 19)


def test_tokens_of_failed_attempts_are_taken_for_spent(server: VlmServer) -> None:
    came = times(
        server,
        1,
        lambda asked: judged() if asked.before else failed(500),
        tokens_per_minute=1_400,
        backoff_base_s=0.1,
    )
    assert came == pytest.approx([0, 60])


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(server: VlmServer, status: int) -> None:
    reply = failed(status, Retry_After="7")
    came = times(server, 1, lambda asked: judged() if asked.before else reply, backoff_base_s=0.1)
    assert 7 <= came[1] <= 7.2


def test_retry_after_is_obeyed_by_all_requests(server: VlmServer) -> None:
    reply = failed(429, Retry_After="20")
    # The first call gives up at once; the second is another image's, and waits all the same.
    came = times(server, 2, lambda asked: judged() if asked.before else reply, retries=0)
    assert came == [0, 20]


def test_a_server_can_not_make_us_wait_for_ever(server: VlmServer) -> None:
    reply = failed(429, Retry_After="999999")
    came = times(server, 1, lambda asked: judged() if asked.before else reply, backoff_max_s=30)
    assert came[1] <= 30


def test_attempts_are_bounded_and_further_apart_each_time(server: VlmServer) -> None:
    came = times(server, 1, lambda _: failed(429), retries=4, backoff_base_s=1, backoff_max_s=99)
    gaps = [b - a for a, b in pairwise(came)]
    assert len(gaps) == 4
    assert all(step / 2 <= gap <= step for step, gap in zip((1, 2, 4, 8), gaps, strict=True))
