"""`frameloop dead-letters` against a real Kafka."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from frameloop.adapters.event_source import topic_id_of
from frameloop.cli.app import app
from frameloop.runtime.settings import KafkaSettings
from producers.emit import EventEmitter
from schemas.dead_letter import DeadLetter, Reason
from tests.accounts import read_all

NOW_MS = int(datetime.now(UTC).timestamp() * 1000)
HOUR_MS = 3_600_000
HEADERS = [("ce_id", b"e"), ("x", b"\xff\x00"), ("ce_id", b"twice")]
Run = Callable[..., Result]


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture
def config(kafka_settings: KafkaSettings, tmp_path: Path) -> Path:
    path = tmp_path / "frameloop.toml"
    path.write_text(
        f'data_dir = "{tmp_path / "data"}"\n[kafka]\nembedded = false\n'
        f'bootstrap_servers = "{kafka_settings.bootstrap_servers}"\n'
        f'topic = "{kafka_settings.topic}"\n'
        f'dead_letter_topic = "{kafka_settings.dead_letter_topic}"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def run(config: Path) -> Run:
    def run(*words: object, answer: str | None = None) -> Result:
        arguments = ["dead-letters", *map(str, words), "--config", str(config)]
        return CliRunner().invoke(app, arguments, input=answer, env={"COLUMNS": "200"})

    return run


def letter(offset: int, reason: Reason = Reason.TIMED_OUT, **change: Any) -> DeadLetter:
    values: dict[str, Any] = {
        "topic": "t",
        "topic_id": "id",
        "partition": 1,
        "offset": offset,
        "reason": reason,
        "detail": "detail",
        "failed_at_ms": NOW_MS,
        "event_id": f"e-{offset}",
        "original_base64": packed(b"value %d" % offset),
        "key_base64": packed(b"key"),
        "headers_base64": [(name, packed(content)) for name, content in HEADERS],
    }
    return DeadLetter(**values | change)


def write(settings: KafkaSettings, *letters: DeadLetter | bytes) -> None:
    to = settings.model_copy(update={"topic": settings.dead_letter_topic})
    with EventEmitter.connect(to) as emitter:
        for each in letters:
            value = each if isinstance(each, bytes) else each.model_dump_json().encode()
            emitter.send_raw(value, key=b"one partition")


def events_of(settings: KafkaSettings) -> list[Any]:
    return read_all(settings.bootstrap_servers, settings.topic)


def test_a_replay_sends_the_original_record_unchanged_with_its_place(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    write(
        kafka_settings, letter(3, original_base64=packed(b"\xff\x00{}")), letter(4, key_base64=None)
    )
    result = run("replay")
    assert result.exit_code == 0, result.output
    by_value = {record.value: record for record in events_of(kafka_settings)}
    assert set(by_value) == {b"\xff\x00{}", b"value 4"}
    record = by_value[b"\xff\x00{}"]
    assert record.key == b"key"
    assert by_value[b"value 4"].key is None
    assert list(record.headers) == [*HEADERS, ("frameloop-replay-of", b"id/1/3")]
    assert "2 timed_out" in result.output
    assert f"2 records sent again to {kafka_settings.topic}" in result.output


def test_a_letter_that_kafka_holds_twice_is_sent_once(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    write(kafka_settings, letter(3), letter(4), letter(3))
    assert json.loads(run("replay", "--json").stdout)["sent"] == 2
    assert len(events_of(kafka_settings)) == 2


def test_a_replay_in_vain_does_not_double_the_next_one(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    write(kafka_settings, letter(3))
    run("replay")
    (came,) = events_of(kafka_settings)
    topic_id = topic_id_of(kafka_settings, kafka_settings.topic)
    headers = [(name, packed(content)) for name, content in came.headers]
    write(kafka_settings, letter(0, topic_id=topic_id, headers_base64=headers))
    found = json.loads(run("replay", "--json").stdout)
    assert (found["sent"], found["superseded"]) == (1, 1)
    second = events_of(kafka_settings)[-1]
    assert [v for n, v in second.headers if n == "frameloop-replay-of"] == [
        f"{topic_id}/1/0".encode()
    ]


def test_only_the_reasons_and_times_asked_for_are_listed_and_replayed(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    write(
        kafka_settings,
        letter(1, Reason.EVENT_NOT_VALID),
        letter(2, Reason.EVENT_TOO_LARGE),
        letter(3, Reason.HTTP_SERVER_ERROR, failed_at_ms=NOW_MS - 3 * HOUR_MS),
        letter(4, Reason.HTTP_SERVER_ERROR),
        letter(5),
    )

    def would(*words: str) -> dict[str, int]:
        found = json.loads(run("replay", "--dry-run", "--json", *words).stdout)
        assert found["would_send"] == sum(found["reasons"].values())
        return dict(found["reasons"])

    def listed(*words: str) -> list[int]:
        lines = run("list", "--json", *words).stdout.splitlines()
        return [json.loads(line)["offset"] for line in lines]

    assert would() == {"http_server_error": 2, "timed_out": 1}
    assert would("--reason", "event_not_valid") == {"event_not_valid": 1}
    assert would("--since", "2h") == {"http_server_error": 1, "timed_out": 1}
    assert would("--limit", "1") == {"http_server_error": 1}
    assert listed() == [1, 2, 3, 4, 5]
    assert listed("--reason", "http_server_error", "--since", "2h") == [4]
    assert listed("--reason", "timed_out", "--reason", "event_too_large") == [2, 5]
    assert listed("--limit", "2") == [4, 5]
    assert events_of(kafka_settings) == []  # a dry run sends nothing


def test_more_than_a_hundred_are_sent_only_when_somebody_says_yes(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    write(kafka_settings, *(letter(n) for n in range(101)))
    for answer in ("n\n", ""):
        refused = run("replay", answer=answer)
        assert refused.exit_code == 1
        assert "101 records" in refused.output
    assert events_of(kafka_settings) == []
    assert run("replay", "--limit", 100).exit_code == 0
    assert run("replay", answer="y\n").exit_code == 0
    assert run("replay", "--yes").exit_code == 0
    assert len(events_of(kafka_settings)) == 100 + 101 + 101


def test_an_unknown_reason_or_time_is_an_error_that_lists_what_is_valid(run: Run) -> None:
    for command in ("list", "replay"):
        wrong = run(command, "--reason", "bad_luck")
        assert wrong.exit_code == 2
        assert "image_damaged" in wrong.output
        wrong = run(command, "--since", "yesterday")
        assert wrong.exit_code == 2
        assert "2h" in wrong.output


def test_show_prints_the_letter_and_its_bytes_with_nothing_that_acts_on_a_terminal(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    hostile = letter(
        3,
        detail="\x1b[2J[/red] detail",
        original_base64=packed(b'{"caption": "\x1b]0;owned\x07\xe2\x80\xae"}'),
    )
    write(kafka_settings, hostile, letter(4, original_base64=packed(b"\xff\x00\x01")))
    result = run("show", "id/1/3")
    assert result.exit_code == 0, result.output
    assert result.output == run("show", "e-3").output == run("show", "t/1/3").output
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert '{"caption": "\\x1b]0;owned\\x07\\u202e"}' in result.output
    assert "[/red] detail" in result.output
    for part in ("timed_out", "id/1/3", "ce_id: twice", "/wA= (base64)"):
        assert part in result.output
    assert "original, 3 bytes as base64:\n/wAB\n" in run("show", "e-4").output
    exact = json.loads(run("show", "e-3", "--json").stdout)
    assert DeadLetter.model_validate(exact) == hostile
    listed = run("list")
    assert listed.exit_code == 0
    assert "\x1b[2J" not in listed.output
    assert "[/red] detail" in listed.output


def test_show_takes_the_newest_of_an_event_and_tells_of_the_others(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    write(kafka_settings, letter(3, event_id="e"), letter(9, event_id="e"))
    output = run("show", "e").output
    assert "id/1/9" in output
    assert "1 older" in output
    missing = run("show", "f\x1b")
    assert missing.exit_code == 1
    assert "no dead letter is f\\x1b" in missing.output


def test_messages_of_others_and_broken_letters_are_passed_over(
    run: Run, kafka_settings: KafkaSettings
) -> None:
    broken = json.loads(letter(3).model_dump_json()) | {"original_base64": "x"}
    write(kafka_settings, b"\xff", b"{}", json.dumps(broken).encode(), letter(4))
    assert json.loads(run("replay", "--json").stdout)["sent"] == 1


def test_a_topic_that_is_not_there_is_one_clear_line(
    kafka_settings: KafkaSettings, config: Path, run: Run
) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(kafka_settings.dead_letter_topic, "no-such"), encoding="utf-8")
    for words in (("list",), ("show", "x"), ("replay",)):
        result = run(*words)
        assert result.exit_code == 1
        assert "there is no topic no-such" in result.output
