"""What is changed inside LLaMA-Factory. Each module's `apply(module)` gets the module just executed.

On a version of LLaMA-Factory that is not supported nothing is changed but one function, which then says so
when, and only when, an entry asks for a Lance table.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from llamafactory_lance.errors import UnsupportedError

SUPPORTED = ("0.9.5",)

_missing: list[str] = []


def apply_patch(name: str, module: ModuleType) -> None:
    """Apply one patch; never raises for an unknown LLaMA-Factory, so that ordinary use goes on."""
    patch = import_module(f"llamafactory_lance.patches.{name}")
    absent = [symbol for symbol in patch.NEEDS if not hasattr(module, symbol)]
    _missing.extend(f"{module.__name__}.{symbol}" for symbol in absent)
    if not absent and installed_version() in SUPPORTED:
        patch.apply(module)
    elif name == "loader" and hasattr(module, "get_dataset_list"):
        patch.apply_refusal(module)


def installed_version() -> str:
    try:
        return version("llamafactory")
    except PackageNotFoundError:
        return "unknown"


def require_supported() -> None:
    """Raises UnsupportedError unless all patches fit this LLaMA-Factory."""
    found = installed_version()
    if found in SUPPORTED and not _missing:
        return
    lacks = f" (it lacks {', '.join(_missing)})" if _missing else ""
    raise UnsupportedError(
        f"Lance datasets are supported with LLaMA-Factory {', '.join(SUPPORTED)}; this is {found}{lacks}"
    )
