"""All ranks of a run read one version, and settings that would train wrongly stop it first."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lance
import pytest
import tables
from llamafactory_lance import helper_client, run, settings
from llamafactory_lance.dataset import TableName
from llamafactory_lance.errors import SettingsError, TableError, UnsupportedError
from test_scan import spec_for

pytestmark = pytest.mark.usefixtures("fresh_run")


def training_args(**changes: Any) -> Any:
    defaults = {"process_index": 0, "world_size": 1, "dataloader_num_workers": 0}
    accelerator_config = SimpleNamespace(dispatch_batches=None)
    return SimpleNamespace(**{**defaults, "accelerator_config": accelerator_config, **changes})


def data_args(**changes: Any) -> Any:
    return SimpleNamespace(**{"streaming": False, "packing": False, **changes})


def test_rank_0_chooses_and_the_rank_beside_it_reads_the_same_although_the_table_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed

    uri = tables.write_table(tmp_path / "t.lance", [tables.row(i) for i in range(3)])
    wire: list[Any] = []
    monkeypatch.setattr(
        torch.distributed, "broadcast_object_list", lambda box, src: wire.append(box[0])
    )
    run.begin([spec_for(uri)], data_args(), training_args(world_size=2), str(tmp_path))
    lance.write_dataset(lance.dataset(uri).to_table(), uri, mode="append")

    def receive(box: list[Any], src: int) -> None:
        box[0] = wire[0]

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", receive)
    other = training_args(world_size=2, process_index=1)
    run.begin([spec_for(uri)], data_args(), other, str(tmp_path))
    assert len(run.load(spec_for(uri), False, str(tmp_path))) == 3
    # A node that does not share the cache scans for itself, at the version that was chosen.
    assert len(run.load(spec_for(uri), False, str(tmp_path / "other node"))) == 3


def test_an_error_of_rank_0_is_raised_on_every_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed

    def receive(box: list[Any], src: int) -> None:
        box[0] = TableError("no such table")

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", receive)
    with pytest.raises(TableError, match="no such table"):
        run.begin(
            [spec_for("none")],
            data_args(),
            training_args(world_size=2, process_index=1),
            str(tmp_path),
        )


def test_a_dataset_hashes_by_version_spec_and_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.fingerprint import Hasher
    from llamafactory_lance.helper import prepare

    uri = tables.write_table(tmp_path / "t.lance", [tables.row(i) for i in range(3)])
    pins = [prepare.prepare(spec_for(uri, filter=f), None, tmp_path) for f in (None, "score1 > 0")]
    monkeypatch.setattr(prepare, "__version__", "0.1.1")
    pins.append(prepare.prepare(spec_for(uri), None, tmp_path))
    assert len({pin["fingerprint"] for pin in pins}) == 3
    names = [TableName(spec_for(uri, filter=f)) for f in (None, "score1 > 0")]
    assert Hasher.hash(names[0]) != Hasher.hash(names[1])


@pytest.mark.parametrize(("limit", "shards"), [(None, 3), (2, 1)])
def test_a_limit_holds_for_a_stream_of_many_fragments(
    tmp_path: Path, limit: int | None, shards: int
) -> None:
    uri = tables.write_table(tmp_path / "t.lance", [tables.row(i) for i in range(6)], 2)
    spec = spec_for(uri, limit=limit)
    begin_args = training_args(dataloader_num_workers=3)
    run.begin([spec], data_args(streaming=True), begin_args, None)
    dataset = run.load(spec, True, None)
    assert dataset.num_shards == shards
    assert len(list(dataset)) == (limit or 6)


def template(plugin: str) -> Any:
    return SimpleNamespace(mm_plugin=type(plugin, (), {})())


def test_streaming_images_needs_dispatch_batches_false() -> None:
    streaming = data_args(streaming=True)
    with pytest.raises(SettingsError, match=r"accelerator_config: \{dispatch_batches: false\}"):
        settings.check(
            [spec_for("u")], "sft", template("Qwen2VLPlugin"), streaming, training_args()
        )
    fine = training_args(accelerator_config=SimpleNamespace(dispatch_batches=False))
    settings.check([spec_for("u")], "sft", template("Qwen2VLPlugin"), streaming, fine)
    text = spec_for("u", columns=("messages",), image_column=None)
    settings.check([text], "sft", template("Qwen2VLPlugin"), streaming, training_args())


@pytest.mark.parametrize(
    ("formatting", "packing", "plugin", "kind", "words"),
    [
        ("alpaca", True, "Qwen2VLPlugin", SettingsError, "needs `packing: false`"),
        ("alpaca", False, "LlavaPlugin", UnsupportedError, "not LlavaPlugin"),
        ("sharegpt", False, "Qwen2VLPlugin", SettingsError, "would drop every answer"),
    ],
)
def test_pretraining_on_images_is_refused_where_it_would_go_wrong(
    formatting: str, packing: bool, plugin: str, kind: type[Exception], words: str
) -> None:
    spec = spec_for("u", formatting=formatting)
    with pytest.raises(kind, match=words):
        settings.check([spec], "pt", template(plugin), data_args(packing=packing), training_args())


def test_a_helper_that_dies_says_its_last_words() -> None:
    with pytest.raises(helper_client.LanceDatasetError, match="the helper process failed:"):
        helper_client._ask("no such operation", spec_for("u"), None)
