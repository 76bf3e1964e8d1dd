"""One record to one outcome: a row or a dead letter, never anything else."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from consumers.image_room import Intake, NoRoom
from frameloop.adapters.fetch import ImageFetcher
from frameloop.adapters.image import verify_image
from frameloop.adapters.verifiers import Verifiers
from frameloop.core.errors import Rejected, TransientError
from frameloop.core.event_row import RawRecord, make_dead_letter, make_row
from frameloop.core.micro_batch import Row
from frameloop.runtime import metrics
from frameloop.runtime.settings import FetchSettings
from schemas.cloudevents import EventError, decode
from schemas.dead_letter import DeadLetter
from schemas.event import ScreenshotEvent

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class Resolver:
    """Parses, fetches and verifies. Many calls run at once on one event loop."""

    def __init__(
        self,
        fetcher: ImageFetcher,
        settings: FetchSettings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._fetcher = fetcher
        self._now = now
        verify = partial(
            verify_image, formats=settings.formats, pixels_max=settings.image_pixels_max
        )
        self._verifiers = Verifiers(verify, settings.verify_threads)

    async def resolve(self, record: RawRecord, intake: Intake) -> Row | DeadLetter:
        """What becomes of the record. Raises nothing that the record or the web could cause.

        Where this machine itself lacks something (sockets, memory), it waits and tries again: that
        says nothing about the event.
        """
        event: ScreenshotEvent | None = None
        try:
            event = decode(record.key, record.value, record.headers)
            outcome: Row | DeadLetter = await self._until_it_can_be_said(record, event, intake)
        except (EventError, Rejected) as error:
            now_ms = int(self._now().timestamp() * 1000)
            outcome = make_dead_letter(record, error.reason, error.detail, now_ms, event)
            metrics.DEAD_LETTERS.labels(error.reason.value).inc()
            log.info("%s at %d: %s", record.at, record.offset, error)
        kind = "row" if isinstance(outcome, Row) else "dead_letter"
        metrics.EVENTS.labels(kind).inc()
        return outcome

    async def _until_it_can_be_said(
        self, record: RawRecord, event: ScreenshotEvent, intake: Intake
    ) -> Row:
        while True:
            try:
                async with intake:
                    return await self._to_row(record, event, intake)
            except NoRoom:
                continue
            except TransientError as error:
                log.warning("%s at %d: %s; trying again", record.at, record.offset, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _to_row(self, record: RawRecord, event: ScreenshotEvent, intake: Intake) -> Row:
        began = time.perf_counter()
        fetched = "failed"
        try:
            image = await self._fetcher.fetch(event.image_url, intake)
            fetched = "ok"
        finally:
            metrics.FETCH_SECONDS.labels(fetched).observe(time.perf_counter() - began)
        facts = await self._verifiers.verify(image.data)
        metrics.IMAGE_BYTES.inc(len(image.data))
        return make_row(record, event, image.data, facts, self._now())
