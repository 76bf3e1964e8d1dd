"""Every record is either an event or an `EventError`, and what is encoded decodes to the same."""

import base64
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import EventError, decode, encode_binary
from schemas.dead_letter import DETAIL_CHARS_MAX, Reason
from schemas.event import EVENT_BYTES_MAX, ScreenshotEvent

STRUCTURED = [("content-type", b"application/cloudevents+json; charset=utf-8")]
BINARY = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e1"),
    ("ce_source", b"s1"),
    ("ce_type", b"frameloop.screenshot.v1"),
]
DATA: dict[str, Any] = {"image_url": "http://h/a.jpg", "attributes": {"game": "Doom", "health": 87}}
ENVELOPE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "s1",
    "type": "frameloop.screenshot.v1",
}
PLAIN: dict[str, Any] = {"event_id": "e1", "source": "s1", **DATA}

UTF8 = st.characters(codec="utf-8")
NO_CONTROL = st.characters(codec="utf-8", exclude_categories=["Cc"])
identifiers = st.text(NO_CONTROL, min_size=1, max_size=256)
texts = st.text(UTF8, max_size=200)
attribute_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
times = st.datetimes(
    min_value=datetime(1970, 1, 2), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)
)
events = st.builds(
    ScreenshotEvent,
    event_id=identifiers,
    source=identifiers,
    sent_at=st.none() | times,
    image_url=st.text(UTF8, min_size=1, max_size=300),
    captured_at=st.none() | times,
    caption=st.none() | st.text(UTF8, min_size=1),
    attributes=st.dictionaries(
        st.text(UTF8, min_size=1, max_size=64),
        attribute_values,
        max_size=8,
    ),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = (
    scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)
)
complete: dict[str, Any] = {**ENVELOPE, **PLAIN, "data": DATA, "data_base64": "e30="}
near_events = st.builds(
    lambda dropped, changes: json.dumps(
        {k: v for k, v in (complete | changes).items() if k not in dropped}
    ).encode(),
    st.sets(st.sampled_from(sorted(complete)), max_size=3),
    st.dictionaries(st.sampled_from(sorted(complete)), json_values, max_size=3),
)
header_lists = st.lists(
    st.tuples(
        st.sampled_from([name for name, _ in BINARY] + ["ce_time", "content-type", "x"]),
        st.binary(max_size=30) | st.sampled_from([v for _, v in BINARY + STRUCTURED]),
    )
)


def refusal(key: bytes | None, value: bytes | None, headers: Any = ()) -> EventError:
    with pytest.raises(EventError) as caught:
        decode(key, value, headers)
    return caught.value


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


@given(events)
def test_decode_gives_back_what_was_encoded(event: ScreenshotEvent) -> None:
    assert decode(*encode_binary(event)) == event


@given(
    st.none() | st.binary(max_size=300),
    st.none() | st.binary(max_size=400) | near_events,
    header_lists,
)
def test_any_record_is_an_event_or_an_event_error(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    outcome: ScreenshotEvent | EventError
    try:
        outcome = decode(key, value, headers)
    except EventError as refused:
        outcome = refused
    if isinstance(outcome, EventError):
        assert outcome.reason in (Reason.EVENT_NOT_VALID, Reason.EVENT_TOO_LARGE)
        assert 0 < len(outcome.detail.encode()) <= DETAIL_CHARS_MAX
    else:
        assert ScreenshotEvent.model_validate(outcome.model_dump()) == outcome
        assert encode_binary(outcome)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (as_bytes(DATA), BINARY),
        (as_bytes({**ENVELOPE, "data": DATA}), STRUCTURED),
        (
            as_bytes({**ENVELOPE, "data_base64": base64.b64encode(as_bytes(DATA)).decode()}),
            STRUCTURED,
        ),
        (as_bytes(PLAIN), []),
        (as_bytes(PLAIN), [("content-type", b"application/json")]),
    ],
    ids=["binary", "structured", "structured-base64", "plain", "plain-json"],
)
def test_the_three_forms_give_the_same_event(value: bytes, headers: Any) -> None:
    event = decode(b"another key", value, headers)
    assert event == ScreenshotEvent(event_id="e1", source="s1", **DATA)


def test_plain_json_without_source_takes_the_key_as_source() -> None:
    value = as_bytes({"event_id": "e1", **DATA})
    assert decode("spiel-ü".encode(), value, []).source == "spiel-ü"
    for key in (None, b"", b"\xff\xfe", b"k" * 257, b"tab\t"):
        assert "source" in refusal(key, value).detail


def test_header_names_count_in_any_case() -> None:
    headers = [(name.upper(), content) for name, content in BINARY]
    assert decode(None, as_bytes(DATA), headers).event_id == "e1"


def test_nulls_of_kafka_are_refused_not_crashed_on() -> None:
    assert "empty" in refusal(b"k", None).detail
    null_header: Any = [("ce_id", None), *BINARY[2:]]
    assert "ce_specversion" in refusal(None, as_bytes(DATA), null_header).detail


