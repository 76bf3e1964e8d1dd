"""One HTTP exchange: request, headers, body. Judges the answer; repeats nothing.

Bytes are counted as they come in, and again as they are unpacked: never more than `bytes_max` are
held. Messages are made here, never taken from aiohttp's errors, which quote URLs with their query.
"""

import asyncio
import errno
import ssl
import time
import zlib
from dataclasses import dataclass
from socket import EAI_AGAIN, EAI_FAIL, EAI_SYSTEM
from typing import Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from frameloop.core.errors import Rejected, TransientError
from frameloop.core.retry import retry_after_s, status_is_retried
from frameloop.core.robots import denying_directive
from schemas.dead_letter import Reason

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WITH_BODY = frozenset({200, 203})
_UNPACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = 47  # zlib's code for: tell by the header which of the two it is

# Want of our own machine. No event is to blame, so none may become a dead letter for it.
_LOCAL_ERRORS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)
_TEMPORARY_LOOKUP_ERRORS = frozenset({EAI_AGAIN, EAI_FAIL, EAI_SYSTEM})


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """`robot`: heed `X-Robots-Tag` under this name; None: don't look at it."""

    bytes_max: int
    robot: str | None


class Meter(Protocol):
    """Is told of each byte that is held, and may raise: the exchange ends with what it raises."""

    def clear(self) -> None:
        """A new attempt begins; what was held before is not held any more."""

    def take(self, size: int) -> None:
        """So many bytes more are held."""


class Unmetered:
    """For whoever has no bound but the one of each image."""

    def clear(self) -> None:
        """Nothing is counted."""

    def take(self, size: int) -> None:
        """Nothing is counted."""


@dataclass(frozen=True, slots=True)
class Body:
    status: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str


class AttemptError(Exception):
    """The exchange failed in a way that another may not, unless `retried` is False.

    `host_failed`: count it against the host. `asked_s`: seconds that the server wants to be left.
    """

    def __init__(
        self,
        reason: Reason,
        what: str,
        *,
        retried: bool = True,
        host_failed: bool = True,
        asked_s: float | None = None,
    ) -> None:
        super().__init__(reason, what)
        self.reason = reason
        self.what = what
        self.retried = retried
        self.host_failed = host_failed
        self.asked_s = asked_s


@dataclass(frozen=True, slots=True)
class Within:
    """What one exchange may take: time, and bytes by the meter."""

    timeout: aiohttp.ClientTimeout
    meter: Meter


async def exchange(
    session: aiohttp.ClientSession, url: URL, limits: AnswerLimits, within: Within
) -> Body | Redirect:
    """Fetch once. The URL has been checked, and the session connects to checked addresses only.

    Raises `Rejected` (final), `AttemptError`, or `TransientError` when this machine has run out
    of sockets or memory, or whatever the meter raises.
    """
    within.meter.clear()
    try:
        async with session.get(url, allow_redirects=False, timeout=within.timeout) as response:
            if response.status in _WITH_BODY:
                return await _image(response, limits, within.meter)
            return _redirect(response)
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        raise _explained(error) from None


async def _image(response: aiohttp.ClientResponse, limits: AnswerLimits, meter: Meter) -> Body:
    if limits.robot is not None:
        denied = denying_directive(response.headers.getall("X-Robots-Tag", ()), limits.robot)
        if denied is not None:
            raise Rejected(Reason.ROBOTS_DENIED, f"X-Robots-Tag: {denied}")
    if (response.content_length or 0) > limits.bytes_max:
        raise _too_large(limits.bytes_max)
    data = await _read(response.content, limits.bytes_max, meter)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        data = await _unpacked(data, encoding, limits.bytes_max)
        meter.take(len(data))
    if not data:
        raise Rejected(Reason.IMAGE_EMPTY, "an answer without a byte")
    return Body(response.status, data)


async def _read(content: aiohttp.StreamReader, bytes_max: int, meter: Meter) -> bytes:
    parts, size = [], 0
    while part := await content.readany():
        size += len(part)
        if size > bytes_max:
            raise _too_large(bytes_max)
        meter.take(len(part))
        parts.append(part)
    return b"".join(parts)


async def _unpacked(data: bytes, encoding: str, bytes_max: int) -> bytes:
    """For servers that compress although identity was asked for. Not on the common path."""
    if encoding not in _UNPACKED:
        shown = encoding[:40].encode("ascii", "replace").decode()
        raise Rejected(Reason.HTTP_ANSWER_BROKEN, f"Content-Encoding {shown!r} was not asked for")
    # In a thread: up to `bytes_max` come out, however little went in.
    return await asyncio.to_thread(_inflated, data, bytes_max)


def _inflated(data: bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        inflated = stream.decompress(data, bytes_max + 1)
    except zlib.error:
        raise AttemptError(Reason.HTTP_ANSWER_BROKEN, "compressed body is damaged") from None
    if len(inflated) > bytes_max:
        raise _too_large(bytes_max)
    if not stream.eof:
        raise AttemptError(Reason.HTTP_ANSWER_BROKEN, "compressed body is cut off")
    return inflated


def _redirect(response: aiohttp.ClientResponse) -> Redirect:
    """The one answer without an image that is of use. All others are raised."""
    status, headers = response.status, response.headers
    if status in _REDIRECTS and "Location" in headers:
        return Redirect(headers["Location"])
    if status_is_retried(status):
        asked_s = retry_after_s(headers.get("Retry-After"), headers.get("Date"), time.time())
        raise AttemptError(Reason.HTTP_SERVER_ERROR, f"status {status}", asked_s=asked_s)
    if 400 <= status <= 499:
        raise Rejected(Reason.HTTP_CLIENT_ERROR, f"status {status}")
    if status in (204, 205):
        raise Rejected(Reason.IMAGE_EMPTY, f"status {status}")
    raise Rejected(Reason.HTTP_ANSWER_BROKEN, f"status {status} brings no image")


def _too_large(bytes_max: int) -> Rejected:
    return Rejected(Reason.IMAGE_TOO_LARGE, f"more than {bytes_max} bytes")


def _explained(error: Exception) -> Exception:
    """What the caller shall raise. The order matters: aiohttp's errors are of several kinds."""
    number = getattr(error, "errno", None)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        temporary = number in _TEMPORARY_LOOKUP_ERRORS
        return AttemptError(
            Reason.HOST_NOT_FOUND, "no such host", retried=temporary, host_failed=False
        )
    if isinstance(error, TimeoutError):
        return AttemptError(Reason.TIMED_OUT, "no complete answer in time")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return AttemptError(Reason.CONNECTION_FAILED, "certificate refused", retried=False)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Rejected(Reason.URL_NOT_ALLOWED, "malformed URL")
    if isinstance(error, OSError) and number in _LOCAL_ERRORS:
        return TransientError(f"this machine can't connect: {errno.errorcode[number]}")
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        name = errno.errorcode.get(number, "") if isinstance(number, int) else ""
        return AttemptError(
            Reason.CONNECTION_FAILED, f"connection failed: {name or type(error).__name__}"
        )
    return AttemptError(Reason.HTTP_ANSWER_BROKEN, f"broken answer: {type(error).__name__}")
