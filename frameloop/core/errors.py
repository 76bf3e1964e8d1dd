"""Errors, branched by what the caller does about them.

    FrameloopError
    ├── SettingsError        the operator mends the settings; nothing was started
    ├── TransientError       try again later, the same way
    │   └── BackPressure     try again when there is room
    ├── Rejected             this event can't become a row: a dead letter with `reason`
    ├── Conflict             somebody else changed what this was planned on: plan again
    │   ├── StaleBatch       the batch does not start where the table stands: seek, fetch again
    │   ├── DuplicateRows    some of its rows are in the table: write the batch without them
    │   └── FilesGone        its data files are gone or old: write them anew, then ask again
    ├── OutcomeUnknown       it may or may not have happened: look before trying again
    ├── Fenced               a newer keeper is at work: stop
    └── FatalError           a person must look; stop without losing anything

All of them survive pickling, hence travel through Ray: each passes all its arguments on to
`Exception.__init__`.
"""

from schemas.dead_letter import DETAIL_CHARS_MAX, Reason


class FrameloopError(Exception):
    """Root of all errors that the service raises itself."""


class SettingsError(FrameloopError):
    """A setting is wrong. The message names it and says what is allowed."""


class TransientError(FrameloopError):
    """The same call may succeed later."""


class BackPressure(TransientError):
    """A limit is reached. Nothing was taken over; call again when there is room."""


class Rejected(FrameloopError):
    """The event can't become a row."""

    def __init__(self, reason: Reason, detail: str) -> None:
        # Whatever a server sent may be quoted in it; a letter must be valid UTF-8.
        text = detail[:DETAIL_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")
        super().__init__(reason, text)
        self.reason = reason
        self.detail = text

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class Conflict(FrameloopError):
    """What this was planned on has changed. Plan again on the present state."""


class StaleBatch(Conflict):
    """The batch does not start where the table stands; nothing of it was committed."""


class DuplicateRows(Conflict):
    """Rows at these places of the batch are in the table already; nothing of it was committed."""

    def __init__(self, places: tuple[int, ...]) -> None:
        super().__init__(places)
        self.places = places

    def __str__(self) -> str:
        return f"{len(self.places)} rows of the batch are in the table already"


class FilesGone(Conflict):
    """Data files of the request are no longer there, or too old to rely on; nothing was committed."""


class OutcomeUnknown(FrameloopError):
    """The call may have taken effect. Ask for the state before repeating it."""


class Fenced(FrameloopError):
    """A newer keeper owns the table. This one must stop."""


class FatalError(FrameloopError):
    """Nothing the service may do on its own mends this."""
