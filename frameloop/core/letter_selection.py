"""Which dead letters are meant, what of them is sent again, and how hostile text is shown. Pure."""

import base64
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from frameloop.core.errors import SettingsError
from schemas.dead_letter import DeadLetter, LetterIdentity, Reason
from schemas.event import EVENT_BYTES_MAX

REPLAY_HEADER = "frameloop-replay-of"
NEVER_MENDED = frozenset({Reason.EVENT_NOT_VALID, Reason.EVENT_TOO_LARGE})
"""Left out of a replay unless named: the same bytes would be refused for the same reason."""

_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_KEPT = "\n\t"

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters with one of the reasons (none: any), decided at or after `since_ms`."""

    reasons: Collection[Reason] = ()
    since_ms: int = 0

    def takes(self, letter: DeadLetter) -> bool:
        wanted = not self.reasons or letter.reason in self.reasons
        return wanted and letter.failed_at_ms >= self.since_ms


@dataclass(slots=True)
class ReplayPlan:
    """The letters of one replay, oldest first. Only identities are held, not the letters."""

    chosen: dict[LetterIdentity, Reason] = field(default_factory=dict)
    superseded: int = 0


def plan_replay(
    letters: Iterable[DeadLetter], selection: Selection, limit: int | None
) -> ReplayPlan:
    """What of `letters`, all there are, is to be sent again.

    A letter that was sent again and came back as another one stands aside for that one. Else each
    replay in vain would double the letters of the next.
    """
    plan = ReplayPlan()
    came_back: set[str] = set()
    for letter in letters:
        came_back.update(_replay_marks(letter))
        if selection.takes(letter):
            plan.chosen[letter.identity] = letter.reason
    for identity in [i for i in plan.chosen if identity_text(i) in came_back]:
        del plan.chosen[identity]
        plan.superseded += 1
    if limit is not None:
        plan.chosen = dict(list(plan.chosen.items())[:limit])
    return plan


def replay_selection(reasons: Collection[Reason], since_ms: int) -> Selection:
    return Selection(reasons or frozenset(Reason) - NEVER_MENDED, since_ms)


def since_ms(text: str, now: datetime) -> int:
    """Unix milliseconds of an ISO 8601 time with a zone, or of a span before `now` (30m, 2h, 7d).

    Raises `SettingsError` for anything else.
    """
    try:
        if span := _SPAN.fullmatch(text):
            start = now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            start = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--since: {visible(text)[:60]} is neither a time such as 2026-01-31T12:00:00Z nor a "
            "span such as 90s, 30m, 2h, 7d or 2w"
        ) from None
    if start.tzinfo is None:
        raise SettingsError(f"--since: {text} has no time zone; write {text}Z for UTC")
    return int((start - _EPOCH) / timedelta(milliseconds=1))


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def identity_text(identity: LetterIdentity) -> str:
    """`topic_id/partition/offset` of the original record."""
    return "/".join(str(part) for part in identity)


def is_named(letter: DeadLetter, name: str) -> bool:
    """Whether `name` is the letter's identity, the same with the topic's name, or the event's id."""
    by_topic = identity_text((letter.topic, letter.partition, letter.offset))
    return name in (identity_text(letter.identity), by_topic, letter.event_id)


def original_key(letter: DeadLetter) -> bytes | None:
    return None if letter.key_base64 is None else base64.b64decode(letter.key_base64)


def original_headers(letter: DeadLetter) -> Headers:
    return [(name, base64.b64decode(content)) for name, content in letter.headers_base64]


def is_intact(letter: DeadLetter) -> bool:
    """Whether key, value and headers can be read back."""
    try:
        _ = letter.original, original_key(letter), original_headers(letter)
    except ValueError:
        return False
    return True


def replay_headers(letter: DeadLetter) -> Headers:
    """The original's headers, and one that names the original. One of an earlier replay goes.

    Without that one where it would be what makes an event too large.
    """
    kept = [(name, content) for name, content in original_headers(letter) if name != REPLAY_HEADER]
    mark = (REPLAY_HEADER, identity_text(letter.identity).encode())
    size = len(letter.original) + len(original_key(letter) or b"")
    size += sum(len(name) + len(content) for name, content in kept)
    if size <= EVENT_BYTES_MAX < size + len(mark[0]) + len(mark[1]):
        return kept
    return [*kept, mark]


def visible(text: str, kept: str = "") -> str:
    """`text` with what would act on a terminal or hide in it written as an escape.

    That is control characters, direction marks, unusual spaces and lone surrogates.
    """
    return "".join(c if c in kept or c.isprintable() else ascii(c)[1:-1] for c in text)


def readable(content: bytes) -> tuple[str, str]:
    """How the bytes are shown, and the bytes so: as text where they are UTF-8, else as base64."""
    try:
        return "text", visible(content.decode("utf-8"), _KEPT)
    except UnicodeDecodeError:
        return "base64", base64.b64encode(content).decode("ascii")


def _replay_marks(letter: DeadLetter) -> Iterable[str]:
    for name, content in letter.headers_base64:
        if name == REPLAY_HEADER:
            yield base64.b64decode(content).decode("utf-8", "replace")
