"""An event and its verified image, as one row of the table. Pure."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from frameloop.core.batch import TopicPartition
from frameloop.core.micro_batch import Row
from schemas.dead_letter import DETAIL_CHARS_MAX, DeadLetter, Reason
from schemas.event import ScreenshotEvent
from schemas.table import USER_PROMPT


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A Kafka record as it came, with its place."""

    at: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What verification found out about the image.

    `phash` is a 64-bit difference hash of the luma, as 16 hex digits: pictures that look alike
    differ in few bits. EXIF orientation is not applied.
    """

    format: str
    width: int
    height: int
    sha256: str
    phash: str


def row_id(event: ScreenshotEvent) -> str:
    """The same for the same event, whenever and however often it is sent: 32 hex digits.

    CloudEvents 1.0 makes source and id together unique.
    """
    key = f"{event.source}\0{event.event_id}".encode()
    return hashlib.blake2b(key, digest_size=16).hexdigest()


def make_row(
    record: RawRecord, event: ScreenshotEvent, image: bytes, facts: ImageFacts, now: datetime
) -> Row:
    """One row; without a caption the conversation has the user's turn only."""
    messages = [{"role": "user", "content": USER_PROMPT}]
    if event.caption is not None:
        messages.append({"role": "assistant", "content": event.caption})
    values = {
        "id": row_id(event),
        "event_id": event.event_id,
        "source": event.source,
        "captured_at": event.captured_at or event.sent_at,
        "image_url": event.image_url,
        "topic": record.at.topic,
        "partition": record.at.partition,
        "offset": record.offset,
        "ingested_at": now,
        "sha256": facts.sha256,
        "phash": facts.phash,
        "image": image,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "messages": messages,
        "attributes": json.dumps(event.attributes, ensure_ascii=False),
    }
    return Row(values, len(image))


def make_dead_letter(
    record: RawRecord,
    reason: Reason,
    detail: str,
    now_ms: int,
    event: ScreenshotEvent | None = None,
) -> DeadLetter:
    """The letter for a record that can't become a row; it carries the record's own bytes."""
    return DeadLetter(
        topic=record.at.topic,
        topic_id=record.at.topic_id,
        partition=record.at.partition,
        offset=record.offset,
        reason=reason,
        detail=detail[:DETAIL_CHARS_MAX],
        failed_at_ms=now_ms,
        event_id=event.event_id if event else None,
        source=event.source if event else None,
        key_base64=_base64(record.key) if record.key is not None else None,
        original_base64=_base64(record.value or b""),
        headers_base64=[(name, _base64(value or b"")) for name, value in record.headers],
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
