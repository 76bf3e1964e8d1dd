"""The pictures of the report: whole, the right size, the same each time, and honest about gaps."""

import io
import math
import sys

import pytest
from PIL import Image

from frameloop.core.errors import SettingsError
from frameloop.demo import contact_sheet
from frameloop.demo.contact_sheet import Tile, make_contact_sheet
from frameloop.demo.loss_curve import plot_loss_curve

RED, BLUE = (200, 30, 30), (30, 30, 200)


def tile(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (64, 48)) -> Tile:
    packed = io.BytesIO()
    Image.new("RGB", size, colour).save(packed, format="JPEG", quality=95)
    return packed.getvalue(), 12.5, "Doom. Health 100, ammo 50, kills 0."


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return image


def near(pixel: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 12 for a, b in zip(pixel, colour, strict=True))


def share(image: Image.Image, colour: tuple[int, int, int]) -> float:
    pixels = list(image.resize((100, 100), Image.Resampling.NEAREST).get_flattened_data())
    return sum(near(p, colour) for p in pixels) / len(pixels)


def test_the_best_are_above_the_worst() -> None:
    sheet = opened(make_contact_sheet([tile(RED)] * 4, [tile(BLUE)] * 4))
    upper = sheet.crop((0, 0, sheet.width, sheet.height // 2))
    lower = sheet.crop((0, sheet.height // 2, sheet.width, sheet.height))
    assert share(upper, RED) > 0.4
    assert share(lower, BLUE) > 0.4
    assert share(upper, BLUE) == share(lower, RED) == 0


def test_there_is_room_for_each_tile_in_at_most_four_columns() -> None:
    sizes = {n: opened(make_contact_sheet([tile()] * n, [])).size for n in (1, 4, 6, 8, 9)}
    heights = [height for _, height in sizes.values()]
    assert heights[0] == heights[1] < heights[2] == heights[3] < heights[4]
    assert sizes[1][0] < sizes[6][0] == sizes[9][0] < sizes[4][0] == sizes[8][0]


def test_the_same_tiles_give_the_same_picture() -> None:
    tiles = [tile(), tile(BLUE, (160, 210))]
    assert make_contact_sheet(tiles, tiles) == make_contact_sheet(tiles, tiles)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (160, 210), (1920, 1080)], ids=str)
def test_a_picture_of_any_shape_fits_its_place(size: tuple[int, int]) -> None:
    whole = opened(make_contact_sheet([tile()], []))
    assert opened(make_contact_sheet([tile(RED, size)], [])).size == whole.size


def test_text_of_any_length_changes_no_layout() -> None:
    image, score, _ = tile()
    size = opened(make_contact_sheet([tile()], [])).size
    for caption in ("", "x" * 10_000, "Two\nlines. And\ttabs", "雷神之锤. 生命值 100"):
        sheet = make_contact_sheet([(image, score, caption)], [], title="t" * 5000)
        assert opened(sheet).size == size


def test_what_can_not_be_shown_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    good = tile()
    monkeypatch.setattr(contact_sheet, "PIXELS_MAX", 64 * 48)
    for tiles in ([], [(b"no image", 1.0, "")], [(good[0][:200], 1.0, "")], [tile(size=(65, 48))]):
        with pytest.raises(ValueError, match=r"contact sheet|decoded|not shown"):
            make_contact_sheet(tiles, [])


@pytest.mark.parametrize("count", [1, 2, 7, 8, 200])
def test_a_loss_curve_is_drawn_for_any_number_of_points(count: int) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    image = opened(plot_loss_curve([(i, 3 / (i + 1)) for i in range(count)]))
    assert image.size == (1080, 576)


def test_losses_that_are_not_finite_change_the_picture_but_do_not_break_it() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    points = [(1, 2.0), (2, 1.0)]
    clean = plot_loss_curve(points)
    assert plot_loss_curve([*reversed(points)]) == clean
    assert plot_loss_curve([*points, (3, math.nan), (4, math.inf)]) != clean
    with pytest.raises(ValueError, match="finite"):
        plot_loss_curve([(1, math.nan)])


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib.backends.backend_agg", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=r"frameloop\[plots\]"):
        plot_loss_curve([(1, 1.0)])
