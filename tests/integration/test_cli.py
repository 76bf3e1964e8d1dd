"""The `frameloop` command: what it prints, and how it fails."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consumers.commit_loop import CommitLoop
from frameloop.cli.app import app
from frameloop.core.event_row import row_id
from frameloop.runtime.settings import KafkaSettings
from schemas.cloudevents import decode
from schemas.event import ScreenshotEvent
from schemas.table import Label
from tests.accounts import read_all
from tests.builders import row_id_of, written_append


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "frameloop.toml"
    nowhere = '[kafka]\nbootstrap_servers = "127.0.0.1:1"\nrequest_timeout_ms = 1000\n'
    path.write_text(f'data_dir = "{tmp_path / "data"}"\n{nowhere}', encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> None:
    uri = str(tmp_path / "data" / "screenshots.lance")
    loop = CommitLoop(uri, (Label("score1"),), outbox_max=10)
    loop.take_over()
    loop.step([written_append(uri, "a", 0, 7)])


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_help_names_every_subcommand() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("up", "status", "produce", "train", "demo", "table", "dead-letters", "settings"):
        assert name in result.stdout


def test_a_wrong_setting_ends_the_command_with_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[ingest]\nactors = 0\n", encoding="utf-8")
    result = run("status", "--config", path)
    assert result.exit_code == 2
    assert "ingest.actors" in result.output
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("table")
def test_status_speaks_of_the_table_though_kafka_is_away(config: Path) -> None:
    result = run("status", "--json", "--config", config)
    found = json.loads(result.stdout)
    assert found["table"]["rows"] == 7
    assert found["table"]["unlabelled_rows"] == 7
    assert "error" in found["kafka"]


def test_status_of_a_service_that_never_ran_is_no_failure(config: Path) -> None:
    result = run("status", "--json", "--config", config)
    assert result.exit_code == 0
    assert "was not found" in json.loads(result.stdout)["table"]["error"]


@pytest.mark.usefixtures("table")
def test_table_info_and_head_leave_the_ledger_out(config: Path) -> None:
    info = json.loads(run("table", "info", "--json", "--config", config).stdout)
    assert info["rows"] == 7
    rows = json.loads(run("table", "head", "-n", 50, "--json", "--config", config).stdout)
    assert [row["offset"] for row in rows] == list(range(7))
    assert not {"image", "ledger"} & set(rows[0])


@pytest.mark.usefixtures("table")
def test_table_health_shows_what_is_there_and_fails_when_a_bound_is_broken(config: Path) -> None:
    found = run("table", "health", "--json", "--config", config)
    assert found.exit_code == 0, found.output
    health = json.loads(found.stdout)
    assert (health["rows"], health["fragments"], health["unlabelled"]) == (7, 2, 1)
    assert all(bound["is_kept"] for bound in health["bounds"])
    text = run("table", "health", "--config", config)
    assert "2: 0 full, 1 unlabelled, 0 small" in text.output

    uri = config.parent / "data" / "screenshots.lance"
    loop = CommitLoop(str(uri), (Label("score1"),), outbox_max=10)
    loop.take_over()
    orphan = written_append(str(uri), "dead", 7, 9)
    then = time.time() - 8 * 24 * 3600
    for name in orphan.new_files():
        os.utime(uri / "data" / name, (then, then))
    broken = run("table", "health", "--config", config)
    assert broken.exit_code == 1
    assert "such files older than 7 days: 1, at most 0" in broken.output
    assert "clean-up" in broken.output


@pytest.mark.usefixtures("table")
def test_a_wrong_filter_is_an_error_that_names_it(config: Path) -> None:
    result = run("table", "head", "--filter", "nope > 3", "--config", config)
    assert result.exit_code == 1
    assert "--filter" in result.output
    assert "nope" in result.output


@pytest.mark.usefixtures("table")
def test_an_exported_image_is_byte_for_byte_what_the_table_holds(
    config: Path, tmp_path: Path
) -> None:
    to = tmp_path / "image.jpg"
    assert run("table", "export-image", row_id_of(0, 3), to, "--config", config).exit_code == 0
    assert to.read_bytes() == b"image"
    missing = run("table", "export-image", "no-such", to, "--config", config)
    assert missing.exit_code == 1
    assert "no row has the id" in missing.output


def test_produce_sends_each_row_and_reports_the_rest(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    config = tmp_path / "frameloop.toml"
    config.write_text(
        f'[kafka]\nembedded = false\nbootstrap_servers = "{kafka_settings.bootstrap_servers}"\n'
        f'topic = "{kafka_settings.topic}"\n',
        encoding="utf-8",
    )
    urls = tmp_path / "urls.csv"
    urls.write_text("url,level\nhttp://host/1.jpg,3\n,4\nhttp://host/2.jpg,5\n", encoding="utf-8")
    result = run("produce", urls, "--config", config)
    assert result.exit_code == 1
    assert "2 events sent" in result.output
    assert "1 rows left out" in result.output
    records = read_all(kafka_settings.bootstrap_servers, kafka_settings.topic)
    events = [decode(r.key, r.value, r.headers) for r in records]
    assert sorted(e.image_url for e in events) == ["http://host/1.jpg", "http://host/2.jpg"]
    assert {e.attributes["level"] for e in events} == {"3", "5"}


def test_the_same_event_has_the_same_row_id_and_another_source_another() -> None:
    def id_of(source: str, event_id: str) -> str:
        event = ScreenshotEvent(event_id=event_id, source=source, image_url="http://host/1.jpg")
        return row_id(event)

    assert id_of("a", "1") == id_of("a", "1")
    assert len({id_of("a", "1"), id_of("b", "1"), id_of("a", "2"), id_of("ab", "1")}) == 4
