"""TLS and SASL against a real broker: who is let in, and what whoever is not is told."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from typer.testing import CliRunner

from frameloop.adapters.dead_letter_reader import read_dead_letters
from frameloop.adapters.event_source import EventSource
from frameloop.adapters.kafka_config import client_config
from frameloop.adapters.kafka_topics import ensure_topics
from frameloop.cli.app import app
from frameloop.core.errors import FatalError, FrameloopError, SettingsError, TransientError
from frameloop.runtime.embedded_kafka import EmbeddedKafka, free_port
from frameloop.runtime.kafka_security import SecurityProtocol
from frameloop.runtime.settings import KafkaSettings, Settings
from frameloop.status import collect_status
from producers.emit import EventEmitter

WRONG = "hunter2-hunter2"
REQUEST_MS = 1_000
ANSWER_SECONDS_MAX = 8.0  # the client's time-out, the probe's steps, a slow machine

CALLS: dict[str, Callable[[KafkaSettings], object]] = {
    "emitter": lambda kafka: EventEmitter.connect(kafka).close(),
    "topics": ensure_topics,
    "source": lambda kafka: EventSource(kafka, 0, 1, 10).close(),
    "letters": lambda kafka: list(read_dead_letters(kafka)),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., EmbeddedKafka]]:
    running: dict[str, EmbeddedKafka] = {}

    def broker(security: SecurityProtocol) -> EmbeddedKafka:
        if security not in running:
            home = tmp_path_factory.mktemp(security)
            running[security] = EmbeddedKafka(home, free_port(), security=security).start()
            ensure_topics(settings_for(running[security]))
        return running[security]

    yield broker
    for each in running.values():
        each.stop()


@pytest.fixture
def secured(start: Callable[..., EmbeddedKafka]) -> EmbeddedKafka:
    return start("SASL_SSL")


def settings_for(broker: EmbeddedKafka, **change: Any) -> KafkaSettings:
    values = {
        "embedded": False,
        "bootstrap_servers": broker.bootstrap_servers,
        "request_timeout_ms": 15_000,
        **broker.listener.client_settings(),
        **change,
    }
    return KafkaSettings(**{name: value for name, value in values.items() if value is not None})


def refused(call: Callable[[KafkaSettings], object], kafka: KafkaSettings) -> FrameloopError:
    kafka = kafka.model_copy(update={"request_timeout_ms": REQUEST_MS})
    threads, begin = threading.active_count(), time.monotonic()
    with pytest.raises(FrameloopError) as caught:
        call(kafka)
    assert time.monotonic() - begin < ANSWER_SECONDS_MAX
    assert threading.active_count() <= threads, "a refused client leaves a thread behind"
    return caught.value


def send_and_receive(kafka: KafkaSettings) -> list[bytes]:
    """Send to the commit topic, which has one partition, and read it from its beginning."""
    with EventEmitter.connect(kafka.model_copy(update={"topic": kafka.commit_topic})) as emitter:
        emitter.send_raw(b"hello")
    consumer = KafkaConsumer(**client_config(kafka))
    try:
        at = KafkaPartition(kafka.commit_topic, 0)
        consumer.assign([at])
        consumer.seek_to_beginning(at)
        end, found = consumer.end_offsets([at])[at], []
        while len(found) < end:
            found += [r.value for records in consumer.poll(500).values() for r in records]
        return found
    finally:
        consumer.close()


def test_with_the_right_login_and_ca_everything_works_over_tls(secured: EmbeddedKafka) -> None:
    kafka = settings_for(secured)
    assert kafka.sasl_mechanism == "SCRAM-SHA-512"
    assert send_and_receive(kafka) == [b"hello"]
    for call in CALLS.values():
        call(kafka)
    assert "error" not in collect_status(Settings(kafka=kafka))["kafka"]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_is_said_and_is_never_in_a_message_or_log(
    name: str,
    mechanism: str,
    secured: EmbeddedKafka,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG if mechanism != "PLAIN" else logging.INFO)
    (tmp_path / "password").write_text(WRONG)
    kafka = settings_for(
        secured, sasl_password_file=tmp_path / "password", sasl_mechanism=mechanism
    )
    error = refused(CALLS[name], kafka)
    assert isinstance(error, FatalError)
    assert f"refuses the login of 'frameloop' by {mechanism}" in str(error)
    assert WRONG not in f"{error!r}{error}{caplog.text}"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ssl_ca_file": None}, "can't be trusted: self-signed certificate"),
        ({"security_protocol": "PLAINTEXT", "ssl_ca_file": None}, "speaks TLS"),
    ],
    ids=["no-ca", "plaintext"],
)
def test_a_client_without_the_ca_or_without_tls_is_told_so(
    name: str, change: dict[str, Any], words: str, secured: EmbeddedKafka
) -> None:
    error = refused(CALLS[name], settings_for(secured, **change))
    assert isinstance(error, FatalError)
    assert words in str(error)


def test_a_host_name_that_the_certificate_does_not_have_is_refused(secured: EmbeddedKafka) -> None:
    elsewhere = settings_for(secured, bootstrap_servers=f"localhost:{secured.port}")
    error = refused(EventEmitter.connect, elsewhere)
    assert isinstance(error, FatalError)
    assert "not valid for 'localhost'" in str(error)


def test_tls_without_the_login_may_pass_with_time_for_all_one_can_tell(
    secured: EmbeddedKafka,
) -> None:
    error = refused(EventEmitter.connect, settings_for(secured, security_protocol="SSL"))
    assert isinstance(error, TransientError)
    assert "kafka.security_protocol is SSL" in str(error)


def test_mutual_tls_lets_in_who_has_the_certificate_and_nobody_else(
    start: Callable[..., EmbeddedKafka],
) -> None:
    broker = start("SSL")
    assert send_and_receive(settings_for(broker)) == [b"hello"]
    without = settings_for(broker, ssl_certificate_file=None, ssl_key_file=None)
    error = refused(EventEmitter.connect, without)
    assert isinstance(error, FatalError)
    assert "kafka.ssl_certificate_file" in str(error)


def test_an_unusable_tls_file_is_a_settings_error_at_once(
    secured: EmbeddedKafka, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    folder = secured.listener.folder
    for name, change in (
        ("kafka.ssl_ca_file", {"ssl_ca_file": junk}),
        ("kafka.ssl_ca_file", {"ssl_ca_file": tmp_path / "absent"}),
        ("kafka.ssl_certificate_file", {"ssl_certificate_file": junk}),
        ("kafka.ssl_certificate_file", {"ssl_certificate_file": folder / "client.pem"}),
        (
            "kafka.ssl_key_file",
            {"ssl_certificate_file": folder / "client.pem", "ssl_key_file": tmp_path / "absent"},
        ),
    ):
        with pytest.raises(SettingsError, match=name):
            client_config(settings_for(secured, **change))


def test_the_command_line_says_it_in_one_line_without_the_password(
    secured: EmbeddedKafka, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(WRONG)
    config = tmp_path / "frameloop.toml"
    lines = {
        "bootstrap_servers": secured.bootstrap_servers,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "frameloop",
        "sasl_password_file": str(tmp_path / "password"),
        "ssl_ca_file": str(secured.listener.folder / "ca.pem"),
    }
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    config.write_text(
        f'data_dir = "{tmp_path}"\n[kafka]\nembedded = false\nrequest_timeout_ms = 1000\n{text}'
    )

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, "-c", str(config)], env={"COLUMNS": "300"})

    status, letters = run("status"), run("dead-letters", "list")
    assert (status.exit_code, letters.exit_code) == (0, 1)
    for result in (status, letters):
        assert "refuses the login of 'frameloop'" in result.output
        assert "Traceback" not in result.output
        assert WRONG not in result.output


def test_the_embedded_broker_of_the_service_stays_plaintext() -> None:
    with pytest.raises(ValueError, match="embedded = false"):
        KafkaSettings(security_protocol="SSL")


def test_tls_files_without_tls_or_a_key_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no TLS"):
        KafkaSettings(ssl_ca_file=tmp_path)
    with pytest.raises(ValueError, match="needs ssl_certificate_file"):
        KafkaSettings(embedded=False, security_protocol="SSL", ssl_key_file=tmp_path)
