"""Is the keeper at work? Judged from questions and answers alone; the clock is passed in."""

from dataclasses import dataclass
from enum import Enum

SILENT_SECONDS_MAX = 30.0
GONE_SECONDS_MAX = 180.0
"""Several keepers have been started in vain by then."""


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
    gone_seconds_max: float = GONE_SECONDS_MAX
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

    def failed(self) -> None:
        """The question was lost with a keeper that died, or was given up."""
        self._asked_at = None

    def verdict(self, now: float) -> Verdict:
        if self._waiting_since is not None and now - self._waiting_since > self.gone_seconds_max:
            return Verdict.GONE
        if self._asked_at is not None and now - self._asked_at > self.silent_seconds_max:
            return Verdict.SILENT
        return Verdict.FINE
