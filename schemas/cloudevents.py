"""`ScreenshotEvent` to and from a Kafka record: CloudEvents 1.0, Kafka protocol binding 1.0.2.

What `decode` takes, decided by the headers (names in any case; the last one counts):

1. Structured mode: `content-type: application/cloudevents+json`. The value is one JSON object with
   `specversion`, `id`, `source`, `type`, perhaps `time`, and either `data` (an object) or
   `data_base64` (the same object as base64 of JSON).
2. Binary mode: there is `ce_specversion` or `ce_id`. The attributes are the headers
   `ce_specversion`, `ce_id`, `ce_source`, `ce_type` and perhaps `ce_time`; the value is the data.
   `content-type`, when there is one, must be JSON.
3. Plain JSON: anything else. The value is one flat object: `event_id`, `image_url`, and perhaps
   `source`, `sent_at`, `captured_at`, `caption`, `attributes`. Without `source` the record's key is
   the source.

In 1 and 2 the key is not looked at. Unknown fields and headers are ignored. Of a JSON key given
twice the last counts. Times carry a zone.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NoReturn

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from schemas.dead_letter import Reason
from schemas.event import (
    EVENT_BYTES_MAX,
    EVENT_TYPE,
    SPEC_VERSION,
    Identifier,
    ScreenshotData,
    ScreenshotEvent,
)

JSON = b"application/json"
STRUCTURED = b"application/cloudevents+json"
IDENTIFIER_CHARS_MAX = 256
SHOWN_CHARS_MAX = 60

Headers = Sequence[tuple[str, bytes]]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ENVELOPE_FIELDS = {"event_id", "source", "sent_at"}
_SPEC_VERSION = SPEC_VERSION.encode()
_TYPE = EVENT_TYPE.encode()


class EventError(Exception):
    """The record is no event. `reason` is for the dead letter, `detail` says what to mend."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class _PlainEvent(ScreenshotData):
    event_id: Identifier
    source: Identifier | None = None
    sent_at: AwareDatetime | None = None


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Identifier
    source: Identifier
    type: Literal["frameloop.screenshot.v1"]
    time: AwareDatetime | None = None
    data: ScreenshotData | None = None
    data_base64: str | None = None


