"""What the keeper tells Kafka after a commit: the dead letters it decided, and a notice.

Letters are first part of the table's ledger, then sent, so a crash between the two loses none and
sends some twice. They are the same then, and `DeadLetter.identity` tells.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from kafka import KafkaProducer

from schemas.commit import CommitNotice
from schemas.dead_letter import DeadLetter, LetterIdentity

SendFailed = Callable[[BaseException], None]


class Publisher:
    """Sends in the background. Calls may block while the broker is away: not for an event loop."""

    def __init__(
        self,
        producer: KafkaProducer,
        dead_letter_topic: str,
        commit_topic: str,
        on_error: SendFailed,
    ) -> None:
        self._producer = producer
        self._dead_letter_topic = dead_letter_topic
        self._commit_topic = commit_topic
        self._on_error = on_error
        self._lock = threading.Lock()
        self._under_way: set[LetterIdentity] = set()
        self._published: set[LetterIdentity] = set()

    def take_published(self) -> tuple[LetterIdentity, ...]:
        """Letters that Kafka has acknowledged: the next commit may take them from the ledger."""
        with self._lock:
            return tuple(self._published)

    def forget(self, identities: Iterable[LetterIdentity]) -> None:
        """The ledger no longer holds these."""
        with self._lock:
            self._published.difference_update(identities)

    def send(self, outbox: Iterable[DeadLetter], notices: Iterable[CommitNotice]) -> None:
        """Both, one after the other."""
        self.send_letters(outbox)
        for notice in notices:
            self.send_notice(notice)

    def send_letters(self, outbox: Iterable[DeadLetter]) -> None:
        """Send what is in the outbox and not sent yet. A failed one is sent at the next call."""
        for letter in outbox:
            identity = letter.identity
            with self._lock:
                if identity in self._under_way or identity in self._published:
                    continue
                self._under_way.add(identity)
            try:
                future = self._producer.send(
                    self._dead_letter_topic,
                    key=f"{letter.topic}-{letter.partition}-{letter.offset}".encode(),
                    value=letter.model_dump_json().encode(),
                    headers=[("reason", letter.reason.value.encode())],
                )
            except Exception as error:  # noqa: BLE001 - the client raises plain errors, too
                self._failed(identity, error)
                continue  # the next letter may be one that Kafka takes
            future.add_callback(partial(self._acknowledged, identity))
            future.add_errback(partial(self._failed, identity))

    def send_notice(self, notice: CommitNotice) -> None:
        """Send a notice. It is a hint: if this fails, nobody waits for it."""
        value = notice.model_dump_json().encode()
        try:
            self._producer.send(self._commit_topic, value=value).add_errback(self._on_error)
        except Exception as error:  # noqa: BLE001 - see above
            self._on_error(error)

    def close(self, timeout_s: float) -> None:
        self._producer.close(timeout_ms=int(timeout_s * 1000))

    def _acknowledged(self, identity: LetterIdentity, _metadata: Any) -> None:
        with self._lock:
            self._under_way.discard(identity)
            self._published.add(identity)

    def _failed(self, identity: LetterIdentity, error: BaseException) -> None:
        with self._lock:
            self._under_way.discard(identity)
        self._on_error(error)
