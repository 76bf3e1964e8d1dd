"""Outages around the service: a paused keeper, a broker that goes away, a topic made anew, …"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from consumers.commit_loop import CommitLoop
from frameloop.adapters.kafka_topics import ensure_topics
from frameloop.core.errors import FatalError
from frameloop.core.keeper_watch import KeeperWatch
from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.service import Service
from tests.accounts import assert_each_event_once
from tests.conftest import make_kafka_settings, service_settings
from tests.upstream import ImageServer, image_server, send_pictures
from tests.waiting import books_of, is_labelled, until, until_settled


@pytest.fixture(scope="module")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker that these tests may stop and start."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("own-kafka"), free_port()).start()
    yield broker
    broker.stop()


@pytest.fixture
def service(ray_session: None, own_kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[Service]:
    kafka = make_kafka_settings(own_kafka.bootstrap_servers)
    made = Service(service_settings(tmp_path, kafka))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def kill_broker(broker: EmbeddedKafka) -> None:
    """SIGKILL the Java process itself; its supervisor then ends by itself."""
    supervisor = broker.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    (java,) = children.read_text(encoding="ascii").split()
    os.kill(int(java), signal.SIGKILL)
    broker.stop()


def keeper_pid(service: Service) -> int:
    return int(service.status()["table-keeper"]["pid"])


def test_a_keeper_paused_and_replaced_commits_nothing_more_when_it_comes_back(
    service: Service, images: ImageServer
) -> None:
    settings = service.settings
    send_pictures(settings.kafka, images, 0, 30)
    until_settled(settings)
    pid = keeper_pid(service)
    os.kill(pid, signal.SIGSTOP)
    try:
        send_pictures(settings.kafka, images, 30, 60)
        other = CommitLoop(settings.table_uri, settings.label_columns, outbox_max=100)
        other.take_over()
        version = other.dataset.latest_version
    finally:
        os.kill(pid, signal.SIGCONT)

    with pytest.raises(FatalError, match=r"has replaced keeper|has ended"):
        until(lambda: service.check() is not None, "the service notices that it was replaced")
    assert other.dataset.latest_version == version
    assert len(books_of(settings).rows) == 30
    service.stop()
    again = Service(settings)
    try:
        again.start()
        assert_each_event_once(until_settled(settings))
    finally:
        again.stop()


def test_a_keeper_that_hangs_is_replaced_by_the_service(
    service: Service, images: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_watch", KeeperWatch(silent_seconds_max=2.0))
    settings = service.settings
    pid = keeper_pid(service)
    os.kill(pid, signal.SIGSTOP)
    send_pictures(settings.kafka, images, 0, 30)

    def is_settled() -> bool:
        service.check()
        books = books_of(settings)
        return books.settled >= len(books.sent) > 0

    until(is_settled, "every event settled")
    assert_each_event_once(books_of(settings))
    assert keeper_pid(service) != pid


def test_a_broker_that_is_killed_and_comes_back_costs_no_event(
    service: Service, own_kafka: EmbeddedKafka, images: ImageServer
) -> None:
    settings = service.settings
    send_pictures(settings.kafka, images, 0, 60)
    until(lambda: len(books_of(settings).rows) > 0, "the first row")
    kill_broker(own_kafka)
    own_kafka.start()
    send_pictures(settings.kafka, images, 60, 120)
    assert_each_event_once(until_settled(settings))
    until(lambda: is_labelled(settings), "every row scored")


def test_an_image_server_that_is_down_makes_dead_letters_and_no_placeholder(
    service: Service, images: ImageServer
) -> None:
    settings = service.settings
    images.down = True
    send_pictures(settings.kafka, images, 0, 10)
    until(lambda: books_of(settings).settled == 10, "ten dead letters")
    images.down = False
    send_pictures(settings.kafka, images, 10, 20)
    books = until_settled(settings)
    assert_each_event_once(books)
    # Once the breaker leaves the host alone, the reason is that it could not be asked.
    assert set(books.reasons) <= {"http_server_error", "connection_failed"}
    assert books.reasons.total() >= 10


def test_a_topic_made_anew_is_read_from_its_start(
    service: Service, own_kafka: EmbeddedKafka, images: ImageServer
) -> None:
    settings = service.settings
    send_pictures(settings.kafka, images, 0, 40)
    assert_each_event_once(until_settled(settings))
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.bootstrap_servers)
    admin.delete_topics([settings.kafka.topic])
    until(lambda: settings.kafka.topic not in admin.list_topics(), "the topic is gone")
    admin.close()
    ensure_topics(settings.kafka)
    send_pictures(settings.kafka, images, 40, 60)
    until(lambda: len(books_of(settings).rows) >= 60, "the rows of both topics")
    assert len(books_of(settings).rows) == 60
