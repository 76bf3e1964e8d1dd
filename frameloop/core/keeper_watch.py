"""Is the keeper at work? Judged from questions and answers alone; the clock is passed in."""

from dataclasses import dataclass
from enum import Enum

SILENT_SECONDS_MAX = 30.0
START_SECONDS_MAX = 240.0
"""A keeper that starts reads the ids of all rows first: about 3 s for each million."""
GONE_SECONDS_MAX = 600.0
"""More than one keeper has been started in vain by then."""


class Verdict(Enum):
    FINE = "fine"
    SILENT = "silent"
    """This keeper does not answer: start another."""
    GONE = "gone"
    """No keeper has answered for long: somebody must look."""


@dataclass(slots=True)
class KeeperWatch:
    """Seconds count from a question that is open, never from a time when nobody asked."""

    silent_seconds_max: float = SILENT_SECONDS_MAX
    start_seconds_max: float = START_SECONDS_MAX
    gone_seconds_max: float = GONE_SECONDS_MAX
    _is_starting: bool = False
    _asked_at: float | None = None
    _waiting_since: float | None = None

    def asked(self, now: float) -> None:
        """A question went out."""
        self._asked_at = now
        if self._waiting_since is None:
            self._waiting_since = now

    def answered(self) -> None:
        """The keeper has answered."""
        self._asked_at = self._waiting_since = None
        self._is_starting = False

    def failed(self) -> None:
        """The question was lost with a keeper that died, or was given up: another one starts."""
        self._asked_at = None
        self._is_starting = True

    def verdict(self, now: float) -> Verdict:
        if self._waiting_since is not None and now - self._waiting_since > self.gone_seconds_max:
            return Verdict.GONE
        allowed = self.start_seconds_max if self._is_starting else self.silent_seconds_max
        if self._asked_at is not None and now - self._asked_at > allowed:
            return Verdict.SILENT
        return Verdict.FINE
