"""An entry of dataset_info.json is understood, or refused by naming what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import tables
from llamafactory_lance.errors import EntryError
from llamafactory_lance.spec import TableSpec, is_lance_entry


def spec_of(entry: dict[str, Any], dataset_dir: str = "/data") -> TableSpec:
    from llamafactory.data.parser import get_dataset_list
    from llamafactory_lance.spec import table_spec

    attr = get_dataset_list(["shots"], {"shots": {"file_name": "", **entry}})[0]
    return table_spec("shots", entry, attr, dataset_dir)


def test_a_path_is_relative_to_the_dataset_folder() -> None:
    assert spec_of(tables.entry("a/shots.lance")).uri == "/data/a/shots.lance"
    assert spec_of(tables.entry("/b/shots.lance")).uri == "/b/shots.lance"


def test_a_uri_is_left_as_it_is() -> None:
    assert spec_of(tables.entry("s3://bucket/shots.lance")).uri == "s3://bucket/shots.lance"


def test_only_mapped_columns_and_those_asked_for_are_read() -> None:
    spec = spec_of(tables.entry("shots.lance", columns=["score1", "image"]))
    assert spec.columns == ("messages", "image", "score1")
    assert (spec.text_column, spec.image_column) == ("messages", "image")


def test_options_reach_the_spec_and_survive_the_pipe() -> None:
    spec = spec_of(tables.entry("shots.lance", tag="run-1", filter="score1 >= 70", limit=5))
    assert (spec.tag, spec.filter, spec.limit, spec.version) == ("run-1", "score1 >= 70", 5, None)
    assert TableSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"versoin": 3},
            "unknown key 'versoin' under \"lance\"; known keys: version, tag, filter, columns, limit",
        ),
        ({"version": 1, "tag": "a"}, 'either "version" or "tag"'),
        ({"version": "1"}, '"lance"."version" cannot be \'1\''),
        ({"limit": 0}, '"lance"."limit" cannot be 0'),
        ({"filter": " "}, '"lance"."filter" cannot be'),
        ({"columns": "id"}, '"lance"."columns" cannot be'),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(EntryError) as error:
        spec_of(tables.entry("shots.lance", **options))
    assert words in str(error.value)
    assert "'shots'" in str(error.value)


@pytest.mark.parametrize("key", ["subset", "folder", "split", "hf_hub_url"])
def test_keys_that_mean_nothing_for_a_table_are_refused(key: str) -> None:
    with pytest.raises(EntryError, match=key):
        spec_of({**tables.entry("shots.lance"), key: "x"})


def test_lance_must_be_an_object_and_the_file_named() -> None:
    with pytest.raises(EntryError, match="must be an object"):
        spec_of({**tables.entry("shots.lance"), "lance": 3})
    with pytest.raises(EntryError, match='needs "file_name"'):
        spec_of({"lance": {}, "formatting": "sharegpt", "file_name": None})


def test_videos_are_refused() -> None:
    columns = {"messages": "messages", "videos": "clip"}
    with pytest.raises(EntryError, match="videos"):
        spec_of({**tables.entry("shots.lance"), "columns": columns})


def test_other_entries_are_left_to_llamafactory() -> None:
    assert is_lance_entry({"file_name": "shots.lance/"})
    assert is_lance_entry({"file_name": "table", "lance": {}})
    assert not is_lance_entry({"file_name": "shots.json"})
    assert not is_lance_entry({"hf_hub_url": "someone/shots"})


def test_an_ordinary_dataset_folder_is_read_by_llamafactory_alone(tmp_path: Path) -> None:
    from llamafactory.data.loader import get_dataset_list

    (tmp_path / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    attr = get_dataset_list(["a"], str(tmp_path))[0]
    assert (attr.load_from, attr.dataset_name) == ("file", "a.json")
    with pytest.raises(ValueError, match="Undefined dataset b"):
        get_dataset_list(["b"], str(tmp_path))
