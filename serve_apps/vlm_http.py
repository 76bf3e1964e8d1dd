"""The HTTP side of asking a model: what may be taken from a server, and what its failures mean."""

import enum
import time
from collections.abc import AsyncIterator

import httpx2
import openai
from openai import AsyncOpenAI, Omit
from pydantic import SecretStr

from frameloop.core.retry import retry_after_s
from serve_apps.vlm_text import one_line

ANSWER_BYTES_MAX = 4 << 20
CONNECT_TIMEOUT_S = 10.0
SAID_CHARS_MAX = 200
NO_KEY = "none"
"""The client wants one. It is not sent: see `headers`."""


class Fault(enum.Enum):
    """Who is to blame for a failed attempt; the value is the metric's outcome."""

    REQUEST = "refused"
    """This request, or all of them: the server does not take it."""
    SETTINGS = "misconfigured"
    """The key, the model's name, the address: no request will be taken."""
    RATE = "rate_limited"
    AWAY = "unreachable"
    UNCLEAR = "failed"
    """The server, or this image, on which it fails each time."""

    @property
    def retried(self) -> bool:
        return self in (Fault.RATE, Fault.AWAY, Fault.UNCLEAR)


class AttemptError(Exception):
    """One attempt failed. Stays in this package."""

    def __init__(self, fault: Fault, what: str, asked_s: float | None = None) -> None:
        super().__init__(fault, what, asked_s)
        self.fault = fault
        self.what = what
        self.asked_s = asked_s
        """Seconds that the server asked to wait."""


def make_client(base_url: str, key: SecretStr | None, timeout_s: float) -> AsyncOpenAI:
    """A client that follows no redirect, takes a bounded answer and does not retry by itself.

    Ours are the retries, since the client's ignore a `Retry-After` above a minute, and each attempt
    must wait for its turn and be counted. Proxies of the environment are used, as by any client.
    """
    timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    return AsyncOpenAI(
        base_url=base_url,
        api_key=key.get_secret_value() if key else NO_KEY,
        timeout=timeout,  # to both: it would take one that equals httpx2's default for none
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(
            follow_redirects=False,  # to wherever: images and key would go there, too
            timeout=timeout,
            event_hooks={"response": [_bound]},
        ),
    )


def headers(key: SecretStr | None) -> dict[str, str | Omit]:
    """Nothing of the environment (`OPENAI_ORG_ID`, …) is sent to a server that it isn't meant for."""
    own: dict[str, str | Omit] = {
        "Accept-Encoding": "identity",  # `_bound` counts what comes, not what it unpacks to
        "OpenAI-Organization": Omit(),
        "OpenAI-Project": Omit(),
    }
    return own if key else {**own, "Authorization": Omit()}


def failure_of(error: openai.APIError, key: SecretStr | None) -> AttemptError:
    """What the client's error means. The message quotes the server, never the key."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, key)
    cause = error.__cause__
    if isinstance(error, openai.APIConnectionError):
        name = type(cause).__name__ if cause else "connection error"
        away = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
        if isinstance(cause, away):
            return AttemptError(Fault.AWAY, f"can't be reached ({name})")
        return AttemptError(Fault.UNCLEAR, f"the exchange broke off ({name})")
    return AttemptError(Fault.UNCLEAR, f"the client failed ({type(error).__name__})")


def _of_status(error: openai.APIStatusError, key: SecretStr | None) -> AttemptError:
    status, answer = error.status_code, error.response
    asked_s = retry_after_s(
        answer.headers.get("retry-after"), answer.headers.get("date"), time.time()
    )
    said = f"HTTP {status}"
    if status not in (401, 403):  # those quote keys
        said = f"{said}: {_quoted(error, key)}"
    if status == 429:
        return AttemptError(Fault.RATE, said, asked_s)
    if status in (400, 413, 422):
        return AttemptError(Fault.REQUEST, said)
    if status in (408, 409, 425) or status >= 500:
        return AttemptError(Fault.UNCLEAR, said, asked_s)
    return AttemptError(Fault.SETTINGS, said)


def _quoted(error: openai.APIStatusError, key: SecretStr | None) -> str:
    body = error.body
    message = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    text = str(message or "")[:4_000]
    if key:
        text = text.replace(key.get_secret_value(), "[key]")
    return one_line(text, SAID_CHARS_MAX) or "without a message"


async def _bound(response: httpx2.Response) -> None:
    """Puts a bound on the body before it is read."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.DecodingError("the answer is compressed, which was not asked for")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > ANSWER_BYTES_MAX:
                raise httpx2.ReadError(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
