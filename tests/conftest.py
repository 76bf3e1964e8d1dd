"""Shared over a test session: one Kafka, one Ray, one tiny model. Each test has topics of its own."""

import os
import random
import subprocess
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from frameloop.runtime.faults import VARIABLE as FAULTS_VARIABLE
from frameloop.runtime.settings import KafkaSettings, Settings

REPO = Path(__file__).resolve().parents[1]
TRAINING = REPO / ".venv-training"
SEED_VARIABLE = "FRAMELOOP_TEST_SEED"
SEED = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    given = os.environ.get(SEED_VARIABLE)
    config.stash[SEED] = int(given) if given else random.SystemRandom().randrange(1 << 32)
    # A test's settings come from the test alone.
    for name in [name for name in os.environ if name.startswith("FRAMELOOP_")]:
        del os.environ[name]


@pytest.fixture
def dice(pytestconfig: pytest.Config) -> random.Random:
    """Chance from `FRAMELOOP_TEST_SEED`, else from a new seed; pytest shows it if the test fails."""
    seed = pytestconfig.stash[SEED]
    print(f"again with: {SEED_VARIABLE}={seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Apache Kafka."""
    from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port

    broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), free_port()).start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file here, named after a step, has the process that reaches the step killed."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def ray_session(faults: Path) -> Iterator[None]:
    """A real local Ray with Serve, enough CPUs for a few services at once."""
    import ray
    from ray import serve

    from frameloop.runtime.ray_cluster import start_ray

    os.environ[FAULTS_VARIABLE] = str(faults)  # before Ray starts: its workers inherit it
    settings = Settings(ray={"num_cpus": 8})
    start_ray(settings, log_to_driver=False)
    yield
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL of some hundred thousand random weights, as LLaMA-Factory takes it."""
    python = TRAINING / "bin" / "python"
    if not python.exists():
        pytest.fail("the training environment is missing: run `make setup`")
    out = tmp_path_factory.mktemp("model") / "tiny-qwen2vl"
    script = REPO / "training" / "tiny_model.py"
    subprocess.run([python, script, out], check=True, capture_output=True)
    return out


@pytest.fixture
def kafka_settings(kafka: Any) -> KafkaSettings:
    """Topics and a group that no other test uses; the topics are there."""
    return make_kafka_settings(kafka.bootstrap_servers)


def make_kafka_settings(bootstrap_servers: str, partitions: int = 4) -> KafkaSettings:
    from frameloop.adapters.kafka_topics import ensure_topics

    name = f"t-{uuid.uuid4().hex[:8]}"
    settings = KafkaSettings(
        embedded=False,
        bootstrap_servers=bootstrap_servers,
        topic=name,
        dead_letter_topic=f"{name}.dead",
        commit_topic=f"{name}.commits",
        group_id=f"{name}-group",
        partitions=partitions,
        session_timeout_ms=6_000,
    )
    ensure_topics(settings)
    return settings


@pytest.fixture
def make_settings(tmp_path: Path, kafka_settings: KafkaSettings) -> Callable[..., Settings]:
    """Settings of a service of its own: `make_settings(ingest={"batch_rows": 8})`."""
    return partial(service_settings, tmp_path, kafka_settings)


def service_settings(folder: Path, kafka: KafkaSettings, **sections: Any) -> Settings:
    defaults: dict[str, Any] = {
        "data_dir": folder / "data",
        "kafka": kafka,
        "fetch": {"allow_networks": ["127.0.0.0/8"], "retries": 1, "backoff_base_s": 0.05},
        "ingest": {"batch_age_s": 0.2, "batch_rows": 16, "actor_cpus": 0.1},
        "scoring": {"actor_cpus": 0.1, "poll_interval_s": 0.5},
        "labels": {"score1": {"scorer": "quality", "replica_cpus": 0.2}},
        "training": {"enabled": False, "cpus": 0.2, "check_interval_s": 0.5},
        "upkeep": {"fan_in": 2, "interval_s": 0.5, "clean_interval_s": 1, "task_cpus": 0.1},
        "metrics": {"port": 0},
        "ray": {"namespace": f"n-{uuid.uuid4().hex[:8]}"},
    }
    for name, values in sections.items():
        defaults[name] = {**defaults[name], **values}
    return Settings(**defaults)
