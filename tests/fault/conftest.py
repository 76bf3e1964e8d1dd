"""Two services live through these tests, as a start costs ten seconds and more.

`service` suffers what leaves its accounts whole: whoever uses it leaves it running, and each event of
its topic settled. `spare` is for what does not: it may be stopped, its disk filled, its topic and
its broker's data taken away. Each test compares with what it found.
"""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import lance
import pytest

from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.runtime.settings import Settings
from frameloop.service import Service
from schemas.table import ROWS_FILTER
from tests.accounts import read_all
from tests.conftest import make_kafka_settings, service_settings
from tests.upstream import ImageServer, Load, image_server
from tests.waiting import until

REQUEST_TIMEOUT_MS = 1_500
DISK_BYTES = 64 << 20


@pytest.fixture(scope="session")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture(scope="session")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """The shared service's broker, which these tests may stop and start."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("own-kafka"), free_port()).start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def service(
    ray_session: None, own_kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Shared."""
    made = Service(impatient_settings(tmp_path_factory.mktemp("shared"), own_kafka))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def load(service: Service, images: ImageServer) -> Load:
    """Events for the shared service."""
    return Load(service.settings.kafka, images)


class Spare:
    """A service with a broker and a disk of its own; a test may stop it and start another."""

    def __init__(self, disk: Path, broker: EmbeddedKafka, images: ImageServer) -> None:
        self.disk, self.broker = disk, broker
        self.settings = impatient_settings(disk, broker)
        self.load = Load(self.settings.kafka, images)
        self.service = Service(self.settings)

    def restart(self) -> None:
        self.service.stop()
        self.service = Service(self.settings)
        self.service.start()

    def rows(self) -> Counter[int]:
        """How many rows each event has, by the number that `Load` gave it."""
        table = lance.dataset(self.settings.table_uri).to_table(["event_id"], filter=ROWS_FILTER)
        return Counter(int(name.removeprefix("event-")) for name in table["event_id"].to_pylist())

    def settle(self) -> None:
        """Wait until each event that was ever sent has a row; it has one, and no dead letter."""
        kafka = self.settings.kafka
        until(lambda: self.rows().keys() >= {*range(self.load.sent)}, "a row of each event")
        assert self.rows() == dict.fromkeys(range(self.load.sent), 1)
        assert not read_all(kafka.bootstrap_servers, kafka.dead_letter_topic)
        self.service.check()


@pytest.fixture(scope="session")
def spare(
    ray_session: None,
    small_disk: Path,
    tmp_path_factory: pytest.TempPathFactory,
    images: ImageServer,
) -> Iterator[Spare]:
    broker = EmbeddedKafka(tmp_path_factory.mktemp("spare") / "kafka", free_port()).start()
    made = Spare(small_disk, broker, images)
    try:
        made.service.start()
        yield made
    finally:
        made.service.stop()
        broker.stop()


@pytest.fixture(scope="session")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own with a few megabytes, where one can be mounted; else a folder."""
    folder = tmp_path_factory.mktemp("small-disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    yield folder
    if not done.returncode:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def impatient_settings(folder: Path, broker: EmbeddedKafka) -> Settings:
    """An outage of seconds is longer than the Kafka clients' time-outs and the breaker's."""
    kafka = make_kafka_settings(broker.bootstrap_servers)
    kafka = kafka.model_copy(update={"request_timeout_ms": REQUEST_TIMEOUT_MS})
    return service_settings(folder, kafka, fetch={"breaker_open_s": 1.0})
