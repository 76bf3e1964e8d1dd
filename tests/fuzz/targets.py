"""Each target takes arbitrary bytes. It raises where a guarantee does not hold."""

from collections.abc import Callable
from ipaddress import ip_address

from frameloop.adapters.image import verify_image
from frameloop.core.address import AddressPolicy, shown
from frameloop.core.errors import Rejected
from schemas.cloudevents import EventError, decode, encode_binary
from schemas.dead_letter import DETAIL_CHARS_MAX, Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
PIXELS_MAX = 250_000
NAMES = ("content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time")
POLICY = AddressPolicy()
EVENT_REASONS = {Reason.EVENT_NOT_VALID, Reason.EVENT_TOO_LARGE}
IMAGE_REASONS = {reason for reason in Reason if reason.value.startswith("image_")}
URL_REASONS = {Reason.URL_NOT_ALLOWED, Reason.ADDRESS_NOT_ALLOWED}


def event(data: bytes) -> None:
    """Any record is an event that can be sent again unchanged, or an `EventError`.

    Form of the input: header values and the key on lines of their own, then the record's value.
    """
    *lines, value = data.split(b"\n", len(NAMES) + 1)
    headers = [(name, line) for name, line in zip(NAMES, lines, strict=False) if line]
    key = lines[len(NAMES)] if len(lines) > len(NAMES) else None
    try:
        found = decode(key, value, headers)
    except EventError as refused:
        _check_refusal(refused, EVENT_REASONS)
        return
    assert decode(*encode_binary(found)) == found
    for number in found.attributes.values():
        assert not isinstance(number, int) or -(2**63) <= number < 2**63


def image(data: bytes) -> None:
    """Any bytes are a picture within the limits, with true facts, or `Rejected`."""
    try:
        facts = verify_image(data, formats=FORMATS, pixels_max=PIXELS_MAX)
    except Rejected as refused:
        _check_refusal(refused, IMAGE_REASONS)
        return
    assert 0 < facts.width * facts.height <= PIXELS_MAX
    assert facts.format in FORMATS
    assert len(facts.phash) == 16


def url(data: bytes) -> None:
    """Any text is a URL to a public host over http(s) without credentials, or `Rejected`.

    A second line is a redirect from the first.
    """
    text, _, location = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        found = POLICY.url(text)
        _check_url(found)
        if location:
            _check_url(POLICY.redirect(found, location))
    except Rejected as refused:
        _check_refusal(refused, URL_REASONS)


def _check_refusal(refused: EventError | Rejected, reasons: set[Reason]) -> None:
    assert refused.reason in reasons
    assert 0 < len(refused.detail) <= DETAIL_CHARS_MAX
    refused.detail.encode()  # goes into a dead letter, which is UTF-8


def _check_url(found: object) -> None:
    assert hasattr(found, "raw_host")
    assert found.scheme in ("http", "https")
    assert "@" not in found.raw_authority
    assert POLICY.url(str(found)).raw_host == found.raw_host  # what is fetched is what was judged
    assert "?" not in shown(found)
    shown(found).encode()
    try:
        address = ip_address(found.raw_host)
    except ValueError:
        return
    assert POLICY.allows(str(address))


TARGETS: dict[str, Callable[[bytes], None]] = {"event": event, "image": image, "url": url}