@pytest.mark.parametrize(
    "record",
    [
        (None, b" " * (EVENT_BYTES_MAX + 1), ()),
        (b"k" * EVENT_BYTES_MAX, as_bytes(PLAIN), ()),
        (None, as_bytes(PLAIN), (("x", b"h" * EVENT_BYTES_MAX),)),
        (None, as_bytes(PLAIN), (("x" * EVENT_BYTES_MAX, b""),)),
    ],
    ids=["value", "key", "header", "header-name"],
)
def test_size_counts_value_key_and_headers(record: tuple[Any, Any, Any]) -> None:
    assert refusal(*record).reason is Reason.EVENT_TOO_LARGE


@pytest.mark.parametrize(
    ("attributes", "part"),
    [
        (b'{"a":NaN}', "attributes.a"),
        (b'{"a":1e999}', "attributes.a"),
        (b'{"a":[1]}', "attributes.a"),
        (b'{"a":9223372036854775808}', "attributes.a"),
        (b'{"a":-9223372036854775809}', "attributes.a"),
        (b'{"a":' + b"9" * 5000 + b"}", "JSON"),
        (b'{"a":"\\ud800"}', "JSON"),
        (b'{"\\udfff":1}', "JSON"),
        (b'{"a":"\xed\xa0\x80"}', "JSON"),
        (b"[" * 30_000, "JSON"),
        (b'{"a":' * 10_000, "JSON"),
    ],
    ids=[
        "nan",
        "infinity",
        "list",
        "above-int64",
        "below-int64",
        "huge-int",
        "surrogate",
        "surrogate-name",
        "cesu",
        "deep",
        "deep-object",
    ],
)
def test_hostile_json_is_refused_with_a_short_detail(attributes: bytes, part: str) -> None:
    value = b'{"event_id":"e","source":"s","image_url":"u","attributes":' + attributes + b"}"
    error = refusal(None, value)
    assert error.reason is Reason.EVENT_NOT_VALID
    assert part in error.detail
    assert len(error.detail) < 200


def test_of_a_key_given_twice_the_last_counts() -> None:
    value = b'{"event_id":"e","source":"s","image_url":"first","image_url":"last"}'
    assert decode(None, value, []).image_url == "last"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ([("ce_id", b"e1")], "ce_specversion"),
        ([("ce_specversion", b"0.3"), *BINARY[1:]], "ce_specversion"),
        ([*BINARY, ("ce_type", b"other.v1")], "ce_type"),
        ([*BINARY, ("ce_id", b"")], "ce_id"),
        ([*BINARY, ("ce_id", b"a\nb")], "event id"),
        ([*BINARY, ("ce_source", b"\xff")], "ce_source"),
        ([*BINARY, ("ce_time", b"2026-01-31T12:00:00")], "ce_time"),
        ([*BINARY, ("ce_time", b"yesterday")], "ce_time"),
        ([*BINARY, ("content-type", b"application/avro")], "content-type"),
        ([("content-type", b"application/cloudevents-batch+json")], "content-type"),
    ],
)
def test_a_wrong_attribute_is_named(headers: Any, named: str) -> None:
    assert named in refusal(None, as_bytes(DATA), headers).detail


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_url": ""}, "image_url"),
        ({"captured_at": "2026-01-31T12:00:00"}, "captured_at"),
        ({"captured_at": "9999-12-31T23:59:59-14:00"}, "captured_at"),
        ({"captured_at": "0001-01-01T00:00:00+14:00"}, "captured_at"),
        ({"sent_at": "2026-01-31T12:00:00"}, "sent_at"),
        ({"event_id": "\x00"}, "event id"),
        ({"attributes": {f"a{i}": i for i in range(65)}}, "attributes"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], named: str) -> None:
    assert named in refusal(None, as_bytes({**PLAIN, **change})).detail


def test_structured_mode_needs_exactly_one_form_of_data() -> None:
    for data in ({}, {"data": DATA, "data_base64": "e30="}, {"data_base64": "%%%"}):
        assert "data_base64" in refusal(None, as_bytes({**ENVELOPE, **data}), STRUCTURED).detail


def test_encode_refuses_what_decode_would_refuse() -> None:
    large = ScreenshotEvent(
        event_id="e",
        source="s",
        image_url="u",
        attributes={f"a{i}": "x" * 1024 for i in range(64)},
    )
    naive = ScreenshotEvent(event_id="e", source="s", image_url="u", sent_at=datetime(2026, 1, 1))
    control = ScreenshotEvent(event_id="e\n", source="s", image_url="u")
    reasons = []
    for event in (large, naive, control):
        with pytest.raises(EventError) as caught:
            encode_binary(event)
        reasons.append(caught.value.reason)
    assert reasons == [Reason.EVENT_TOO_LARGE, Reason.EVENT_NOT_VALID, Reason.EVENT_NOT_VALID]


def test_an_event_error_survives_pickling() -> None:
    error = EventError(Reason.EVENT_NOT_VALID, "mend it")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.detail, str(again)) == (error.reason, error.detail, str(error))
