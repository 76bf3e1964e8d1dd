"""What could not become a row, with its reason: the value of the dead-letter topic."""

import base64
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

DETAIL_CHARS_MAX = 512


class Reason(StrEnum):
    """Closed list of reasons. Each member's comment is its meaning in `docs/dead-letters.md`."""

    EVENT_NOT_VALID = "event_not_valid"  # not JSON, wrong type, or against the event schema
    EVENT_TOO_LARGE = "event_too_large"  # more bytes than an event may have
    URL_NOT_ALLOWED = "url_not_allowed"  # scheme other than http(s), credentials, or no host
    ADDRESS_NOT_ALLOWED = "address_not_allowed"  # private, loopback, link-local … address
    HOST_NOT_FOUND = "host_not_found"  # the name does not resolve
    CONNECTION_FAILED = "connection_failed"  # refused, reset or TLS failure, after retries
    TIMED_OUT = "timed_out"  # no complete answer in time, after retries
    HTTP_CLIENT_ERROR = "http_client_error"  # 4xx other than 408, 425 and 429
    HTTP_SERVER_ERROR = "http_server_error"  # 5xx, 408, 425 or 429, after retries
    HTTP_ANSWER_BROKEN = "http_answer_broken"  # body cut off, bad encoding or malformed answer
    REDIRECTS_EXCEEDED = "redirects_exceeded"  # more redirects than allowed, or a loop
    ROBOTS_DENIED = "robots_denied"  # X-Robots-Tag: noai, noimageai or noindex
    IMAGE_TOO_LARGE = "image_too_large"  # more bytes than an image may have
    IMAGE_TOO_MANY_PIXELS = "image_too_many_pixels"  # refused before decoding
    IMAGE_EMPTY = "image_empty"  # an answer without a byte
    IMAGE_NOT_RECOGNISED = "image_not_recognised"  # the bytes are no image format that is allowed
    IMAGE_DAMAGED = "image_damaged"  # truncated, or it does not decode
    IMAGE_ANIMATED = "image_animated"  # more than one frame


LetterIdentity = tuple[str, int, int]
"""Topic id, partition and offset of the original record."""


class DeadLetter(BaseModel):
    """One event that became no row.

    `topic_id`, `partition` and `offset` name the original record and identify the letter: a letter
    may be delivered twice, with the same three values. `original` holds the original bytes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    topic_id: str = ""
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    reason: Reason
    detail: Annotated[str, StringConstraints(max_length=DETAIL_CHARS_MAX)]
    failed_at_ms: int = Field(description="Unix time in milliseconds.")
    event_id: str | None = None
    source: str | None = None
    key_base64: str | None = None
    original_base64: str = Field(description="The record's value, unchanged.")
    headers_base64: list[tuple[str, str]] = Field(default_factory=list)

    @property
    def original(self) -> bytes:
        return base64.b64decode(self.original_base64)

    @property
    def identity(self) -> LetterIdentity:
        return self.topic_id or self.topic, self.partition, self.offset
