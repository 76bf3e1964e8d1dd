"""The keeper's work without Ray: take requests, commit them in groups, answer each.

One `step` is one attempt at one table commit. The steps and what a crash between them leaves are in
docs/protocol.md. Not thread-safe: the keeper calls it from one place at a time.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import lance

from frameloop.adapters import lance_compaction, lance_table
from frameloop.adapters.table_files import TableFiles
from frameloop.core.batch import (
    AppendRequest,
    CommitReceipt,
    CommitRequest,
    CompactRequest,
    LabelRequest,
    RewindRequest,
)
from frameloop.core.commit_plan import CommitPlan, TableState, plan_commit
from frameloop.core.errors import Conflict, Fenced, FrameloopError, TransientError
from frameloop.core.ledger import Ledger
from frameloop.core.row_ids import RowIds
from frameloop.runtime.faults import reach
from schemas.commit import CommitNotice, CommittedRange
from schemas.dead_letter import LetterIdentity
from schemas.table import Label

COMMIT_ATTEMPTS_MAX = 8
"""Other writers (compaction by hand, say) may be faster so many times in a row."""
FILES_AGE_MAX_MS = 24 * 3600 * 1000
"""Files that no version names are removed after 7 days: a day is far from it, whatever the clocks."""

Answer = CommitReceipt | FrameloopError


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did: an answer for each request that is done, and the notice to publish."""

    answers: dict[int, Answer]
    notice: CommitNotice | None = None
    compacted: int = 0
    """Compactions that were committed."""


