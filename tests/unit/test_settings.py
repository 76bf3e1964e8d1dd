"""Settings: a wrong one ends the start with its name and what is allowed."""

from pathlib import Path

import pytest

from frameloop.core.errors import SettingsError
from frameloop.runtime.settings import load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "other.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_need_no_file() -> None:
    settings = load_settings()
    assert settings.kafka.embedded
    assert settings.table_uri.endswith("screenshots.lance")


def test_the_environment_wins_over_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written(elsewhere, '[kafka]\ntopic = "from-file"\ngroup_id = "from-file"\n')
    monkeypatch.setenv("FRAMELOOP_KAFKA__TOPIC", "from-environment")
    kafka = load_settings(config).kafka
    assert (kafka.topic, kafka.group_id) == ("from-environment", "from-file")


def test_a_file_where_the_command_runs_is_read(elsewhere: Path) -> None:
    (elsewhere / "frameloop.toml").write_text("[ingest]\nactors = 3\n", encoding="utf-8")
    assert load_settings().ingest.actors == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ingest]\nactors = 0\n", "ingest.actors: Input should be greater than or equal to 1"),
        ("[ingest]\nactor = 2\n", "ingest.actor: there is no such setting"),
        ("[ingst]\nactors = 2\n", "ingst: there is no such setting"),
        ("[kafka]\ntopic = 'a b'\n", "kafka.topic"),
        ("[kafka]\nsecurity_protocol = 'SSH'\n", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT'"),
        ("[ingest]\nbatch_bytes = 1000000000\n", "ingest.batch_bytes must not exceed"),
        ("[kafka]\nembedded = false\nsecurity_protocol = 'SASL_SSL'\n", "needs sasl_mechanism"),
        ("[kafka\n", "is no TOML"),
        ("[labels.judge]\nscorer = 'quality'\n", "training.label: there is no label 'score1'"),
        ("[labels.Score]\nscorer = 'quality'\n", "labels.Score"),
        ("[labels.score1]\nscorer = 'magic'\n", "there is no scorer 'magic'"),
        ("[labels.score1]\nscorer = 'quality'\ntype = 'bool'\n", "gives float32, not bool"),
        ("[labels.score1]\nscorer='quality'\n[labels.width]\nscorer='x.py:A'", "two columns width"),
        (
            "[labels.score1]\nscorer='quality'\nfilter='b > 1'\n"
            "[labels.b]\nscorer='quality'\nfilter='score1 > 1'\n",
            "wait for each other",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(
    text: str, words: str, elsewhere: Path
) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(written(elsewhere, text))
    assert words in str(error.value)


def test_a_misspelt_variable_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMELOOP_KAFKA__TOPICK", "x")
    with pytest.raises(SettingsError, match="did you mean FRAMELOOP_KAFKA__TOPIC"):
        load_settings()


def test_a_named_file_must_be_there(elsewhere: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings(elsewhere / "nothing.toml")


def test_a_password_is_never_shown(elsewhere: Path) -> None:
    secret = "hunter2-hunter2"
    config = written(
        elsewhere,
        "[kafka]\nembedded = false\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'PLAIN'\n"
        f"sasl_username = 'u'\nsasl_password = '{secret}'\n",
    )
    settings = load_settings(config)
    assert secret not in repr(settings) + settings.model_dump_json()
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == secret
    wrong = written(elsewhere, f"[kafka]\nsasl_password = ['{secret}']\n")
    with pytest.raises(SettingsError) as error:
        load_settings(wrong)
    assert secret not in str(error.value)
