"""Verification in threads: each gets its own outcome, and nothing is left lying."""

import asyncio
import threading

import pytest

from frameloop.adapters.verifiers import REPORT_MAX, Verifiers
from frameloop.core.errors import Rejected
from frameloop.core.event_row import ImageFacts
from schemas.dead_letter import Reason


def facts_of(data: bytes) -> ImageFacts:
    if data.startswith(b"bad"):
        raise Rejected(Reason.IMAGE_DAMAGED, data.decode())
    return ImageFacts("JPEG", 1, 1, data.decode(), "0" * 16)


@pytest.mark.parametrize("threads", [1, 2])
async def test_each_image_gets_its_own_outcome(threads: int) -> None:
    images = [f"{'bad' if n % 7 == 0 else 'good'}-{n}".encode() for n in range(20 * REPORT_MAX)]
    verifiers = Verifiers(facts_of, threads)
    outcomes = await asyncio.gather(*map(verifiers.verify, images), return_exceptions=True)
    for data, outcome in zip(images, outcomes, strict=True):
        if isinstance(outcome, Rejected):
            assert outcome.detail == data.decode()
            assert data.startswith(b"bad")
        else:
            assert isinstance(outcome, ImageFacts)
            assert outcome.sha256 == data.decode()


async def test_one_that_comes_when_all_was_done_is_not_left_lying() -> None:
    verifiers = Verifiers(facts_of, 1)
    for n in range(3 * REPORT_MAX):
        facts = await verifiers.verify(f"good-{n}".encode())
        assert facts.sha256 == f"good-{n}"


async def test_one_that_nobody_waits_for_any_more_stops_no_other() -> None:
    gate = threading.Event()

    def slow(data: bytes) -> ImageFacts:
        gate.wait(10)
        return facts_of(data)

    verifiers = Verifiers(slow, 1)
    given_up = asyncio.create_task(verifiers.verify(b"good-0"))
    waits = asyncio.create_task(verifiers.verify(b"good-1"))
    await asyncio.sleep(0)
    given_up.cancel()
    gate.set()
    assert (await waits).sha256 == "good-1"


async def test_no_more_images_are_verified_at_once_than_there_are_threads() -> None:
    lock = threading.Lock()
    running, most = 0, 0

    def counted(data: bytes) -> ImageFacts:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        facts = facts_of(data)
        with lock:
            running -= 1
        return facts

    verifiers = Verifiers(counted, 2)
    await asyncio.gather(*(verifiers.verify(f"good-{n}".encode()) for n in range(500)))
    assert most <= 2
