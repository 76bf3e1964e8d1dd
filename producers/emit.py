"""Send events to Kafka: each once, in order per source, with a bound on what waits in memory."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError

from frameloop.adapters.kafka_config import client_config
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.core.errors import BackPressure, FatalError, OutcomeUnknown, TransientError
from frameloop.runtime.settings import KafkaSettings
from schemas.cloudevents import encode_binary
from schemas.event import ScreenshotEvent

BUFFER_BYTES_MAX = 32 << 20
DELIVERY_TIMEOUT_MS = 120_000
LINGER_MS = 5
BATCH_BYTES = 128 << 10
RECORD_OVERHEAD_BYTES = 128


class EventsNotSent(OutcomeUnknown):
    """Kafka did not confirm `count` events; the first said `first`. Some may be in the topic.

    Sent again under the same event id, such an event may be there twice.
    """

    def __init__(self, count: int, first: str) -> None:
        super().__init__(count, first)
        self.count = count
        self.first = first

    def __str__(self) -> str:
        return f"{self.count} events were not confirmed by Kafka; the first: {self.first}"


@dataclass(frozen=True, slots=True)
class EmitCounts:
    """Records since the start. `handed_over - confirmed - failed` are still under way."""

    handed_over: int
    confirmed: int
    failed: int


class Sending(Protocol):
    """The outcome of one send, told from the producer's own thread."""

    def add_callback(self, f: Callable[[Any], None]) -> object: ...
    def add_errback(self, f: Callable[[BaseException], None]) -> object: ...


class Producer(Protocol):
    """What is used of `kafka.KafkaProducer`."""

    def send(
        self, topic: str, *, value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]
    ) -> Sending: ...
    def flush(self, timeout: float | None = None) -> None: ...
    def close(self, timeout: float | None = None) -> None: ...


class EventEmitter:
    """Sends events to one topic. Threads may share it.

    What `send` took over is in the topic once, in the order of its source, when `flush` returns
    without an error: the producer is idempotent and all in-sync replicas have it.
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        *,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        block_s_max: float = 60.0,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._buffer_bytes_max = buffer_bytes_max
        self._block_s_max = block_s_max
        self._changed = threading.Condition()
        self._pending_bytes = 0
        self._handed_over = self._confirmed = self._failed = 0
        self._failed_since_flush = 0
        self._first_failure = ""

    @classmethod
    def connect(cls, settings: KafkaSettings) -> Self:
        """Connect to the brokers of the settings.

        Raises `TransientError` when none answers, `FatalError` when they refuse this client, and
        `SettingsError`. The topic must be there: the service creates it with its partitions.
        """
        with kafka_errors(settings):
            producer = KafkaProducer(**_producer_config(settings))
        return cls(producer, settings.topic, block_s_max=settings.request_timeout_ms / 1000)

    @property
    def counts(self) -> EmitCounts:
        with self._changed:
            return EmitCounts(self._handed_over, self._confirmed, self._failed)

    def send(self, event: ScreenshotEvent) -> None:
        """Hand the event over; `sent_at` becomes now where it is not set.

        Waits while the buffer is full. When an error is raised, nothing was taken over:
        `EventError` (the event is too large or not valid), `BackPressure` (no room in time),
        `TransientError` (no broker answers, or the topic is not there), `FatalError`.
        """
        if event.sent_at is None:
            event = event.model_copy(update={"sent_at": datetime.now(UTC)})
        key, value, headers = encode_binary(event)
        self.send_raw(value, key=key, headers=headers)

    def send_raw(
        self, value: bytes, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Send bytes as they are, event or not. Raises as `send` does, less `EventError`."""
        size = len(value) + len(key or b"") + RECORD_OVERHEAD_BYTES
        size += sum(len(name) + len(content) for name, content in headers)
        self._reserve(size)
        try:
            sending = self._producer.send(self._topic, value=value, key=key, headers=[*headers])
        except KafkaError as error:
            self._take_back(size)
            if error.retriable:
                raise TransientError(f"topic {self._topic} can't be reached: {error}") from None
            raise FatalError(f"topic {self._topic} refuses the record: {error}") from None
        except BaseException:
            self._take_back(size)
            raise
        # Not under the lock: the producer's thread may run them at once, here or there.
        sending.add_callback(lambda _: self._done(size, None))
        sending.add_errback(lambda error: self._done(size, error))

    def flush(self, timeout_s: float = DELIVERY_TIMEOUT_MS / 1000 + 10) -> None:
        """Wait until everything that was handed over is confirmed.

        Raises `EventsNotSent` if anything since the last `flush` was not.
        """
        with suppress(KafkaError):  # what it means for the records is counted below
            self._producer.flush(timeout_s)
        with self._changed:
            settled = self._changed.wait_for(self._all_settled, timeout_s)
            failed, first = self._failed_since_flush, self._first_failure
            under_way = self._handed_over - self._confirmed - self._failed
            self._failed_since_flush, self._first_failure = 0, ""
        if not settled:
            raise EventsNotSent(failed + under_way, first or f"no answer within {timeout_s:.0f} s")
        if failed:
            raise EventsNotSent(failed, first)

    def close(self) -> None:
        """`flush`, then let go of the connections, whether that succeeded or not."""
        try:
            self.flush()
        finally:
            self._producer.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reserve(self, size: int) -> None:
        """kafka-python has no bound on its buffer, hence this one."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(size), self._block_s_max):
                raise BackPressure(
                    f"{self._pending_bytes} bytes wait for Kafka, {self._buffer_bytes_max} may"
                )
            self._pending_bytes += size
            self._handed_over += 1

    def _has_room(self, size: int) -> bool:
        """One record always fits an empty buffer; a larger one than Kafka takes, it refuses."""
        return not self._pending_bytes or self._pending_bytes + size <= self._buffer_bytes_max

    def _take_back(self, size: int) -> None:
        with self._changed:
            self._pending_bytes -= size
            self._handed_over -= 1
            self._changed.notify_all()

    def _done(self, size: int, error: BaseException | None) -> None:
        with self._changed:
            self._pending_bytes -= size
            if error is None:
                self._confirmed += 1
            else:
                self._failed += 1
                self._failed_since_flush += 1
                self._first_failure = self._first_failure or str(error)
            self._changed.notify_all()

    def _all_settled(self) -> bool:
        return self._confirmed + self._failed == self._handed_over


def _producer_config(settings: KafkaSettings) -> dict[str, Any]:
    return {
        **client_config(settings),
        "client_id": "frameloop-producer",
        "acks": "all",
        "enable_idempotence": True,
        "allow_auto_create_topics": False,
        "linger_ms": LINGER_MS,
        "batch_size": BATCH_BYTES,
        "max_block_ms": settings.request_timeout_ms,
        # A broker that restarts takes longer than one request may.
        "delivery_timeout_ms": max(DELIVERY_TIMEOUT_MS, 2 * settings.request_timeout_ms),
    }
