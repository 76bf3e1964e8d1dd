"""The Web UI's preview shows a table page by page, and its errors as errors."""

from pathlib import Path
from typing import Any

import pytest
import tables

pytestmark = pytest.mark.usefixtures("fresh_run")


@pytest.fixture
def webui(work: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import datasets
    from llamafactory.webui.components import data

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(work / "cache"))
    return data


def test_a_page_shows_rows_with_references_in_place_of_images(webui: Any, data_dir: Path) -> None:
    total, rows, _ = webui.get_preview(str(data_dir), ["preview"], 1)
    assert total == tables.SAMPLES
    assert [one["id"] for one in rows] == ["row-2", "row-3"]
    assert rows[0]["image"][0].startswith("lance:")
    assert "messages" in rows[0]
    assert webui.get_preview(str(data_dir), ["preview"], 99)[1] == []
    assert webui.can_preview(str(data_dir), ["preview"]).interactive


def test_errors_reach_the_page(webui: Any, data_dir: Path) -> None:
    with pytest.raises(webui.gr.Error, match="no rows that match"):
        webui.get_preview(str(data_dir), ["no_rows"], 0)


def test_ordinary_datasets_are_previewed_by_llamafactory(webui: Any, data_dir: Path) -> None:
    total, rows, _ = webui.get_preview(str(data_dir), ["files"], 0)
    assert total == tables.SAMPLES
    assert rows[0]["images"] == ["images/0.img"]
    assert not webui.can_preview(str(data_dir), []).interactive
