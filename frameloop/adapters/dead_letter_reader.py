"""Read the dead-letter topic from its beginning to where it ends now."""

from collections.abc import Iterator

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from pydantic import ValidationError

from frameloop.adapters.kafka_connect import connected
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.core.errors import FatalError, TransientError
from frameloop.core.letter_selection import is_intact
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.settings import KafkaSettings
from schemas.dead_letter import DeadLetter, LetterIdentity

SILENT_SECONDS_MAX = 30.0
POLL_MS = 500


def read_dead_letters(settings: KafkaSettings) -> Iterator[DeadLetter]:
    """Each letter once, in the order they were sent, though Kafka may hold one twice.

    Raises `TransientError` if Kafka does not answer or stops answering, `FatalError` if it refuses
    this client or has no such topic.
    """
    seen: set[LetterIdentity] = set()
    consumer = connected(KafkaConsumer, settings, enable_auto_commit=False)
    try:
        with kafka_errors(settings):
            for value in _values(consumer, settings):
                letter = _letter(value)
                if letter is not None and letter.identity not in seen:
                    seen.add(letter.identity)
                    yield letter
    finally:
        consumer.close(autocommit=False)


def _letter(value: bytes) -> DeadLetter | None:
    """None for somebody else's message: the topic is open to other writers."""
    try:
        letter = DeadLetter.model_validate_json(value)
    except ValidationError:
        return None
    return letter if is_intact(letter) else None


def _values(consumer: KafkaConsumer, settings: KafkaSettings) -> Iterator[bytes]:
    topic = settings.dead_letter_topic
    partitions = [KafkaPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
    if not partitions:
        raise FatalError(
            f"there is no topic {topic} at {settings.bootstrap_servers}; the service makes it at "
            "its first start"
        )
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    deadline = Deadline(SILENT_SECONDS_MAX)
    while any(consumer.position(at) < ends[at] for at in partitions):
        polled = consumer.poll(POLL_MS)
        if polled:
            deadline = Deadline(SILENT_SECONDS_MAX)
        elif deadline.passed:
            raise TransientError(f"{topic}: Kafka has been silent for {SILENT_SECONDS_MAX:g} s")
        for records in polled.values():
            yield from (record.value for record in records if record.value is not None)
