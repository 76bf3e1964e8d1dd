"""The running service: events in, rows and scores out, a model trained; actors killed on the way."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import lance
import pytest
from typer.testing import CliRunner

from frameloop.adapters.lance_table import count_rows
from frameloop.adapters.runs_table import load_runs
from frameloop.cli.app import app
from frameloop.core.training import RunStatus
from frameloop.runtime.settings import Settings
from frameloop.service import Service
from frameloop.status import collect_status
from tests.accounts import assert_each_event_once
from tests.upstream import ImageServer, image_server, send_bad_events, send_pictures
from tests.waiting import books_of, is_labelled, until, until_settled


@pytest.fixture(scope="module")
def images() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture
def start(
    ray_session: None, make_settings: Callable[..., Settings]
) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start_service(**sections: Any) -> Service:
        service = Service(make_settings(**sections))
        running.append(service)
        service.start()
        return service

    yield start_service
    for service in running:
        service.stop()


def test_every_event_becomes_one_row_or_one_dead_letter_and_every_row_a_score(
    start: Callable[..., Service], images: ImageServer
) -> None:
    service = start()
    settings = service.settings
    send_pictures(settings.kafka, images, 0, 100)
    bad = send_bad_events(settings.kafka, images)
    books = until_settled(settings)
    assert_each_event_once(books)
    assert (len(books.rows), len(books.letters)) == (100, bad)
    assert books.reasons == {
        "http_client_error": 1,
        "image_not_recognised": 1,
        "image_damaged": 1,
        "url_not_allowed": 1,
        "event_not_valid": 1,
    }
    until(lambda: is_labelled(settings), "every row scored")
    dataset = lance.dataset(settings.table_uri)
    assert count_rows(dataset, "score1 between 0 and 100 and score1_scorer like 'quality/%'") == 100
    row = dataset.to_table(filter="event_id = 'event-7'").to_pylist()[0]
    assert row["image"] == images.pictures[7]
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
    with urlopen(f"http://{service.metrics_address}/sd") as answer:
        found = json.loads(answer.read())
    processes = {each["labels"]["process"].split("-")[0] for each in found}
    expected = {"service", "table", "ingest", "scoring", "retrain", "scorer", "upkeep"}
    assert processes == expected
    for each in found:
        with urlopen(f"http://{each['targets'][0]}/metrics") as answer:
            assert b"frameloop_events_total" in answer.read()
    status = collect_status(settings)
    assert sum(status["kafka"]["lag"].values()) == 0
    assert status["kafka"]["dead_letters"] == bad
    assert status["table"]["unlabelled_rows"] == 0


def test_an_event_sent_twice_makes_one_row(
    start: Callable[..., Service], images: ImageServer
) -> None:
    service = start()
    settings = service.settings
    for _ in range(2):
        send_pictures(settings.kafka, images, 0, 30)
    send_pictures(settings.kafka, images, 20, 40)
    books = until_settled(settings)
    assert_each_event_once(books)
    assert (len(books.sent), len(books.rows), books.duplicates) == (80, 40, 40)
    ids = lance.dataset(settings.table_uri).to_table(columns=["event_id"]).to_pylist()
    assert sorted(row["event_id"] for row in ids if row["event_id"]) == sorted(
        f"event-{number}" for number in range(40)
    )
    until(lambda: sum(collect_status(settings)["kafka"]["lag"].values()) == 0, "no lag")


def test_a_replayed_letter_becomes_a_row_once_and_never_a_second(
    start: Callable[..., Service], images: ImageServer, tmp_path: Path
) -> None:
    service = start()
    settings = service.settings
    images.down = True
    send_pictures(settings.kafka, images, 0, 5)
    until(lambda: len(books_of(settings).letters) == 5, "five dead letters")
    images.down = False
    config = tmp_path / "replay.toml"
    kafka = settings.kafka.model_dump(include={"bootstrap_servers", "topic", "dead_letter_topic"})
    lines = [f"{name} = {json.dumps(value)}" for name, value in kafka.items()]
    config.write_text("\n".join(["[kafka]", "embedded = false", *lines]), encoding="utf-8")
    # The breaker may still leave the host alone: replay until the rows are there, then once more.
    for rows in (5, 5):
        until(lambda wanted=rows: _replay(config) and len(_rows(settings)) == wanted, "the rows")
    until(lambda: sum(collect_status(settings)["kafka"]["lag"].values()) == 0, "no lag")
    assert sorted(_rows(settings)) == [f"event-{number}" for number in range(5)]


def _replay(config: Path) -> bool:
    done = CliRunner().invoke(app, ["dead-letters", "replay", "--yes", "--config", str(config)])
    assert done.exit_code == 0, done.output
    return True


def _rows(settings: Settings) -> list[str]:
    found = lance.dataset(settings.table_uri).to_table(columns=["event_id"]).to_pylist()
    return [row["event_id"] for row in found if row["event_id"]]


def test_a_service_started_again_goes_on_where_the_table_stands(
    start: Callable[..., Service], images: ImageServer
) -> None:
    first = start()
    settings = first.settings
    send_pictures(settings.kafka, images, 0, 40)
    until_settled(settings)
    first.stop()
    send_pictures(settings.kafka, images, 40, 80)
    second = Service(settings)
    try:
        second.start()
        books = until_settled(settings)
    finally:
        second.stop()
    assert_each_event_once(books)
    assert len(books.rows) == 80


def test_enough_scored_rows_start_a_real_training_run_that_is_recorded(
    start: Callable[..., Service], images: ImageServer, tiny_model: Path
) -> None:
    repo = Path(__file__).resolve().parents[2]
    training = {
        "enabled": True,
        "environment": repo / ".venv-training",
        "base_model": str(tiny_model),
        "min_new_rows": 24,
        "score_min": 1,
        "llamafactory": {
            "image_max_pixels": 3136,
            "image_min_pixels": 784,
            "cutoff_len": 128,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
            "logging_steps": 1,
        },
    }
    service = start(training=training)
    settings = service.settings
    send_pictures(settings.kafka, images, 0, 32)
    until(lambda: bool(load_runs(settings.runs_uri)), "a run")
    (tag,) = lance.dataset(settings.table_uri).tags.list()
    assert tag == load_runs(settings.runs_uri)[0].run_id
    send_pictures(settings.kafka, images, 32, 40)
    until(lambda: load_runs(settings.runs_uri)[0].status is not RunStatus.RUNNING, "the run's end")
    run = load_runs(settings.runs_uri)[0]
    assert run.error is None
    assert run.status is RunStatus.SUCCEEDED
    assert run.loss_final is not None
    assert run.rows >= 24
    assert (Path(run.output_dir) / "model" / "adapter_model.safetensors").exists()
    pinned = lance.dataset(settings.table_uri, version=run.table_version)
    assert pinned.count_rows(run.row_filter) == run.rows
    assert not lance.dataset(settings.table_uri).tags.list()
