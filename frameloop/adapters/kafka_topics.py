"""Make the topics that the service needs, where they are not there yet."""

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from frameloop.adapters.kafka_connect import connected
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.runtime.settings import KafkaSettings

HOUR_MS = 3_600_000
LETTER_BYTES_MAX = 4 << 20
"""A letter holds its record in base64, and a record may have a megabyte."""
COMMIT_RETENTION_MS = 24 * HOUR_MS


def ensure_topics(settings: KafkaSettings) -> list[str]:
    """Create what is missing; returns the names created. An existing topic is left as it is.

    Raises `TransientError` when no broker answers, `FatalError` when they refuse this client or the
    topic, and `SettingsError`.
    """
    retention = settings.dead_letter_retention_hours * HOUR_MS
    letters = {"retention.ms": str(retention), "max.message.bytes": str(LETTER_BYTES_MAX)}
    wanted = [
        _topic(settings, settings.topic, settings.partitions, {}),
        _topic(settings, settings.dead_letter_topic, 1, letters),
        _topic(settings, settings.commit_topic, 1, {"retention.ms": str(COMMIT_RETENTION_MS)}),
    ]
    admin = connected(KafkaAdminClient, settings)
    try:
        with kafka_errors(settings):
            return _create_missing(admin, wanted)
    finally:
        admin.close()


def _create_missing(admin: KafkaAdminClient, wanted: list[NewTopic]) -> list[str]:
    there = set(admin.list_topics())
    created = []
    for topic in wanted:
        if topic.name in there:
            continue
        try:
            admin.create_topics([topic], wait_for_metadata=True)
        except TopicAlreadyExistsError:
            continue  # another service was faster
        created.append(topic.name)
    return created


def _topic(settings: KafkaSettings, name: str, partitions: int, config: dict[str, str]) -> NewTopic:
    return NewTopic(name, partitions, settings.replication_factor, topic_configs=config)
