"""When to try a request again, and after how long. Pure: time and chance are passed in.

Guarantees: at most `retries` further attempts; no wait is longer than `backoff_max_s`, whatever a
server asks for; callers that fail together do not come back together.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

_RETRIED_CLIENT_ERRORS = frozenset({408, 425, 429})
_SECONDS_DIGITS_MAX = 9


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` counts the attempts after the first."""

    retries: int
    backoff_base_s: float
    backoff_max_s: float

    def delay_s(self, failures: int, asked_s: float | None, rng: Random) -> float | None:
        """Seconds to wait after the n-th failure (from 1); None: do not try again.

        `asked_s` is what the server or an open breaker asked for. It lengthens the wait, never
        shortens it, and is capped as the back-off is.
        """
        if failures > self.retries:
            return None
        # The exponent is bounded: 2.0**1024 overflows, and the cap is reached long before.
        step = min(self.backoff_max_s, self.backoff_base_s * 2.0 ** min(failures - 1, 60))
        jittered = step * (0.5 + 0.5 * rng.random())
        if asked_s is None or asked_s <= jittered:
            return jittered
        # Jitter comes on top: a hundred callers were told the same second.
        return min(self.backoff_max_s, asked_s + self.backoff_base_s * rng.random())


def status_is_retried(status: int) -> bool:
    """Whether another attempt may be answered differently: 408, 425, 429 and 5xx."""
    return status in _RETRIED_CLIENT_ERRORS or 500 <= status <= 599


def retry_after_s(value: str | None, date: str | None, now_unix_s: float) -> float | None:
    """Seconds that a `Retry-After` header asks for; None when there is none that makes sense.

    A date is counted from the answer's own `Date` header where it has one, so that a clock that
    is wrong, ours or theirs, does not matter. A moment in the past gives 0.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_SECONDS_DIGITS_MAX])
    then = _unix_s(text)
    if then is None:
        return None
    sent = _unix_s(date) if date is not None else None
    return max(0.0, then - (now_unix_s if sent is None else sent))


def _unix_s(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
