"""The best and the worst frames on one picture, to see at a glance what a scorer likes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

PIXELS_MAX = 50_000_000
TILE_WIDTH, PICTURE_HEIGHT, TEXT_HEIGHT = 320, 240, 64
GAP, MARGIN, HEADING_HEIGHT, TITLE_HEIGHT = 16, 24, 44, 56
COLUMNS = 4
BACKGROUND, PANEL, PICTURE_GROUND = "#14161a", "#1f232a", "#0b0c0e"
TEXT, MUTED, GOOD, POOR = "#eef0f3", "#a8b0bb", "#5ec27f", "#e8795e"
ELLIPSIS = "…"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Tile:
    """One scored frame. `caption` may repeat the game's name at its start; it is shown once."""

    image: bytes
    score: float
    game: str
    caption: str = ""


def contact_sheet(tiles: Sequence[Tile], each: int = 8, title: str = "Scored frames") -> bytes:
    """A PNG with the `each` best tiles, best first, and the `each` worst, worst first.

    No tile is shown twice: of fewer than `2 * each`, the better half is best. The same tiles give
    the same picture. Raises `ValueError` without tiles, or when an image can't be decoded.
    """
    if not tiles or each < 1:
        raise ValueError("a contact sheet needs at least one tile")
    ranked = sorted(tiles, key=lambda tile: -tile.score)
    best = ranked[: min(each, (len(ranked) + 1) // 2)]
    worst = ranked[len(best) :][-each:][::-1]
    bands = [("Best", GOOD, best), ("Worst", POOR, worst)] if worst else [("Best", GOOD, best)]
    columns = min(COLUMNS, len(best))
    width = 2 * MARGIN + columns * TILE_WIDTH + (columns - 1) * GAP
    height = TITLE_HEIGHT + MARGIN + sum(_band_height(len(b), columns) for _, _, b in bands)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), _cut(draw, title, _font(26), width - 2 * MARGIN), TEXT, _font(26))
    top = TITLE_HEIGHT + 8
    for heading, colour, band in bands:
        _draw_band(sheet, top, columns, (heading, colour, band))
        top += _band_height(len(band), columns)
    packed = io.BytesIO()
    sheet.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def _band_height(count: int, columns: int) -> int:
    rows = -(-count // columns)
    return HEADING_HEIGHT + rows * (PICTURE_HEIGHT + TEXT_HEIGHT + GAP)


def _draw_band(
    sheet: Image.Image, top: int, columns: int, band: tuple[str, str, Sequence[Tile]]
) -> None:
    heading, colour, tiles = band
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, top + 10), f"{heading} {len(tiles)}", colour, _font(22))
    for number, tile in enumerate(tiles):
        left = MARGIN + number % columns * (TILE_WIDTH + GAP)
        height = PICTURE_HEIGHT + TEXT_HEIGHT + GAP
        _draw_tile(sheet, left, top + HEADING_HEIGHT + number // columns * height, colour, tile)


def _draw_tile(sheet: Image.Image, left: int, top: int, colour: str, tile: Tile) -> None:
    draw = ImageDraw.Draw(sheet)
    bottom = top + PICTURE_HEIGHT + TEXT_HEIGHT
    draw.rectangle((left, top, left + TILE_WIDTH - 1, bottom - 1), fill=PANEL)
    draw.rectangle((left, top, left + TILE_WIDTH - 1, top + PICTURE_HEIGHT - 1), PICTURE_GROUND)
    picture = _fitted(tile.image)
    sheet.paste(
        picture,
        (left + (TILE_WIDTH - picture.width) // 2, top + (PICTURE_HEIGHT - picture.height) // 2),
    )
    score = f"{tile.score:.1f}"
    right = left + TILE_WIDTH - 12
    draw.text((right, top + PICTURE_HEIGHT + 8), score, colour, _font(22), anchor="ra")
    room = TILE_WIDTH - 36 - int(draw.textlength(score, _font(22)))
    text_top = top + PICTURE_HEIGHT
    draw.text((left + 12, text_top + 10), _cut(draw, tile.game, _font(19), room), TEXT, _font(19))
    caption = tile.caption.removeprefix(f"{tile.game}. ")
    shown = _cut(draw, caption, _font(16), TILE_WIDTH - 24)
    draw.text((left + 12, text_top + 38), shown, MUTED, _font(16))


def _fitted(image: bytes) -> Image.Image:
    """As large as its place allows. Enlarged without blur: Atari's pixels are meant to be seen."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            if opened.width * opened.height > PIXELS_MAX:
                raise ValueError(f"an image of {opened.width}x{opened.height} is not shown")
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a tile's image can't be decoded: {error}") from None
    scale = min(TILE_WIDTH / picture.width, PICTURE_HEIGHT / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    enlarged = scale > 1
    return picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def _cut(draw: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
    """The text on one line, cut where the width ends."""
    line = " ".join(text[:200].split())
    if draw.textlength(line, font) <= width:
        return line
    while line and draw.textlength(line + ELLIPSIS, font) > width:
        line = line[:-1]
    return line.rstrip() + ELLIPSIS


def _font(size: int) -> Font:
    """Pillow's own: the same picture on every machine."""
    return ImageFont.load_default(size)