@dataclass(slots=True)
class CommitLoop:
    """Owns the table's metadata from `take_over` until it is fenced."""

    uri: str
    labels: Sequence[Label]
    outbox_max: int
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex
    ledger: Ledger = field(init=False)
    row_ids: RowIds = field(init=False, repr=False)
    _dataset: lance.LanceDataset = field(init=False, repr=False)
    _ledger_fragment: int = field(init=False, repr=False)
    _epoch: int = field(init=False)
    _files: TableFiles = field(init=False, repr=False)

    @property
    def dataset(self) -> lance.LanceDataset:
        """The table at the last version that this loop committed or read."""
        return self._dataset

    def take_over(self) -> None:
        """Become the table's keeper: raise the epoch in a commit, so that older keepers are fenced.

        Two keepers that take over at once both come through, one after the other; the first is
        then fenced. Raises `FatalError` if the table is of another make.
        """
        lance_table.open_or_create(self.uri, self.labels)
        self._files = TableFiles(self.uri)
        for _ in range(COMMIT_ATTEMPTS_MAX):
            self._reload()
            ledger = self.ledger.taken_over().stamped(self.new_id())
            try:
                self._commit(lance_table.Changes(ledger))
            except Conflict:
                continue
            self._epoch = ledger.epoch
            self.row_ids = RowIds()
            self.row_ids.add(b"".join(lance_table.read_row_ids(self._dataset)))
            return
        raise TransientError(f"{self.uri}: could not take over, other writers are too busy")

    def step(
        self, requests: Sequence[CommitRequest], published: Sequence[LetterIdentity] = ()
    ) -> StepResult:
        """Commit what can be committed of `requests`, at once and atomically.

        A request without an answer in the result belongs into a later step. Raises `Fenced` if a
        newer keeper is at work and `TransientError` if the storage failed and the commit is not in
        the table; the same requests may then be passed again.
        """
        for _ in range(COMMIT_ATTEMPTS_MAX):
            self._check_epoch()
            plan = self._plan(requests, self.ledger.without_letters(published))
            if plan.refused and self._dataset.latest_version != self._dataset.version:
                self._reload()  # a refusal must rest on the table as it is now
                continue
            try:
                notice = self._apply(plan) if not plan.is_empty else None
            except Conflict:
                self._reload()
                continue
            for index in plan.present:
                request = requests[index]
                if isinstance(request, AppendRequest):
                    self.row_ids.add(request.ids)
            answers = self._answers(plan, notice)
            compactions = self._compact(plan)
            compacted = sum(isinstance(each, CommitReceipt) for each in compactions.values())
            return StepResult({**answers, **compactions}, notice, compacted)
        raise TransientError(f"{self.uri}: no commit came through, other writers are too busy")

    def _plan(self, requests: Sequence[CommitRequest], base: Ledger) -> CommitPlan:
        """A plan all of whose data files are there at this moment."""
        touched = {
            fragment_id
            for request in requests
            if isinstance(request, LabelRequest | CompactRequest)
            for fragment_id in _fragments_of(request)
        }
        fragments = lance_table.fragments_by_id(self._dataset, touched)
        gone: set[int] = set()
        while True:
            table = TableState(base, fragments, self.row_ids, gone)
            plan = plan_commit(table, requests, outbox_max=self.outbox_max)
            more = self._without_files(requests, (*plan.taken, *plan.compactions))
            if not more:
                return plan
            gone |= more

    def _without_files(self, requests: Sequence[CommitRequest], places: Sequence[int]) -> set[int]:
        oldest_ms = self.clock_ms() - FILES_AGE_MAX_MS
        asking = {place: requests[place] for place in places}
        found = {
            place: (request.new_files(), 0 < request.written_at_ms < oldest_ms)
            for place, request in asking.items()
            if not isinstance(request, RewindRequest)
        }
        missing = self._files.missing({name for names, _ in found.values() for name in names})
        return {
            place
            for place, (names, is_old) in found.items()
            if names and (is_old or names & missing)
        }

    def _answers(self, plan: CommitPlan, notice: CommitNotice | None) -> dict[int, Answer]:
        now = notice.committed_at_ms if notice else self.clock_ms()
        receipt = CommitReceipt(int(self._dataset.version), now)
        done: dict[int, Answer] = dict.fromkeys((*plan.taken, *plan.present), receipt)
        return {**done, **plan.refused}

    def _compact(self, plan: CommitPlan) -> dict[int, Answer]:
        """A commit for each. What fails is answered as failed: a compaction can always be planned anew."""
        answers: dict[int, Answer] = {}
        for index, compaction in plan.compactions.items():
            try:
                answers[index] = self._compact_one(compaction)
            except FrameloopError as error:
                answers[index] = error
        return answers

    def _compact_one(self, compaction: CompactRequest) -> CommitReceipt:
        """No compare-and-swap on the ledger, and none is needed: a keeper that is fenced between the
        look and the commit changes no row, and Lance refuses it where another has touched the
        fragments.
        """
        if self._dataset.latest_version != self._dataset.version:
            self._reload()
        self._check_epoch()
        reach("keeper.before_compaction")
        try:
            lance_compaction.commit(self._dataset, compaction)
            reach("keeper.compacted")
        finally:
            self._reload()
        return CommitReceipt(int(self._dataset.version), self.clock_ms())

    def _apply(self, plan: CommitPlan) -> CommitNotice:
        ledger = plan.ledger.stamped(self.new_id())
        changes = lance_table.Changes(
            ledger,
            new_fragments=[text for batch in plan.appends for text in batch.fragments],
            updated_fragments=[label.updated for label in plan.labels],
            fields=frozenset(f for label in plan.labels for f in label.fields),
        )
        reach("keeper.before_commit")
        try:
            self._commit(changes)
            reach("keeper.committed")
        except TransientError:
            # The outcome is unknown: before anything is tried again, look for our own id.
            self._reload()
            if self.ledger.commit_id != ledger.commit_id:
                raise
        for batch in plan.appends:
            self.row_ids.add(batch.ids)
        labelled: dict[str, list[int]] = {}
        for label in plan.labels:
            labelled.setdefault(label.label, []).append(label.fragment_id)
        return CommitNotice(
            table_uri=self.uri,
            table_version=int(self._dataset.version),
            committed_at_ms=self.clock_ms(),
            ranges=[
                CommittedRange(
                    topic=part.at.topic,
                    partition=part.at.partition,
                    offset_first=part.offset_first,
                    offset_next=part.offset_next,
                )
                for batch in plan.appends
                for part in batch.ranges
            ],
            rows=sum(batch.rows for batch in plan.appends),
            dead_letters=sum(len(batch.dead_letters) for batch in plan.appends),
            labelled_fragments=labelled,
        )

    def _commit(self, changes: lance_table.Changes) -> None:
        dataset = lance_table.commit(self._dataset, self._ledger_fragment, changes)
        self._dataset, self.ledger = dataset, changes.ledger

    def _reload(self) -> None:
        self._dataset = lance.dataset(self.uri)
        self.ledger, self._ledger_fragment = lance_table.read_ledger(self._dataset)
        for _ in range(COMMIT_ATTEMPTS_MAX):
            if self._dataset.get_fragment(self._ledger_fragment).physical_rows == 1:
                return
            with suppress(Conflict):
                lance_table.set_ledger_apart(self._dataset)
            self._dataset = lance.dataset(self.uri)
            self.ledger, self._ledger_fragment = lance_table.read_ledger(self._dataset)
        raise TransientError(f"{self.uri}: the ledger could not be set apart, others are too busy")

    def _check_epoch(self) -> None:
        """What was read after a lost race may show that a newer keeper has begun."""
        if self.ledger.epoch != self._epoch:
            raise Fenced(
                f"{self.uri}: keeper {self.ledger.epoch} has replaced keeper {self._epoch}"
            )


def _fragments_of(request: LabelRequest | CompactRequest) -> tuple[int, ...]:
    return (request.fragment_id,) if isinstance(request, LabelRequest) else request.fragment_ids
