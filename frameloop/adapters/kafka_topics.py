"""Make the topics that the service needs, where they are not there yet."""

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from frameloop.adapters.kafka_config import client_config
from frameloop.runtime.settings import KafkaSettings

HOUR_MS = 3_600_000
COMMIT_RETENTION_MS = 24 * HOUR_MS


def ensure_topics(settings: KafkaSettings) -> list[str]:
    """Create what is missing; returns the names created. An existing topic is left as it is."""
    retention = settings.dead_letter_retention_hours * HOUR_MS
    wanted = [
        _topic(settings, settings.topic, settings.partitions, {}),
        _topic(settings, settings.dead_letter_topic, 1, {"retention.ms": str(retention)}),
        _topic(settings, settings.commit_topic, 1, {"retention.ms": str(COMMIT_RETENTION_MS)}),
    ]
    admin = KafkaAdminClient(**client_config(settings))
    created = []
    try:
        there = set(admin.list_topics())
        for topic in wanted:
            if topic.name in there:
                continue
            try:
                admin.create_topics([topic], wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue  # another service was faster
            created.append(topic.name)
    finally:
        admin.close()
    return created


def _topic(settings: KafkaSettings, name: str, partitions: int, config: dict[str, str]) -> NewTopic:
    return NewTopic(name, partitions, settings.replication_factor, topic_configs=config)
