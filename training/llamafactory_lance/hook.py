"""Post-import hook, installed by `llamafactory_lance.pth` in every interpreter of the environment.

Stdlib only, and nothing heavy at import: an interpreter that never imports LLaMA-Factory pays about a
millisecond. Set LLAMAFACTORY_LANCE_DISABLE=1 to leave LLaMA-Factory untouched.
"""

import os
import sys
from types import ModuleType
from typing import Any

PATCHES = {
    "llamafactory.data.loader": "loader",
    "llamafactory.data.collator": "collator",
    "llamafactory.data.mm_plugin": "mm_plugin",
    "llamafactory.train.pt.workflow": "pt_workflow",
    "llamafactory.webui.components.data": "webui_data",
}
"""LLaMA-Factory's module: our module in `patches` whose `apply` gets it once its body has run."""


class PatchingFinder:
    """Finds the modules named in PATCHES as the other finders do, and patches them after their body ran."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in PATCHES:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    _run_after(spec.loader, name)
                return spec
        return None


def _run_after(loader: Any, name: str) -> None:
    # The loader object stays the one of the stdlib, so inspect.getsource and importlib.resources work.
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        from llamafactory_lance.patches import apply_patch

        apply_patch(PATCHES[name], module)

    loader.exec_module = exec_module


def install() -> None:
    """Install the hook once; a second call does nothing."""
    if os.environ.get("LLAMAFACTORY_LANCE_DISABLE") == "1":
        return
    if not any(isinstance(finder, PatchingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, PatchingFinder())
