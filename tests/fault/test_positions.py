"""Where reading goes on: after another keeper, behind deleted events, in a topic made anew.

These tests stop their service, or leave a topic that no longer holds what the rows came from. So
they have a service of their own, and each compares with what it found.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import lance
import pytest
from kafka import KafkaAdminClient, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from consumers.commit_loop import CommitLoop
from consumers.keeper import KEEPER_NAME
from frameloop.adapters.kafka_topics import ensure_topics
from frameloop.core.errors import FatalError
from frameloop.runtime.embedded_kafka import EmbeddedKafka
from frameloop.runtime.settings import KafkaSettings, Settings
from frameloop.service import Service
from schemas.table import ROWS_FILTER
from tests.accounts import assert_each_event_once
from tests.fault.conftest import outage_settings
from tests.outages import kill, paused, pid_of, status_of
from tests.upstream import ImageServer, Load
from tests.waiting import count_table_rows, until, until_settled


class Running:
    """A service that a test may stop and start."""

    def __init__(self, service: Service) -> None:
        self.settings = service.settings
        self.service = service

    def restart(self) -> None:
        self.service.stop()
        self.service = Service(self.settings)
        self.service.start()


@pytest.fixture(scope="module")
def running(
    ray_session: None, own_kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    made = Running(Service(outage_settings(tmp_path_factory.mktemp("own"), own_kafka)))
    try:
        made.service.start()
        yield made
    finally:
        made.service.stop()


@pytest.fixture(scope="module")
def own_load(running: Running, images: ImageServer) -> Load:
    return Load(running.settings.kafka, images)


def test_a_keeper_paused_and_replaced_commits_nothing_more_when_it_comes_back(
    running: Running, own_load: Load
) -> None:
    settings, service = running.settings, running.service
    own_load.send(30)
    until_settled(settings)
    with paused(pid_of(service, KEEPER_NAME)):
        own_load.send(30)
        other = CommitLoop(settings.table_uri, settings.label_columns, outbox_max=100)
        other.take_over()
        version = other.dataset.latest_version

    with pytest.raises(FatalError, match=r"has replaced keeper|has ended"):
        until(lambda: service.check() is not None, "the service notices that it was replaced")
    assert other.dataset.latest_version == version
    assert count_table_rows(settings) == 30
    running.restart()
    assert_each_event_once(until_settled(settings))


def test_a_topic_made_anew_is_read_from_its_start(running: Running, own_load: Load) -> None:
    settings = running.settings
    own_load.send(40)
    until(lambda: count_table_rows(settings) == own_load.sent, "a row of each event")
    with closing(admin_client(settings.kafka)) as admin:
        admin.delete_topics([settings.kafka.topic])
        until(lambda: settings.kafka.topic not in admin.list_topics(), "the topic is gone")
    ensure_topics(settings.kafka)
    own_load.send(20)
    until(lambda: count_table_rows(settings) >= own_load.sent, "the rows of both topics")
    assert rows_of_events(settings) == dict.fromkeys(range(own_load.sent), 1)


@pytest.mark.xfail(
    reason="a batch that starts behind deleted events does not start where the table stands",
    strict=True,
)
@pytest.mark.parametrize("reader", ["goes_on", "starts_again"])
def test_events_that_kafka_deleted_unread_are_counted_as_lost_and_reading_goes_on(
    reader: str, running: Running, own_load: Load
) -> None:
    settings, service = running.settings, running.service
    first, lost_before = own_load.sent, lost_events(service)
    own_load.send(30)

    def is_up_to_date() -> bool:
        assert lost_events(service) == lost_before, "counted as lost, yet nothing was deleted"
        return sum(number >= first for number in rows_of_events(settings)) == 30

    until(is_up_to_date, "the rows so far")
    pid = pid_of(service, "ingest-0")
    with paused(pid):
        own_load.send(3)  # may answer a request of the ingest actor that was under way
        own_load.send(30)
        delete_records(settings.kafka)
        if reader == "starts_again":
            kill(pid)
            until(lambda: pid_of(service, "ingest-0") != pid, "another ingest actor")
            lost_before = 0
    own_load.send(40)

    def is_accounted_for() -> bool:
        lost = lost_events(service) - lost_before
        assert lost <= 33, "an event was counted as lost twice"
        rows = sum(number >= first for number in rows_of_events(settings))
        return lost >= 30 and rows + lost == own_load.sent - first

    until(is_accounted_for, "each event is a row or counted as lost")
    rows = rows_of_events(settings)
    assert max(rows.values()) == 1
    assert {*range(own_load.sent - 40, own_load.sent)} <= {*rows}
    assert "Kafka has deleted offsets" in log_of(pid_of(service, "ingest-0"))
    service.check()


def rows_of_events(settings: Settings) -> Counter[int]:
    """How many rows each event has, by the number that `Load` gave it."""
    table = lance.dataset(settings.table_uri).to_table(["event_id"], filter=ROWS_FILTER)
    return Counter(int(name.removeprefix("event-")) for name in table["event_id"].to_pylist())


def admin_client(kafka: KafkaSettings) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)


def delete_records(kafka: KafkaSettings) -> None:
    """All that the topic holds, as Kafka's retention does."""
    with closing(admin_client(kafka)) as admin:
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


def log_of(pid: int) -> str:
    """What a process has written to its standard error, which Ray sends to a file."""
    return Path(f"/proc/{pid}/fd/2").resolve().read_text(encoding="utf-8")
