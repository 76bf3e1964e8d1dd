"""`frameloop dead-letters`: what could not become a row, and sending it again."""

import json
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from frameloop.cli.common import ConfigOption, JsonOption, clear_errors, console, settings_of
from frameloop.core.errors import FatalError
from frameloop.core.letter_selection import (
    REPLAY_HEADER,
    ReplayPlan,
    Selection,
    identity_text,
    is_named,
    original_headers,
    original_key,
    plan_replay,
    readable,
    replay_headers,
    replay_selection,
    since_ms,
    visible,
)
from frameloop.runtime.settings import KafkaSettings
from schemas.dead_letter import DeadLetter, Reason

CONFIRM_ABOVE = 100

app = typer.Typer(
    no_args_is_help=True, help="Look at events that could not become rows, and send them again."
)

ReasonOption = Annotated[
    list[Reason] | None,
    typer.Option("--reason", help="Only those with this reason; may be repeated.", metavar="R"),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="Only those decided since then: 2026-01-31T12:00:00Z, or a span back such as 2h or 7d.",
        show_default=False,
        metavar="T",
    ),
]


@app.command("list")
@clear_errors
def list_letters(
    reason: ReasonOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the newest last, and count them by reason."""
    settings = settings_of(config)
    selection = Selection(reason or (), _since(since))
    from frameloop.adapters.dead_letter_reader import read_dead_letters

    newest: deque[DeadLetter] = deque(maxlen=limit)
    counts: Counter[Reason] = Counter()
    for letter in read_dead_letters(settings.kafka):
        if selection.takes(letter):
            newest.append(letter)
            counts[letter.reason] += 1
    if as_json:
        for letter in newest:
            print(letter.model_dump_json())
        return
    table = Table("when", "reason", "event", "detail")
    for letter in newest:
        event = letter.event_id or identity_text(letter.identity)
        cells = (_when(letter), letter.reason.value, event, letter.detail)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    console.print(table)
    by_reason = "".join(f"  {r.value}: {count}" for r, count in counts.most_common())
    console.print(f"{counts.total()} dead letters{by_reason}", soft_wrap=True)


@app.command("show")
@clear_errors
def show_letter(
    name: Annotated[
        str,
        typer.Argument(
            metavar="IDENTITY|EVENT_ID",
            help="TOPIC_ID/PARTITION/OFFSET (or the topic's name in place of its id), "
            "or the id of the event.",
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter in full, with the original record.

    What could act on a terminal is shown as an escape; `--json` has the exact bytes, as base64. Of
    several letters with this event id it is the newest.
    """
    settings = settings_of(config)
    from frameloop.adapters.dead_letter_reader import read_dead_letters

    found, count = None, 0
    for letter in read_dead_letters(settings.kafka):
        if is_named(letter, name):
            found, count = letter, count + 1
    if found is None:
        raise FatalError(f"no dead letter is {visible(name)}; `frameloop dead-letters list` helps")
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    for line in _described(found):
        print(line)
    if count > 1:
        print(f"\n{count - 1} older letters have this event id, too.")


@app.command("replay")
@clear_errors
def replay(
    reason: ReasonOption = None,
    since: SinceOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The oldest so many.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing, only count.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help=f"Don't ask, though more than {CONFIRM_ABOVE}.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the original records again, unchanged, to the topic of events.

    For causes that have passed: a server was down, a setting was mended. Each becomes a row or a new
    dead letter; one that is a row already does not become a second. Without --reason all are
    sent but event_not_valid and event_too_large, which the same bytes would be again. A letter that
    came back from an earlier replay stands for the one that was replayed.
    """
    settings = settings_of(config)
    selection = replay_selection(reason or (), _since(since))
    from frameloop.adapters.dead_letter_reader import read_dead_letters

    plan = plan_replay(read_dead_letters(settings.kafka), selection, limit)
    if not dry_run and plan.chosen:
        if len(plan.chosen) > CONFIRM_ABOVE and not yes:
            typer.confirm(
                f"Send {len(plan.chosen)} records to {settings.kafka.topic} again?",
                abort=True,
                err=True,
            )
        _send_again(settings.kafka, plan)
    _print_replay(settings.kafka.topic, plan, dry_run, as_json)


def _send_again(kafka: KafkaSettings, plan: ReplayPlan) -> None:
    """All are in Kafka when this returns."""
    from frameloop.adapters.dead_letter_reader import read_dead_letters
    from producers.emit import EventEmitter

    waiting = dict(plan.chosen)
    with EventEmitter.connect(kafka) as emitter:  # flushes at its end, or raises
        for letter in read_dead_letters(kafka):
            if waiting.pop(letter.identity, None) is None:
                continue  # not chosen; among them what came while we read
            emitter.send_raw(
                letter.original, key=original_key(letter), headers=replay_headers(letter)
            )
            if not waiting:
                break
    for identity in waiting:  # Kafka deleted them between the two readings
        del plan.chosen[identity]


def _print_replay(topic: str, plan: ReplayPlan, dry_run: bool, as_json: bool) -> None:
    counts = Counter(reason.value for reason in plan.chosen.values())
    if as_json:
        key = "would_send" if dry_run else "sent"
        found = {key: counts.total(), "reasons": counts, "superseded": plan.superseded}
        print(json.dumps(found))
        return
    for name, count in counts.most_common():
        console.print(f"{count:>8} {name}", highlight=False)
    verb = "would be sent" if dry_run else "sent"
    console.print(f"{counts.total():>8} records {verb} again to {topic}", highlight=False)
    if plan.superseded:
        console.print(f"{plan.superseded:>8} left out: newer letters stand for them")


def _since(text: str | None) -> int:
    return since_ms(text, datetime.now(UTC)) if text is not None else 0


def _described(letter: DeadLetter) -> list[str]:
    key = original_key(letter)
    fields = {
        "identity": identity_text(letter.identity),
        "topic": f"{letter.topic}, partition {letter.partition}, offset {letter.offset}",
        "reason": letter.reason.value,
        "detail": letter.detail,
        "failed at": f"{_when(letter)} UTC",
        "event id": letter.event_id or "unknown",
        "source": letter.source or "unknown",
        "key": "none" if key is None else _inline(key),
    }
    lines = [f"{name:<10} {visible(text)}" for name, text in fields.items()]
    for name, content in original_headers(letter):
        again = "  (sent by a replay)" if name == REPLAY_HEADER else ""
        lines.append(f"{'header':<10} {visible(name)}: {_inline(content)}{again}")
    form, text = readable(letter.original)
    return [*lines, "", f"original, {len(letter.original)} bytes as {form}:", text]


def _inline(content: bytes) -> str:
    form, text = readable(content)
    return visible(text) if form == "text" else f"{text} (base64)"


def _when(letter: DeadLetter) -> str:
    """Of a time that no clock shows, its number."""
    try:
        when = datetime.fromtimestamp(letter.failed_at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{letter.failed_at_ms} ms"
    return when.strftime("%Y-%m-%d %H:%M:%S")
