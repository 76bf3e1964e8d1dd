"""The hook is in every interpreter, costs nothing until needed, and breaks no release it does not know."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tables
from llamafactory_lance import patches
from llamafactory_lance.errors import UnsupportedError


def python(code: str, **env: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_new_interpreter_has_the_hook_and_nothing_heavy() -> None:
    code = (
        "import sys; print([type(f).__name__ for f in sys.meta_path].count('PatchingFinder'), "
        "sorted({'llamafactory', 'lance', 'pyarrow', 'datasets', 'torch'} & set(sys.modules)))"
    )
    assert python(code) == "1 []"
    assert python(code, LLAMAFACTORY_LANCE_DISABLE="1") == "0 []"


def loader_of(version_lacks: tuple[str, ...] = ()) -> Any:
    """A module like LLaMA-Factory's loader, of a release to come."""
    from llamafactory_lance.patches import loader

    module = ModuleType("llamafactory.data.loader")
    for name in loader.NEEDS:
        if name not in version_lacks:
            setattr(module, name, lambda *args, **kwargs: ["stock", args])
    return module


@pytest.fixture
def lance_info() -> dict[str, Any]:
    return {"shots": tables.entry("shots.lance"), "text": {"file_name": "a.json"}}


def test_an_unknown_release_works_and_refuses_lance_entries_only(
    monkeypatch: pytest.MonkeyPatch, lance_info: dict[str, Any]
) -> None:
    monkeypatch.setattr(patches, "installed_version", lambda: "0.9.9")
    module = loader_of()
    get_dataset = module.get_dataset
    patches.apply_patch("loader", module)
    assert module.get_dataset is get_dataset
    assert module.get_dataset_list(["text"], lance_info) == ["stock", (["text"], lance_info)]
    with pytest.raises(
        UnsupportedError, match=r"supported with LLaMA-Factory 0\.9\.5; this is 0\.9\.9"
    ):
        module.get_dataset_list(["text", "shots"], lance_info)


def test_a_changed_release_of_a_known_number_is_refused_by_naming_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, lance_info: dict[str, Any]
) -> None:
    monkeypatch.setattr(patches, "_missing", [])
    module = loader_of(version_lacks=("_get_dataset_processor",))
    patches.apply_patch("loader", module)
    with pytest.raises(
        UnsupportedError, match=r"it lacks llamafactory\.data\.loader\._get_dataset_processor"
    ):
        module.get_dataset_list(["shots"], lance_info)


def test_a_module_that_is_empty_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "_missing", [])
    for name in ("loader", "collator", "mm_plugin", "pt_workflow", "webui_data"):
        patches.apply_patch(name, ModuleType("llamafactory.future"))


def test_the_patched_module_keeps_its_source(data_dir: Path) -> None:
    import inspect

    from llamafactory.data import loader

    assert "def get_dataset(" in inspect.getsource(loader)
    assert SimpleNamespace(**vars(loader)).get_dataset.__wrapped__ is not None
