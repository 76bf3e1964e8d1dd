"""The same rows on both sides: a Lance table as ingest writes it, and one Parquet file."""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from consumers.commit_loop import CommitLoop
from consumers.hand_over import to_table
from frameloop.adapters import lance_table
from frameloop.adapters.image import verify_image
from frameloop.core.batch import AppendRequest, OffsetRange, TopicPartition
from frameloop.core.event_row import ImageFacts, RawRecord, make_row
from frameloop.core.micro_batch import Cut, Row
from frameloop.core.row_ids import pack_ids
from schemas.event import ScreenshotEvent
from schemas.table import Label

BATCH_ROWS = 256
"""A fragment, as ingest cuts them by default."""
GROUP_ROWS = 4096
"""In a commit, about: a back-log, as the keeper groups it."""
OUTBOX_MAX = 1000
SOURCES = 50
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = TopicPartition("bench", 0, "a-topic")
CAPTION = "Doom. Health 100, ammo 50, kills 3."
Picture = tuple[bytes, ImageFacts]


def load_pictures(frames: Sequence[Path]) -> list[Picture]:
    """Distinct pictures with what verification says of them."""
    found = [frame.read_bytes() for frame in frames]
    return [(data, verify_image(data, formats=("JPEG",), pixels_max=1 << 24)) for data in found]


TINY = b"\xff\xd8 stands for an image \xff\xd9"
TINY_PICTURE: Picture = (TINY, ImageFacts("JPEG", 1, 1, hashlib.sha256(TINY).hexdigest(), "0" * 16))


def row_batches(
    pictures: Sequence[Picture], first: int, end: int, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """Rows `[first, end)` in fragments' worth; pictures come again and again."""
    for start in range(first, end, batch_rows):
        numbers = range(start, min(end, start + batch_rows))
        rows = [_row(number, *pictures[number % len(pictures)]) for number in numbers]
        yield to_table(Cut((OffsetRange(AT, numbers.start, numbers.stop),), tuple(rows), ()))


def keeper_of(uri: str, labels: Sequence[Label]) -> CommitLoop:
    """Who commits to the table; makes it if it is not there."""
    loop = CommitLoop(uri, labels, OUTBOX_MAX)
    loop.take_over()
    return loop


def append(loop: CommitLoop, batches: Iterator[pa.Table], first: int) -> None:
    """Commit the rows, a fragment for each batch; the first of them is row `first`."""
    requests: list[AppendRequest] = []
    for rows in batches:
        part = OffsetRange(AT, first, first + len(rows))
        fragments = lance_table.write_rows(loop.uri, rows)
        ids = pack_ids([str(each) for each in rows["id"].to_pylist()])
        requests.append(AppendRequest(uuid.uuid4().hex, (part,), fragments, len(rows), (), ids))
        first += len(rows)
        if sum(each.rows for each in requests) >= GROUP_ROWS:
            _commit(loop, requests)
            requests = []
    if requests:
        _commit(loop, requests)


def _commit(loop: CommitLoop, requests: Sequence[AppendRequest]) -> None:
    answers = loop.step(requests).answers
    refused = [each for each in answers.values() if isinstance(each, Exception)]
    if refused or len(answers) != len(requests):
        raise SystemExit(f"the table did not take all rows: {refused}")


def _row(number: int, data: bytes, facts: ImageFacts) -> Row:
    event = ScreenshotEvent(
        event_id=str(number),
        source=f"bench-{number % SOURCES}",
        image_url=f"http://127.0.0.1/{number:06d}.jpg",
        caption=CAPTION,
        attributes={"game": "Doom", "step": number},
    )
    return make_row(RawRecord(AT, number, None, None, ()), event, data, facts, NOW)
