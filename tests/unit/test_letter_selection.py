"""Which letters a command means, and that nothing in a letter acts on the terminal."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.errors import SettingsError
from frameloop.core.letter_selection import (
    REPLAY_HEADER,
    Selection,
    identity_text,
    is_intact,
    is_named,
    plan_replay,
    readable,
    replay_headers,
    replay_selection,
    since_ms,
    visible,
)
from schemas.dead_letter import DeadLetter, Reason
from schemas.event import EVENT_BYTES_MAX

NOW = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
HOUR_MS = 3_600_000
NOW_MS = int(NOW.timestamp() * 1000)


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def letter(offset: int, **change: Any) -> DeadLetter:
    values: dict[str, Any] = {
        "topic": "t",
        "topic_id": "id",
        "partition": 0,
        "offset": offset,
        "reason": Reason.TIMED_OUT,
        "detail": "too slow",
        "failed_at_ms": NOW_MS,
        "original_base64": packed(b"{}"),
    }
    return DeadLetter(**values | change)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-02-01T11:00:00Z", NOW_MS - HOUR_MS),
        ("2026-02-01T13:00:00.5+02:00", NOW_MS - HOUR_MS + 500),
        ("90s", NOW_MS - 90_000),
        ("30m", NOW_MS - HOUR_MS // 2),
        ("2h", NOW_MS - 2 * HOUR_MS),
        ("7d", NOW_MS - 7 * 24 * HOUR_MS),
        ("1w", NOW_MS - 7 * 24 * HOUR_MS),
    ],
)
def test_since_is_a_time_with_a_zone_or_a_span_before_now(text: str, ms: int) -> None:
    assert since_ms(text, NOW) == ms


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2y", "yesterday", "999999w", "\x1b[2J"])
def test_another_since_is_an_error_that_says_what_is_allowed(text: str) -> None:
    with pytest.raises(SettingsError, match="span such as") as error:
        since_ms(text, NOW)
    assert "\x1b" not in str(error.value)


def test_a_time_without_a_zone_is_refused_not_guessed() -> None:
    with pytest.raises(SettingsError, match="no time zone"):
        since_ms("2026-02-01T11:00:00", NOW)


def test_a_selection_takes_any_of_its_reasons_from_its_time_on() -> None:
    selection = Selection({Reason.TIMED_OUT, Reason.HOST_NOT_FOUND}, NOW_MS)
    assert selection.takes(letter(0))
    assert not selection.takes(letter(0, failed_at_ms=NOW_MS - 1))
    assert not selection.takes(letter(0, reason=Reason.IMAGE_EMPTY))
    assert Selection().takes(letter(0, failed_at_ms=0))


def test_a_replay_leaves_out_what_the_same_bytes_would_be_again_unless_it_is_named() -> None:
    hopeless = (Reason.EVENT_NOT_VALID, Reason.EVENT_TOO_LARGE)
    for reason in Reason:
        assert replay_selection((), 0).takes(letter(0, reason=reason)) is (reason not in hopeless)
    assert replay_selection([Reason.EVENT_NOT_VALID], 0).takes(
        letter(0, reason=Reason.EVENT_NOT_VALID)
    )


def test_a_letter_that_came_back_stands_for_the_one_that_was_replayed() -> None:
    first = letter(0)
    again = letter(9, headers_base64=replayed_of(first))
    third = letter(12, headers_base64=replayed_of(again))
    plan = plan_replay([first, letter(1), again, third], Selection(), None)
    assert list(plan.chosen) == [("id", 0, 1), ("id", 0, 12)]
    assert plan.superseded == 2


def replayed_of(original: DeadLetter) -> list[tuple[str, str]]:
    return [(name, packed(content)) for name, content in replay_headers(original)]


def test_the_limit_takes_the_oldest() -> None:
    plan = plan_replay([letter(n) for n in range(5)], Selection(), 2)
    assert list(plan.chosen) == [("id", 0, 0), ("id", 0, 1)]


def test_a_letter_is_named_by_its_identity_or_by_its_event() -> None:
    it = letter(7, event_id="e-1")
    assert identity_text(it.identity) == "id/0/7"
    assert all(is_named(it, name) for name in ("id/0/7", "t/0/7", "e-1"))
    assert not any(is_named(it, name) for name in ("id/0/70", "e", "", "0/7"))


def test_a_letter_whose_base64_is_broken_is_not_intact() -> None:
    assert is_intact(letter(0, key_base64=packed(b"\xff")))
    assert not is_intact(letter(0, original_base64="x"))
    assert not is_intact(letter(0, key_base64="x"))
    assert not is_intact(letter(0, headers_base64=[("h", "x")]))


def test_a_replayed_record_has_its_headers_and_one_mark_with_its_place() -> None:
    headers = [("ce_id", b"1"), ("ce_id", b"2"), (REPLAY_HEADER, b"older/0/1")]
    it = letter(7, headers_base64=[(name, packed(content)) for name, content in headers])
    assert replay_headers(it) == [("ce_id", b"1"), ("ce_id", b"2"), (REPLAY_HEADER, b"id/0/7")]


def test_the_mark_never_makes_an_event_too_large() -> None:
    fits = letter(7, original_base64=packed(b"x" * (EVENT_BYTES_MAX - 10)))
    assert replay_headers(fits) == []
    over = letter(7, original_base64=packed(b"x" * (EVENT_BYTES_MAX + 1)))
    assert replay_headers(over)  # too large as it is


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_no_text_of_a_letter_acts_on_the_terminal(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    shown.encode()
    if text.isprintable():
        assert shown == text


@given(st.binary())
def test_any_bytes_can_be_shown(content: bytes) -> None:
    form, text = readable(content)
    assert text.replace("\n", "").replace("\t", "").isprintable()
    if form == "base64":
        assert base64.b64decode(text) == content


def test_bytes_of_a_text_are_shown_as_the_text() -> None:
    assert readable("{\n\t„ü“}".encode()) == ("text", "{\n\t„ü“}")
    assert readable(b"a\x1b]0;title\x07\r") == ("text", "a\\x1b]0;title\\x07\\r")
    assert readable("a\u202eb".encode()) == ("text", "a\\u202eb")
