"""Wake a consumer when the table changed: reads the notices that the keeper publishes.

A notice is a hint. Whoever waits here also looks at the table by itself now and then.
"""

import logging
import threading
from collections.abc import Callable

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from frameloop.adapters.kafka_connect import connected
from frameloop.core.errors import FrameloopError
from frameloop.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

POLL_MS = 500
RECONNECT_SECONDS = 5.0


class NoticeWatcher:
    """Calls `on_notice` from a thread of its own, at least once after each new notice."""

    def __init__(self, settings: KafkaSettings, on_notice: Callable[[], None]) -> None:
        self._settings = settings
        self._on_notice = on_notice
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(2 * POLL_MS / 1000)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch()
            except (KafkaError, FrameloopError) as error:
                log.warning("no notices for now: %s", error)
                self._stopping.wait(RECONNECT_SECONDS)

    def _watch(self) -> None:
        consumer = connected(KafkaConsumer, self._settings, enable_auto_commit=False)
        try:
            at = KafkaPartition(self._settings.commit_topic, 0)
            consumer.assign([at])
            consumer.seek_to_end(at)
            while not self._stopping.is_set():
                if consumer.poll(POLL_MS):
                    self._on_notice()
        finally:
            consumer.close(autocommit=False)
