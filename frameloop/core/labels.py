"""Labels: what a row lacks, what is out of date, and what is to be scored next. No I/O.

A label is a column of values, with columns beside it that say who gave them (`_scorer`: name and
version), why there is none (`_error`), and what the scorer said for it (`_reason`).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from frameloop.core.errors import SettingsError

HUMAN = "human/"
"""A label with a provenance that begins so was given by a person: no scorer overwrites it."""
LABEL_PATTERN = r"^[a-z][a-z0-9_]{0,40}$"
SUFFIXES = ("", "_scorer", "_error", "_reason")

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True, slots=True)
class FragmentLabels:
    """One fragment that holds screenshots, as its metadata shows it: no scan."""

    fragment_id: int
    rows: int
    missing: frozenset[str]
    """Labels that none of its files has a column of."""
    files: int = 0
    """Another number when its files are others."""


@dataclass(frozen=True, slots=True)
class Task:
    """Score what `label` wants of one fragment."""

    label: str
    fragment_id: int


def labels_in(text: str, labels: Collection[str]) -> frozenset[str]:
    """Labels whose columns an SQL expression or a column name mentions."""
    words = set(_WORD.findall(_QUOTED.sub("''", text)))
    return frozenset(
        label for label in labels if any(f"{label}{suffix}" in words for suffix in SUFFIXES)
    )


def check_order(needs: Mapping[str, Collection[str]]) -> None:
    """Raises `SettingsError` if labels wait for each other in a circle."""
    done: set[str] = set()
    while len(done) < len(needs):
        ready = {label for label, of in needs.items() if label not in done and done >= set(of)}
        if not ready:
            circle = ", ".join(sorted(set(needs) - done))
            raise SettingsError(f"labels: these wait for each other by their filters: {circle}")
        done |= ready


def next_tasks(
    fragments: Iterable[FragmentLabels],
    needs: Mapping[str, Collection[str]],
    under_way: Collection[Task],
    room: int,
) -> list[Task]:
    """At most `room` tasks, newest fragment first: fresh rows are what somebody waits for.

    A label is filled once the fragment has those that it needs. Within a fragment the labels come
    in the order of `needs`.
    """
    found: list[Task] = []
    busy = set(under_way)
    for fragment in sorted(fragments, key=lambda each: each.fragment_id, reverse=True):
        for label, of in needs.items():
            if len(found) >= room:
                return found
            task = Task(label, fragment.fragment_id)
            waits = label not in fragment.missing or fragment.missing.intersection(of)
            if not waits and task not in busy:
                found.append(task)
    return found


def unlabelled_rows(fragments: Sequence[FragmentLabels], labels: Iterable[str]) -> dict[str, int]:
    """Rows in fragments without a column of each label."""
    return {label: sum(f.rows for f in fragments if label in f.missing) for label in labels}


def stale(label: str, scorer: str, row_filter: str | None) -> str:
    """SQL: rows that another version has scored, or that pass the filter and nobody looked at.

    A person's labels are never stale.
    """
    by = f"{label}_scorer"
    other = f"({by} != {quoted(scorer)} AND NOT starts_with({by}, {quoted(HUMAN)}))"
    missed = f"({by} IS NULL AND ({row_filter}))" if row_filter else f"({by} IS NULL)"
    return f"({other} OR {missed})"


def failed(label: str) -> str:
    """SQL: rows that got an error in place of a value."""
    return f"({label}_error IS NOT NULL)"


def quoted(text: str) -> str:
    """As an SQL string."""
    return "'" + text.replace("'", "''") + "'"
