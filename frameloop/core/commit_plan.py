"""Which of the waiting requests go into the next table commit, and what becomes of the others."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from frameloop.core.batch import (
    AppendRequest,
    CommitRequest,
    CompactRequest,
    LabelRequest,
    RewindRequest,
)
from frameloop.core.errors import Conflict, DuplicateRows, FilesGone, FrameloopError
from frameloop.core.ledger import Ledger
from frameloop.core.row_ids import RowIds


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """One commit. `taken`, `refused`, `present` and `deferred` hold positions in the input."""

    ledger: Ledger
    taken: tuple[int, ...]
    refused: Mapping[int, FrameloopError]
    present: tuple[int, ...] = ()
    """Already in the table from an earlier attempt: to be acknowledged, not done again."""
    deferred: tuple[int, ...] = ()
    """For the next commit: a fragment can change only once in one commit."""
    appends: tuple[AppendRequest, ...] = ()
    labels: tuple[LabelRequest, ...] = ()
    compactions: Mapping[int, CompactRequest] = field(default_factory=dict)
    """By position. Each is a commit of its own, after the one of rows and labels."""

    @property
    def is_empty(self) -> bool:
        """Are there no rows and no labels to commit?"""
        return not self.taken


@dataclass(slots=True)
class _Draft:
    ledger: Ledger
    taken: list[int] = field(default_factory=list)
    refused: dict[int, FrameloopError] = field(default_factory=dict)
    present: list[int] = field(default_factory=list)
    deferred: list[int] = field(default_factory=list)
    appends: list[AppendRequest] = field(default_factory=list)
    labels: list[LabelRequest] = field(default_factory=list)
    compactions: dict[int, CompactRequest] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    row_ids: RowIds = field(default_factory=RowIds)
    """Of the batches in this commit."""


@dataclass(frozen=True, slots=True)
class TableState:
    """What a commit is planned on."""

    ledger: Ledger
    fragments: Mapping[int, str]
    """Metadata JSON of the fragments that labels and compactions ask for, by id."""
    row_ids: RowIds
    gone: Set[int] = frozenset()
    """Positions of requests whose data files are not there."""


def plan_commit(
    table: TableState, requests: Sequence[CommitRequest], *, outbox_max: int
) -> CommitPlan:
    """Plan the next commit on the table as it is.

    Guarantee: applying the plan keeps every offset in exactly one batch and every id in one row; no
    column file is put on a fragment other than its own, and none is lost by a compaction.
    """
    draft = _Draft(table.ledger)
    for index, request in enumerate(requests):
        try:
            if isinstance(request, AppendRequest):
                _plan_append(draft, index, request, table, outbox_max)
            elif isinstance(request, LabelRequest):
                _plan_label(draft, index, request, table)
            elif isinstance(request, RewindRequest):
                draft.ledger = draft.ledger.rewound(request)
                draft.taken.append(index)
            else:
                _plan_compaction(draft, index, request, table)
        except FrameloopError as error:
            draft.refused[index] = error
    return CommitPlan(
        ledger=draft.ledger,
        taken=tuple(draft.taken),
        refused=draft.refused,
        present=tuple(draft.present),
        deferred=tuple(draft.deferred),
        appends=tuple(draft.appends),
        labels=tuple(draft.labels),
        compactions=draft.compactions,
    )


def _plan_append(
    draft: _Draft, index: int, batch: AppendRequest, table: TableState, outbox_max: int
) -> None:
    if draft.ledger.has(batch):
        draft.present.append(index)
        return
    draft.ledger.check(batch, outbox_max)
    if twice := {*table.row_ids.known(batch.ids), *draft.row_ids.known(batch.ids)}:
        raise DuplicateRows(tuple(sorted(twice)))
    _check_files(index, table)
    draft.row_ids.add(batch.ids)
    draft.ledger = draft.ledger.with_batch(batch)
    draft.appends.append(batch)
    draft.taken.append(index)


def _plan_label(draft: _Draft, index: int, label: LabelRequest, table: TableState) -> None:
    if label.fragment_id in draft.touched:
        draft.deferred.append(index)
        return
    _check_unchanged(label.fragment_id, label.base, table)
    _check_files(index, table)
    draft.touched.add(label.fragment_id)
    draft.labels.append(label)
    draft.taken.append(index)


def _plan_compaction(
    draft: _Draft, index: int, compaction: CompactRequest, table: TableState
) -> None:
    if not draft.touched.isdisjoint(compaction.fragment_ids):
        draft.deferred.append(index)
        return
    for fragment_id, base in zip(compaction.fragment_ids, compaction.base, strict=True):
        _check_unchanged(fragment_id, base, table)
    _check_files(index, table)
    draft.touched.update(compaction.fragment_ids)
    draft.compactions[index] = compaction


def _check_unchanged(fragment_id: int, base: str, table: TableState) -> None:
    present = table.fragments.get(fragment_id)
    if present is None:
        raise Conflict(f"fragment {fragment_id} is no longer in the table")
    if present != base:
        raise Conflict(f"fragment {fragment_id} has changed since it was read")


def _check_files(index: int, table: TableState) -> None:
    if index in table.gone:
        raise FilesGone("the data files have been removed or are too old; write them anew")
