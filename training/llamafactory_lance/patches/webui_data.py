"""llamafactory.webui.components.data: the preview shows a table's rows; images by their references."""

import functools
import json
from typing import Any

from llamafactory_lance import run
from llamafactory_lance.errors import LanceDatasetError

NEEDS = ("can_preview", "get_preview", "PAGE_SIZE", "gr")


def apply(module: Any) -> None:
    stock_can, stock_get = module.can_preview, module.get_preview

    @functools.wraps(stock_can)
    def can_preview(dataset_dir: str, dataset: list[str]) -> Any:
        if _is_lance(dataset_dir, dataset):
            return module.gr.Button(interactive=True)
        return stock_can(dataset_dir, dataset)

    @functools.wraps(stock_get)
    def get_preview(dataset_dir: str, dataset: list[str], page_index: int) -> Any:
        if not _is_lance(dataset_dir, dataset):
            return stock_get(dataset_dir, dataset, page_index)
        try:
            total, rows = preview(dataset_dir, dataset[0], module.PAGE_SIZE, int(page_index))
        except LanceDatasetError as error:
            raise module.gr.Error(str(error)) from error
        return total, rows, module.gr.Column(visible=True)

    module.can_preview, module.get_preview = can_preview, get_preview


def preview(dataset_dir: str, name: str, page_rows: int, page: int) -> tuple[int, list[dict[str, Any]]]:
    """Number of rows, and those of one page, as JSON values. Raises LanceDatasetError."""
    from llamafactory.data.loader import get_dataset_list

    run.current = run.Run()  # a preview shows the latest version, not that of a run before
    rows = run.load(get_dataset_list([name], dataset_dir)[0].dataset_name.spec, False, None)
    first, last = page * page_rows, min((page + 1) * page_rows, len(rows))
    return len(rows), json.loads(json.dumps([rows[i] for i in range(first, last)], default=str))


def _is_lance(dataset_dir: str, dataset: list[str]) -> bool:
    from llamafactory_lance.patches.loader import lance_entries

    return bool(dataset) and bool(lance_entries(dataset[:1], dataset_dir))
