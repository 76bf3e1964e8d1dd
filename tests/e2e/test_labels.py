"""Several labels on a running service: each row scored once, filters, versions, errors, upgrades."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lance
import pytest
from ray import serve
from typer.testing import CliRunner

from consumers.commit_loop import CommitLoop
from frameloop.adapters.lance_table import count_rows
from frameloop.cli.app import app
from frameloop.core.errors import FatalError
from frameloop.runtime.settings import KafkaSettings, Settings
from frameloop.service import Service
from serve_apps.app import build_app
from tests.conftest import service_settings
from tests.upstream import ImageServer, image_server, send_pictures
from tests.waiting import is_labelled, until, until_settled

SOURCE = '''
import os
from serve_apps.contract import Score

class Noting:
    """Notes each row that it is asked for, under its label."""
    name = "noting"
    inputs = ("event_id",)
    type = "int64"

    def __init__(self, notes, label, version="1", fail_below=0):
        self.version = version
        self._notes, self._label, self._fail_below = notes, label, fail_below

    def score(self, batch):
        numbers = [int(each.split("-")[1]) for each in batch.column("event_id").to_pylist()]
        with open(self._notes, "a") as notes:
            notes.writelines(f"{self._label}/{self.version} {n}\\n" for n in numbers)
        return [
            Score(error="too low") if n < self._fail_below else Score(n % 4, reason=f"{n} % 4")
            for n in numbers
        ]
'''


@pytest.fixture(scope="module")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "noting.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path / "notes"


Start = Callable[..., Service]


@pytest.fixture
def start(
    ray_session: None, tmp_path: Path, kafka_settings: KafkaSettings, notes: Path
) -> Iterator[Start]:
    running: list[Service] = []

    def noting(label: str, row_filter: str | None = None, **options: Any) -> dict[str, Any]:
        return {
            "scorer": f"{tmp_path}/noting.py:Noting",
            "type": "int64",
            "filter": row_filter,
            "replica_cpus": 0.1,
            "options": {"notes": str(notes), "label": label, **options},
        }

    def start_service(rescore: bool = False, **options: Any) -> Service:
        labels = {
            "score1": {"scorer": "quality", "replica_cpus": 0.1},
            # Before the label that it waits for, on purpose.
            "odd": noting("odd", "rest = 1"),
            "rest": {**noting("rest", **options), "rescore": rescore},
            "near": {"scorer": "near_duplicate", "replica_cpus": 0.1},
        }
        sections = {"scoring": {"actors": 2}, "ingest": {"actors": 2, "batch_rows": 8}}
        settings = service_settings(tmp_path, kafka_settings, **sections)
        service = Service(settings.model_copy(update={"labels": Settings(labels=labels).labels}))
        running.append(service)
        service.start()
        return service

    yield start_service
    for service in running:
        service.stop()


def asked_for(notes: Path) -> Counter[str]:
    return Counter(notes.read_text(encoding="utf-8").splitlines())


def rows_where(settings: Settings, condition: str) -> int:
    return count_rows(lance.dataset(settings.table_uri), condition)


def test_labels_are_filled_kept_current_and_repaired(
    start: Start, images: ImageServer, notes: Path, tmp_path: Path
) -> None:
    """One service after the other on one table, as an operator changes its settings."""
    service = start(fail_below=10)
    settings = service.settings
    for first in (0, 40, 80):
        send_pictures(settings.kafka, images, first, first + 40)
    until_settled(settings)
    until(lambda: is_labelled(settings), "all labels everywhere")

    asked = asked_for(notes)
    assert set(asked.values()) == {1}, "each row is scored once"
    assert {key for key in asked if key.startswith("rest/1")} == {f"rest/1 {n}" for n in range(120)}
    odd = {f"odd/1 {n}" for n in range(120) if n % 4 == 1 and n >= 10}
    assert {key for key in asked if key.startswith("odd/")} == odd, "the filter saves work"
    assert rows_where(settings, "rest = 3 AND rest_reason like '% 4' AND rest_error IS NULL") == 28
    assert rows_where(settings, "rest_error = 'too low' AND rest IS NULL") == 10
    assert rows_where(settings, "odd_scorer IS NULL") == 120 - len(odd)
    assert rows_where(settings, "score1_scorer = 'quality/1'") == 120
    # 16 pictures in turn over 3 sources: after 48 events each source sends what it has sent before.
    assert rows_where(settings, "near IS NULL AND near_error IS NULL") == 48
    service.stop()

    # The scorer has been mended; rows with an error are scored again on demand, and then the rows
    # that the filter of `odd` now lets through.
    service = start(rescore=True)
    settings = service.settings
    config = tmp_path / "service.json"
    assert label(settings, config, "--retry-errors", "rest") == 0
    assert rows_where(settings, "rest_error IS NOT NULL") == 0
    again = asked_for(notes) - asked
    assert again == Counter({f"rest/1 {n}": 1 for n in range(10)})
    assert label(settings, config, "--stale", "odd") == 0
    assert asked_for(notes) - asked - again == Counter({f"odd/1 {n}": 1 for n in (1, 5, 9)})

    # Another version: its rows are scored again by themselves, the other labels are left alone.
    before = asked_for(notes)
    rest = settings.labels["rest"]
    options = {**rest.options, "version": "2"}
    service.upgrade_scorers({"rest": rest.model_copy(update={"options": options})})
    until(lambda: rows_where(settings, "rest_scorer = 'noting/2'") == 120, "all of version 2")
    assert asked_for(notes) - before == Counter({f"rest/2 {n}": 1 for n in range(120)})
    assert label(settings, config, "--stale") == 0
    assert asked_for(notes).total() == before.total() + 120

    # One that can't start leaves the one before at work.
    wrong = rest.model_copy(update={"options": {"no": "such option"}})
    with pytest.raises(FatalError, match="did not start"):
        service.upgrade_scorers({"rest": wrong})
    send_pictures(settings.kafka, images, 120, 130)
    until(lambda: rows_where(settings, "rest_scorer = 'noting/2'") == 130, "the next ten, too")


def label(settings: Settings, config: Path, *arguments: str) -> int:
    """Run `frameloop label`, with these settings in a file."""
    config.write_text(_toml(settings), encoding="utf-8")
    result = CliRunner().invoke(app, ["label", *arguments, "--config", str(config)])
    assert result.exit_code == 0, result.output
    return result.exit_code


def _toml(settings: Settings) -> str:
    lines = [f"data_dir = {str(settings.data_dir)!r}", "[training]", "enabled = false"]
    lines += ["[ray]", f"namespace = {settings.ray.namespace!r}"]
    lines += ["[scoring]", f"actors = {settings.scoring.actors}"]
    for name, each in settings.labels.items():
        lines += [f"[labels.{name}]", f"scorer = {each.scorer!r}", f"type = {each.value_type!r}"]
        lines += [f"filter = {each.filter!r}"] if each.filter else []
    return "\n".join(lines)


def test_a_scorer_is_upgraded_without_losing_a_request(ray_session: None, notes: Path) -> None:
    folder = notes.parent
    uri = str(folder / "t.lance")
    import pyarrow as pa

    from schemas.table import ROW_FIELDS, Label
    from serve_apps.fragment_scoring import FragmentRequest

    wanted = [field for field in ROW_FIELDS if field.name in ("id", "event_id")]
    rows = pa.table({"id": ["a"], "event_id": ["event-1"]}, schema=pa.schema(wanted))
    version = int(lance.write_dataset(rows, uri).version)
    request = FragmentRequest(uri, version, 0, Label("rest", "int64"))

    def deploy(number: str) -> Any:
        values = {
            "scorer": f"{folder}/noting.py:Noting",
            "type": "int64",
            "replica_cpus": 0.1,
            "replicas_min": 2,
            "replicas_max": 2,
            "options": {"notes": str(notes), "label": "rest", "version": number},
        }
        labels = Settings(labels={"score1": {"scorer": "quality"}, "rest": values}).labels
        return serve.run(build_app("rest", labels["rest"]), name="upgraded", route_prefix=None)

    async def ask_all_along() -> list[str]:
        handle = deploy("1")
        upgrade = asyncio.create_task(asyncio.to_thread(deploy, "2"))
        answers = []
        while not upgrade.done() or answers[-1] != "noting/2":
            answers.append((await handle.score_fragment.remote(request)).scorer)
        await upgrade
        return answers

    try:
        answers = asyncio.run(ask_all_along())
    finally:
        serve.delete("upgraded")
    assert set(answers) == {"noting/1", "noting/2"}


def test_a_service_is_not_started_with_a_label_of_another_type(start: Start) -> None:
    service = start()
    service.stop()
    labels = {
        "score1": {"scorer": "quality"},
        "rest": {"scorer": "quality"},
    }
    other = service.settings.model_copy(update={"labels": Settings(labels=labels).labels})
    with pytest.raises(FatalError, match="rest is int64, the settings want float"):
        CommitLoop(other.table_uri, other.label_columns, outbox_max=10).take_over()
