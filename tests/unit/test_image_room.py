"""Memory for images: bounded, and never so that nothing goes on."""

import asyncio
import random

import pytest

from consumers.image_room import ImageRoom, Intake, NoRoom
from frameloop.core.batch import TopicPartition
from frameloop.core.micro_batch import BatchLimits, MicroBatcher, Row, Slot

AT = TopicPartition("t", 0, "id")
MIB = 1 << 20


def batcher_with(events: int) -> tuple[MicroBatcher, list[Slot]]:
    batcher = MicroBatcher(BatchLimits(rows=4, bytes=MIB, age_s=1))
    batcher.start(AT, 0)
    slots = [batcher.expect(AT, offset) for offset in range(events)]
    return batcher, [slot for slot in slots if slot is not None]


async def test_a_fetch_begins_only_while_an_image_of_the_usual_size_fits() -> None:
    batcher, slots = batcher_with(6)
    room = ImageRoom(MIB, batcher)
    tasks = [asyncio.create_task(room.enter(slot)) for slot in slots]
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True] * 4 + [False] * 2  # 256 KiB each at first
    room.leave(0)
    room.wake()
    await tasks[4]
    assert not tasks[5].done()
    tasks[5].cancel()


async def test_the_first_of_a_partition_always_has_room() -> None:
    batcher, slots = batcher_with(3)
    room = ImageRoom(MIB, batcher)
    first, second = room.intake(slots[0]), room.intake(slots[1])
    await room.enter(slots[0])
    await room.enter(slots[1])
    second.take(MIB)
    first.take(3 * MIB)
    with pytest.raises(NoRoom):
        second.take(1)
    assert room.bytes_held == 4 * MIB


async def test_what_was_read_is_given_back_before_another_attempt_and_at_the_end() -> None:
    batcher, slots = batcher_with(1)
    room = ImageRoom(MIB, batcher)
    async with room.intake(slots[0]) as intake:
        intake.take(1000)
        intake.clear()
        assert room.bytes_held == 0
        intake.take(500)
        assert room.bytes_held == 500
    assert room.bytes_held == 0


async def test_a_waiter_that_is_cancelled_as_its_turn_comes_leaves_its_place() -> None:
    batcher, slots = batcher_with(6)
    room = ImageRoom(MIB, batcher)
    tasks = [asyncio.create_task(room.enter(slot)) for slot in slots]
    await asyncio.sleep(0)
    room.leave(0)
    room.wake()  # the turn of 4
    tasks[4].cancel()
    await asyncio.gather(tasks[4], return_exceptions=True)
    room.wake()
    await tasks[5]


@pytest.mark.parametrize("seed", range(20))
async def test_all_events_finish_and_memory_stays_within_its_bound(seed: int) -> None:
    """Sizes up to the whole room, attempts that fail, images read piece by piece."""
    chance = random.Random(seed)
    batcher, slots = batcher_with(60)
    room = ImageRoom(MIB, batcher)
    largest = 0

    async def fetch(slot: Slot) -> None:
        intake: Intake = room.intake(slot)
        size = chance.choice([1 << 12, 1 << 16, 1 << 19, MIB])
        while True:
            try:
                async with intake:
                    await read(intake, size)
                break
            except NoRoom:
                continue
        batcher.finish(slot, Row({}, size), 0.0)
        room.wake()

    async def read(intake: Intake, size: int) -> None:
        for attempt in range(2):
            intake.clear()
            for _ in range(4):
                intake.take(size // 4)
                nonlocal largest
                largest = max(largest, room.bytes_held)
                await asyncio.sleep(0)
            if attempt or chance.random() < 0.8:
                return

    async def cut() -> None:
        done = 0
        while done < len(slots):
            batch = batcher.cut(0.0)
            done += len(batch.rows) if batch else 0
            room.wake()
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(cut(), *(fetch(slot) for slot in slots))
    assert largest <= 2 * MIB
    assert room.bytes_held == 0
