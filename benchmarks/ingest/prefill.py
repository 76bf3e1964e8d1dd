"""A table that has rows already: cheap ones, through the commit loop, in batches as ingest cuts them."""

import hashlib
import uuid
from datetime import UTC, datetime

from consumers.commit_loop import CommitLoop
from consumers.hand_over import to_table
from frameloop.adapters import lance_table
from frameloop.core.batch import AppendRequest, OffsetRange, TopicPartition
from frameloop.core.event_row import ImageFacts, RawRecord, make_row
from frameloop.core.micro_batch import Cut, Row
from frameloop.core.row_ids import pack_ids
from frameloop.runtime.settings import Settings
from schemas.commit import CommitNotice
from schemas.event import ScreenshotEvent

EARLIER = TopicPartition("earlier", 0, "an-earlier-topic")
TINY = b"\xff\xd8 stands for an image \xff\xd9"


def prefill(settings: Settings, rows: int) -> None:
    """Put `rows` rows of another topic into the table, `batch_rows` in each commit."""
    loop = CommitLoop(settings.table_uri, settings.label_columns, settings.table.outbox_max)
    loop.take_over()
    for first in range(0, rows, settings.ingest.batch_rows):
        batch = range(first, min(rows, first + settings.ingest.batch_rows))
        made = tuple(_row(number) for number in batch)
        part = OffsetRange(EARLIER, batch.start, batch.stop)
        fragments = lance_table.write_rows(settings.table_uri, to_table(Cut((part,), made, ())))
        ids = pack_ids([row.values["id"] for row in made])
        request = AppendRequest(uuid.uuid4().hex, (part,), fragments, len(made), (), ids)
        notice: CommitNotice | None = loop.step([request]).notice
        if notice is None:
            raise SystemExit("the table took no rows")


def _row(number: int) -> Row:
    event = ScreenshotEvent(
        event_id=f"earlier-{number}", source="bench", image_url="http://127.0.0.1/earlier.jpg"
    )
    facts = ImageFacts("JPEG", 1, 1, hashlib.sha256(TINY).hexdigest(), "0" * 16)
    record = RawRecord(EARLIER, number, None, None, ())
    return make_row(record, event, TINY, facts, datetime.now(UTC))
