"""Read the dead-letter topic from its beginning to where it ends now."""

from collections.abc import Iterator

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from pydantic import ValidationError

from frameloop.adapters.kafka_config import client_config
from frameloop.core.errors import TransientError
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.settings import KafkaSettings
from schemas.dead_letter import DeadLetter

SILENT_SECONDS_MAX = 30.0
POLL_MS = 500


def read_dead_letters(settings: KafkaSettings) -> Iterator[DeadLetter]:
    """Each letter once, in the order they were sent, though Kafka may hold one twice.

    Raises `TransientError` if Kafka stops answering.
    """
    seen = set()
    consumer = KafkaConsumer(**client_config(settings), enable_auto_commit=False)
    try:
        for value in _values(consumer, settings.dead_letter_topic):
            try:
                letter = DeadLetter.model_validate_json(value)
            except ValidationError:
                continue  # somebody else's message: this topic is open to other writers
            if letter.identity not in seen:
                seen.add(letter.identity)
                yield letter
    finally:
        consumer.close(autocommit=False)


def _values(consumer: KafkaConsumer, topic: str) -> Iterator[bytes]:
    partitions = [KafkaPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
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
