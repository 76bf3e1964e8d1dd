"""A batch on its way into a real table, through a real commit loop; only Ray is left out."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from consumers.commit_loop import CommitLoop
from consumers.hand_over import HandOver
from frameloop.core.batch import AppendRequest, CommitReceipt, OffsetRange
from frameloop.core.micro_batch import Cut, Row
from schemas.table import row_schema
from tests.builders import at, row_id_of
from tests.integration.test_commit_loop import keeper, offsets_in_table


def cut(first: int, following: int) -> Cut:
    empty = dict.fromkeys(row_schema().names)
    rows = [
        Row({**empty, "id": row_id_of(0, offset), "offset": offset, "image": b"image"}, 5)
        for offset in range(first, following)
    ]
    return Cut((OffsetRange(at(), first, following),), tuple(rows), ())


def handle(loop: CommitLoop, on_request: Callable[[AppendRequest], None]) -> Any:
    """What an ingest actor sees of the keeper; `on_request` comes before the keeper does."""

    async def commit(request: AppendRequest) -> CommitReceipt:
        on_request(request)
        answer = loop.step([request]).answers[0]
        if isinstance(answer, CommitReceipt):
            return answer
        raise answer

    return SimpleNamespace(commit=SimpleNamespace(remote=commit))


async def test_a_batch_whose_files_were_removed_on_the_way_is_written_anew(tmp_path: Path) -> None:
    uri = str(tmp_path / "screenshots.lance")
    loop = keeper(uri)
    asked: list[AppendRequest] = []

    def remove_once(request: AppendRequest) -> None:
        if not asked:
            for name in request.new_files():
                (Path(uri) / "data" / name).unlink()
        asked.append(request)

    await HandOver(uri, handle(loop, remove_once)).deliver(cut(0, 3))
    assert len(asked) == 2
    assert asked[0].batch_id == asked[1].batch_id
    assert asked[0].written_at_ms > 0
    assert offsets_in_table(uri) == [0, 1, 2]
