"""Counting by size gives the tokens that LLaMA-Factory counts by opening the image."""

import random
from pathlib import Path
from typing import Any

import pytest
from llamafactory_lance.reference import ImageColumn, ImageReference
from llamafactory_lance.sizes import resolve_images, sizes_only
from PIL import Image

SOURCE = ImageColumn("/nowhere/t.lance", 1, "0123456789ab", "image")


@pytest.fixture(scope="module")
def processor(model_dir: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(model_dir)


def sizes(count: int) -> list[tuple[int, int]]:
    draw = random.Random(7)
    odd = [(1, 1), (10, 3000), (3000, 10), (27, 28), (28, 27), (2000, 5)]
    return odd + [(draw.randint(5, 900), draw.randint(5, 900)) for _ in range(count)]


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl"])
@pytest.mark.parametrize(("pixels_min", "pixels_max"), [(784, 12544), (32 * 32, 768 * 768)])
def test_counts_equal_the_ordinary_route(
    name: str, pixels_min: int, pixels_max: int, processor: Any
) -> None:
    from llamafactory.data.mm_plugin import get_mm_plugin

    plugin = get_mm_plugin(name, image_token="<|image_pad|>", video_token="<|video_pad|>")
    processor.image_min_pixels, processor.image_max_pixels = pixels_min, pixels_max
    for size in sizes(25):
        message = [{"role": "user", "content": "<image>x<image>"}]
        image = Image.new("RGB", size)
        ordinary = plugin.process_messages(message, [image, image], [], [], processor)
        reference = str(ImageReference(SOURCE, 0, *size))
        with sizes_only():
            counted = plugin.process_messages(message, [reference, reference], [], [], processor)
        assert counted == ordinary, size


def test_other_plugins_see_a_blank_image_of_the_right_size() -> None:
    with sizes_only():
        blank, other = resolve_images([str(ImageReference(SOURCE, 0, 31, 17)), "a.png"])
    assert (blank.size, other) == ((31, 17), "a.png")
