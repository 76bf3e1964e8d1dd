"""The best and the worst frames on one picture, to see at a glance what a scorer likes."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PIXELS_MAX = 50_000_000
TILE_WIDTH, PICTURE_HEIGHT, TEXT_HEIGHT = 320, 240, 64
GAP, MARGIN, HEADING_HEIGHT, TITLE_HEIGHT = 16, 24, 44, 56
COLUMNS_MAX = 4
BACKGROUND, PANEL, PICTURE_GROUND = "#14161a", "#1f232a", "#0b0c0e"
TEXT, MUTED, GOOD, POOR = "#eef0f3", "#a8b0bb", "#5ec27f", "#e8795e"
ELLIPSIS = "…"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


Tile = tuple[bytes, float, str]
"""A frame's JPEG, its score, and its caption: the game, a full stop, and what is happening."""

Band = tuple[str, str, Sequence[Tile]]


def make_contact_sheet(
    best: Sequence[Tile], worst: Sequence[Tile], title: str = "Best and worst frames"
) -> bytes:
    """A PNG of both, each in the order given. The same tiles give the same bytes.

    Raises `ValueError` without a tile, or when an image can't be decoded.
    """
    bands: list[Band] = [("Best", GOOD, best), ("Worst", POOR, worst)]
    bands = [band for band in bands if band[2]]
    if not bands:
        raise ValueError("a contact sheet needs at least one tile")
    most = max(len(tiles) for _, _, tiles in bands)
    columns = -(-most // -(-most // COLUMNS_MAX))  # rows as few as can be, then columns
    width = 2 * MARGIN + columns * TILE_WIDTH + (columns - 1) * GAP
    height = TITLE_HEIGHT + MARGIN + sum(_band_height(len(b), columns) for _, _, b in bands)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), _cut(draw, title, _font(26), width - 2 * MARGIN), TEXT, _font(26))
    top = TITLE_HEIGHT + 8
    for band in bands:
        _draw_band(sheet, top, columns, band)
        top += _band_height(len(band[2]), columns)
    packed = io.BytesIO()
    sheet.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def _band_height(count: int, columns: int) -> int:
    rows = -(-count // columns)
    return HEADING_HEIGHT + rows * (PICTURE_HEIGHT + TEXT_HEIGHT + GAP)


def _draw_band(sheet: Image.Image, top: int, columns: int, band: Band) -> None:
    heading, colour, tiles = band
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, top + 10), f"{heading} {len(tiles)}", colour, _font(22))
    for number, tile in enumerate(tiles):
        left = MARGIN + number % columns * (TILE_WIDTH + GAP)
        height = PICTURE_HEIGHT + TEXT_HEIGHT + GAP
        _draw_tile(sheet, left, top + HEADING_HEIGHT + number // columns * height, colour, tile)


def _draw_tile(sheet: Image.Image, left: int, top: int, colour: str, tile: Tile) -> None:
    image, score, caption = tile
    game, _, rest = caption.partition(". ")
    draw = ImageDraw.Draw(sheet)
    bottom = top + PICTURE_HEIGHT + TEXT_HEIGHT
    draw.rectangle((left, top, left + TILE_WIDTH - 1, bottom - 1), fill=PANEL)
    draw.rectangle((left, top, left + TILE_WIDTH - 1, top + PICTURE_HEIGHT - 1), PICTURE_GROUND)
    picture = _fitted(image)
    sheet.paste(
        picture,
        (left + (TILE_WIDTH - picture.width) // 2, top + (PICTURE_HEIGHT - picture.height) // 2),
    )
    mark = f"{score:.1f}"
    right = left + TILE_WIDTH - 12
    draw.text((right, top + PICTURE_HEIGHT + 8), mark, colour, _font(22), anchor="ra")
    room = TILE_WIDTH - 36 - int(draw.textlength(mark, _font(22)))
    text_top = top + PICTURE_HEIGHT
    draw.text((left + 12, text_top + 10), _cut(draw, game, _font(19), room), TEXT, _font(19))
    shown = _cut(draw, rest, _font(16), TILE_WIDTH - 24)
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
