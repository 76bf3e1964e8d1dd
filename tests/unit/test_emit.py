"""The emitter's promises, with a producer whose answers the test gives."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from pydantic import SecretStr

from frameloop.adapters.kafka_config import client_config
from frameloop.core.errors import BackPressure, FatalError, SettingsError, TransientError
from frameloop.runtime.settings import KafkaSettings
from producers.emit import EmitCounts, EventEmitter, EventsNotSent
from schemas.cloudevents import EventError, decode
from schemas.event import ScreenshotEvent

EVENT = ScreenshotEvent(event_id="e1", source="s1", image_url="http://h/a.jpg")


class FakeSending:
    def __init__(self) -> None:
        self.succeed: Callable[[Any], None] = lambda _: None
        self.fail: Callable[[BaseException], None] = lambda _: None

    def add_callback(self, f: Callable[[Any], None]) -> None:
        self.succeed = f

    def add_errback(self, f: Callable[[BaseException], None]) -> None:
        self.fail = f


class FakeProducer:
    def __init__(self, refusal: Exception | None = None) -> None:
        self.records: list[tuple[bytes | None, bytes, list[tuple[str, bytes]]]] = []
        self.sendings: list[FakeSending] = []
        self.refusal = refusal
        self.closed = False

    def send(
        self, topic: str, *, value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]
    ) -> FakeSending:
        if self.refusal:
            raise self.refusal
        self.records.append((key, value, headers))
        self.sendings.append(FakeSending())
        return self.sendings[-1]

    def flush(self, timeout: float | None = None) -> None:
        """The test settles the sendings."""

    def close(self, timeout: float | None = None) -> None:
        self.closed = True


def test_a_sent_event_decodes_to_itself_with_a_time_of_sending() -> None:
    producer = FakeProducer()
    EventEmitter(producer, "t").send(EVENT)
    sent = decode(*producer.records[0])
    assert sent.sent_at is not None
    assert sent.model_copy(update={"sent_at": None}) == EVENT


def test_flush_returns_only_when_all_is_confirmed() -> None:
    producer = FakeProducer()
    emitter = EventEmitter(producer, "t")
    emitter.send(EVENT)
    with pytest.raises(EventsNotSent, match="1 events"):
        emitter.flush(timeout_s=0)
    producer.sendings[0].succeed(None)
    emitter.flush(timeout_s=0)
    assert emitter.counts == EmitCounts(handed_over=1, confirmed=1, failed=0)


def test_flush_tells_of_a_failed_send_once() -> None:
    producer = FakeProducer()
    emitter = EventEmitter(producer, "t")
    emitter.send(EVENT)
    emitter.send(EVENT)
    producer.sendings[0].fail(KafkaTimeoutError("expired"))
    producer.sendings[1].succeed(None)
    with pytest.raises(EventsNotSent, match="expired") as caught:
        emitter.flush(timeout_s=0)
    emitter.flush(timeout_s=0)
    assert caught.value.count == 1
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert emitter.counts == EmitCounts(handed_over=2, confirmed=1, failed=1)


def test_a_full_buffer_refuses_and_takes_again_after_a_confirmation() -> None:
    producer = FakeProducer()
    emitter = EventEmitter(producer, "t", buffer_bytes_max=1000, block_s_max=0)
    emitter.send_raw(b"x" * 800)
    with pytest.raises(BackPressure):
        emitter.send_raw(b"x" * 800)
    assert emitter.counts.handed_over == 1
    producer.sendings[0].succeed(None)
    emitter.send_raw(b"x" * 800)
    assert len(producer.records) == 2


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (KafkaTimeoutError("no metadata"), TransientError),
        (MessageSizeTooLargeError("large"), FatalError),
        (ValueError("other"), ValueError),
    ],
)
def test_a_refused_send_leaves_nothing_behind(
    refusal: Exception, expected: type[Exception]
) -> None:
    emitter = EventEmitter(FakeProducer(refusal), "t", buffer_bytes_max=1, block_s_max=0)
    for _ in range(2):  # the second finds the room of the first again
        with pytest.raises(expected):
            emitter.send(EVENT)
    emitter.flush(timeout_s=0)
    assert emitter.counts == EmitCounts(0, 0, 0)


def test_an_event_that_consumers_would_refuse_is_not_sent() -> None:
    producer = FakeProducer()
    with pytest.raises(EventError):
        EventEmitter(producer, "t").send(EVENT.model_copy(update={"event_id": "a\nb"}))
    assert producer.records == []


def test_close_lets_go_of_the_connections_after_a_failure_too() -> None:
    producer = FakeProducer()
    emitter = EventEmitter(producer, "t")
    emitter.send(EVENT)
    producer.sendings[0].fail(KafkaTimeoutError("expired"))
    with pytest.raises(EventsNotSent), emitter:
        pass
    assert producer.closed


def sasl(**change: Any) -> KafkaSettings:
    return KafkaSettings(
        embedded=False,
        bootstrap_servers="a:1, b:2",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="me",
        **change,
    )


def test_the_password_reaches_the_client_and_never_a_log() -> None:
    config = client_config(sasl(sasl_password=SecretStr("hush")))
    assert config["sasl_plain_password"] == "hush"
    assert config["bootstrap_servers"] == ["a:1", "b:2"]
    assert "hush" not in f"{config} {config!r}"


def test_the_password_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hush \n")
    assert client_config(sasl(sasl_password_file=path))["sasl_plain_password"] == "hush "


def test_an_unusable_file_is_a_settings_error_that_names_it(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    secret = SecretStr("hush")
    for settings, named in (
        (sasl(sasl_password_file=tmp_path / "absent"), "absent"),
        (sasl(sasl_password_file=empty), "empty"),
        (sasl(sasl_password=secret, sasl_password_file=empty), "either"),
        (sasl(sasl_password=secret, ssl_ca_file=tmp_path / "ca"), "ssl_ca_file"),
    ):
        with pytest.raises(SettingsError, match=named) as caught:
            client_config(settings)
        assert "hush" not in str(caught.value)


def test_plaintext_needs_no_credentials() -> None:
    assert client_config(KafkaSettings()) == {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "request_timeout_ms": 15_000,
        "bootstrap_timeout_ms": 15_000,
        "security_protocol": "PLAINTEXT",
    }
