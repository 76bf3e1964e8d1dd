"""Tables and dataset folders for the tests."""

import io
import json
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from PIL import Image

SAMPLES = 24
SIZES = ((160, 210), (64, 48), (30, 200), (320, 100))
MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
ROWS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.large_binary()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("messages", MESSAGES),
        pa.field("attributes", pa.json_()),
        pa.field("score1", pa.float32()),
        pa.field("ballast", pa.large_binary()),
    ]
)
LEDGER = pa.field("ledger", pa.large_string())
TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
}


def encoded_image(index: int) -> bytes:
    width, height = SIZES[index % len(SIZES)]
    pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG" if index % 2 else "JPEG")
    return sink.getvalue()


def row(index: int) -> dict[str, Any]:
    width, height = SIZES[index % len(SIZES)]
    return {
        "id": f"row-{index}",
        "image": encoded_image(index),
        "width": width,
        "height": height,
        "messages": [
            {"role": "user", "content": "<image>Please describe what is happening in this image"},
            {"role": "assistant", "content": f"a game screenshot Pong, lives {index}"},
        ],
        "attributes": json.dumps({"lives": index}),
        "score1": float(index),
        "ballast": bytes([index]) * 100_000,
    }


def write_table(
    path: Path, rows: list[dict[str, Any]], rows_per_file: int = 10, ledger: bool = False
) -> str:
    """A table as the service writes it: the ledger row is a fragment without the other columns."""
    lance.write_dataset(
        pa.Table.from_pylist(rows, schema=ROWS), str(path), max_rows_per_file=rows_per_file
    )
    if ledger:
        schema = pa.schema([ROWS.field("id"), LEDGER])
        lance.dataset(str(path)).add_columns(LEDGER)
        ledger_row = pa.Table.from_pylist(
            [{"id": "frameloop:ledger", "ledger": "{}"}], schema=schema
        )
        lance.write_dataset(ledger_row, str(path), mode="append")
    return str(path)


def entry(file_name: str, **options: Any) -> dict[str, Any]:
    columns = {"messages": "messages", "images": "image"}
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": columns,
        "tags": TAGS,
        "lance": options,
    }


def write_dataset_dir(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    samples = []
    for index in range(SAMPLES):
        one = row(index)
        (folder / "images" / f"{index}.img").write_bytes(one["image"])
        samples.append({"messages": one["messages"], "images": [f"images/{index}.img"]})
    write_table(folder / "shots.lance", [row(index) for index in range(SAMPLES)], ledger=True)
    (folder / "shots.json").write_text(json.dumps(samples))
    ordinary = {**entry("shots.json"), "columns": {"messages": "messages", "images": "images"}}
    ordinary.pop("lance")
    info = {
        "files": ordinary,
        "table": entry("shots.lance"),
        "preview": entry("shots.lance", columns=["id", "attributes"]),
        "no_rows": entry("shots.lance", filter="score1 > 1000"),
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
