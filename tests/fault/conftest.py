"""One service and one broker live through most of these tests: a start costs ten seconds and more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.runtime.settings import Settings
from frameloop.service import Service
from tests.conftest import make_kafka_settings, service_settings
from tests.upstream import ImageServer, Load, image_server

REQUEST_TIMEOUT_MS = 1_500


@pytest.fixture(scope="session")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture(scope="session")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker that these tests may stop and start."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("own-kafka"), free_port()).start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def service(
    ray_session: None, own_kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Shared. Whoever uses it leaves it running, and each event of its topic accounted for."""
    made = Service(outage_settings(tmp_path_factory.mktemp("shared"), own_kafka))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def load(service: Service, images: ImageServer) -> Load:
    """Events for the shared service."""
    return Load(service.settings.kafka, images)


def outage_settings(folder: Path, broker: EmbeddedKafka) -> Settings:
    """Impatient: an outage of seconds is longer than the clients' time-outs and the breaker's."""
    kafka = make_kafka_settings(broker.bootstrap_servers)
    kafka = kafka.model_copy(update={"request_timeout_ms": REQUEST_TIMEOUT_MS})
    return service_settings(folder, kafka, fetch={"breaker_open_s": 1.0})