def encode_binary(event: ScreenshotEvent) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of the event in binary mode. `decode` gives back an equal event.

    Raises `EventError` when the record would be one that `decode` refuses.
    """
    key = event.source.encode()
    value = event.model_dump_json(exclude=_ENVELOPE_FIELDS, exclude_defaults=True).encode()
    headers = [
        ("ce_specversion", _SPEC_VERSION),
        ("ce_id", event.event_id.encode()),
        ("ce_source", key),
        ("ce_type", _TYPE),
        ("content-type", JSON),
    ]
    if event.sent_at is not None:
        headers.append(("ce_time", _checked_time("sent_at", event.sent_at).isoformat().encode()))
    _check_size(key, value, headers)
    _check_event(event)
    return key, value, headers


def decode(key: bytes | None, value: bytes | None, headers: Headers) -> ScreenshotEvent:
    """The event that a Kafka record carries, in any of the three forms above.

    All text in it is valid UTF-8, `event_id` and `source` hold no control character, and both times
    have a zone and exist in UTC. Raises `EventError`, and nothing else, for every other record.
    """
    _check_size(key, value, headers)
    if not value:
        _refuse("the value is empty; send the event as JSON")
    named = {name.lower(): content for name, content in headers}
    media = (named.get("content-type") or b"").partition(b";")[0].strip().lower()
    if media.startswith(b"application/cloudevents"):
        event = _decode_structured(media, value)
    elif "ce_specversion" in named or "ce_id" in named:
        event = _decode_binary(media, named, value)
    else:
        event = _decode_plain(key, value)
    _check_event(event)
    return event


def _decode_binary(media: bytes, named: dict[str, bytes], value: bytes) -> ScreenshotEvent:
    if media and media != JSON and not media.endswith(b"+json"):
        _refuse(f"content-type {_shown(media)} can't be read; send application/json")
    if named.get("ce_specversion") != _SPEC_VERSION:
        given = _shown(named.get("ce_specversion"))
        _refuse(f"header ce_specversion must be {SPEC_VERSION}, is {given}")
    if named.get("ce_type") != _TYPE:
        _refuse(f"header ce_type must be {EVENT_TYPE}, is {_shown(named.get('ce_type'))}")
    event_id = _identifier("header ce_id", named.get("ce_id"))
    source = _identifier("header ce_source", named.get("ce_source"))
    sent_at = _time_header(named.get("ce_time"))
    try:
        data = ScreenshotData.model_validate_json(value)
    except ValidationError as error:
        _refuse(explain(error))
    return _event(data, event_id, source, sent_at)


def _decode_structured(media: bytes, value: bytes) -> ScreenshotEvent:
    if media != STRUCTURED:
        _refuse(f"content-type {_shown(media)} can't be read; send {STRUCTURED.decode()}")
    try:
        envelope = _Envelope.model_validate_json(value)
        data = envelope.data
        if (data is None) == (envelope.data_base64 is None):
            _refuse("the CloudEvent needs either data (an object) or data_base64")
        if data is None:
            packed = base64.b64decode(envelope.data_base64 or "", validate=True)
            data = ScreenshotData.model_validate_json(packed)
    except ValidationError as error:
        _refuse(explain(error))
    except (binascii.Error, ValueError):
        _refuse("data_base64 is no base64; encode the JSON of the data with the standard alphabet")
    return _event(data, envelope.id, envelope.source, envelope.time)


def _decode_plain(key: bytes | None, value: bytes) -> ScreenshotEvent:
    try:
        plain = _PlainEvent.model_validate_json(value)
    except ValidationError as error:
        _refuse(explain(error))
    source = plain.source
    if source is None:
        source = _identifier("source: not in the JSON, and the record's key", key)
    return _event(plain, plain.event_id, source, plain.sent_at)


def _event(
    data: ScreenshotData, event_id: str, source: str, sent_at: datetime | None
) -> ScreenshotEvent:
    """Put together from parts that are validated already: validating again doubles the cost."""
    return ScreenshotEvent.model_construct(
        image_url=data.image_url,
        captured_at=data.captured_at,
        caption=data.caption,
        attributes=data.attributes,
        event_id=event_id,
        source=source,
        sent_at=sent_at,
    )


def _check_size(key: bytes | None, value: bytes | None, headers: Headers) -> None:
    size = len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name) + len(content or b"")  # a null header arrives as None
    if size > EVENT_BYTES_MAX:
        raise EventError(
            Reason.EVENT_TOO_LARGE,
            f"{size} bytes with key and headers, {EVENT_BYTES_MAX} are allowed; "
            "send the image's URL, not the image",
        )


def _check_event(event: ScreenshotEvent) -> None:
    for name, text in (("event id", event.event_id), ("source", event.source)):
        if _CONTROL.search(text):
            _refuse(
                f"{name} {ascii(text)[:SHOWN_CHARS_MAX]} holds a control character; leave it out"
            )
    if event.captured_at is not None:
        _checked_time("captured_at", event.captured_at)
    if event.sent_at is not None:
        _checked_time("time", event.sent_at)


def _checked_time(name: str, time: datetime) -> datetime:
    """The time, when it has a zone and is within the years 1 to 9999 in UTC as well."""
    if time.tzinfo is None:
        _refuse(f"{name} has no time zone; send it as 2026-01-31T12:00:00Z")
    if time.year in (1, 9999):  # elsewhere a zone's offset can't leave the range
        try:
            time.astimezone(UTC)
        except OverflowError:
            _refuse(f"{name} is outside the years 1 to 9999 in UTC; mend the clock")
    return time


def _time_header(content: bytes | None) -> datetime | None:
    if not content:
        return None
    try:
        return _checked_time("header ce_time", datetime.fromisoformat(content.decode("ascii")))
    except ValueError:
        _refuse(f"header ce_time {_shown(content)} is no time; send it as 2026-01-31T12:00:00Z")


def _identifier(name: str, content: bytes | None) -> str:
    if not content:
        _refuse(f"{name} is missing or empty; send 1 to {IDENTIFIER_CHARS_MAX} characters")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(f"{name} {_shown(content)} is not UTF-8; encode it so")
    if len(text) > IDENTIFIER_CHARS_MAX:
        _refuse(f"{name} has {len(text)} characters, {IDENTIFIER_CHARS_MAX} are allowed")
    return text


def explain(error: ValidationError) -> str:
    """What to mend, from the first error: short, and without the value that was sent."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = [ascii(str(part))[1:-1][:SHOWN_CHARS_MAX] for part in first["loc"]]
    if len(place) > 2 and place[0] == "attributes" and place[2] != "[key]":
        return (
            f"attributes.{place[1]}: must be a boolean, an integer of 64 bits, a finite number, "
            "text of at most 1024 characters or null"
        )
    if first["type"] == "missing":
        return f"{'.'.join(place)} is missing; {EVENT_TYPE} needs it"
    if first["type"] == "json_invalid":
        return f"the value is no JSON in UTF-8: {first['msg'].removeprefix('Invalid JSON: ')}"
    return f"{'.'.join(place) or 'the value'}: {first['msg']}"


def _shown(content: bytes | None) -> str:
    return "missing" if content is None else ascii(content[:SHOWN_CHARS_MAX])[1:]


def _refuse(detail: str) -> NoReturn:
    raise EventError(Reason.EVENT_NOT_VALID, detail)
