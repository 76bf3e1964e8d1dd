"""Events that Kafka deletes before they are read: lost, but never in silence."""

from contextlib import closing
from urllib.request import urlopen

import pytest
from kafka import KafkaAdminClient, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from frameloop.runtime.settings import KafkaSettings
from frameloop.service import Service
from tests.fault.conftest import Spare
from tests.outages import kill, log_of, paused, pid_of, status_of
from tests.waiting import until


@pytest.mark.parametrize("reader", ["goes_on", "starts_again"])
def test_events_that_kafka_deleted_unread_are_counted_as_lost_and_reading_goes_on(
    reader: str, spare: Spare
) -> None:
    kafka, service, load = spare.settings.kafka, spare.service, spare.load
    first, lost_before = load.sent, lost_events(service)
    load.send(30)

    def is_up_to_date() -> bool:
        assert lost_events(service) == lost_before, "counted as lost, yet nothing was deleted"
        return sum(number >= first for number in spare.rows()) == 30

    until(is_up_to_date, "the rows so far")
    pid = pid_of(service, "ingest-0")
    with paused(pid):
        load.send(3)  # may answer a request of the ingest actor that was under way
        load.send(30)
        delete_records(kafka)
        if reader == "starts_again":
            kill(pid)
            until(lambda: pid_of(service, "ingest-0") != pid, "another ingest actor")
            lost_before = 0
    load.send(40)

    def is_accounted_for() -> bool:
        lost = lost_events(service) - lost_before
        assert lost <= 33, "an event was counted as lost twice"
        rows = sum(number >= first for number in spare.rows())
        return lost >= 30 and rows + lost == load.sent - first

    until(is_accounted_for, "each event is a row or counted as lost")
    rows = spare.rows()
    assert max(rows.values()) == 1
    assert {*range(load.sent - 40, load.sent)} <= {*rows}
    assert "Kafka has deleted offsets" in log_of(pid_of(service, "ingest-0"))
    service.check()


def delete_records(kafka: KafkaSettings) -> None:
    """All that the topic holds, as Kafka's retention does."""
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)) as admin:
        admin.delete_records({TopicPartition(kafka.topic, p): -1 for p in range(kafka.partitions)})


def lost_events(service: Service) -> int:
    """As the ingest actor's metrics say."""
    address = status_of(service, "ingest-0")["metrics_address"]
    with urlopen(f"http://{address}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    values = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "frameloop_events_total" and sample.labels["outcome"] == "lost"
    ]
    return int(sum(values))
