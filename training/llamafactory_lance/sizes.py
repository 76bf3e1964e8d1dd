"""Token counting needs an image's size only, which the reference holds: nothing is read, nothing decoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from llamafactory_lance.fetch import fetch_images
from llamafactory_lance.reference import ImageReference, is_reference

_sizes_only: ContextVar[bool] = ContextVar("llamafactory_lance_sizes_only", default=False)


@contextmanager
def sizes_only() -> Iterator[None]:
    """While it is active, references stand for blank images of their size. Outside, for their bytes."""
    token = _sizes_only.set(True)
    try:
        yield
    finally:
        _sizes_only.reset(token)


def resolve_images(images: list[Any]) -> list[Any]:
    """Images as LLaMA-Factory can open them; whatever is no reference is left as it is."""
    references = [image for image in images if is_reference(image)]
    if not references:
        return images
    if _sizes_only.get():
        from PIL import Image

        return [
            Image.new("RGB", ImageReference.parse(image).size) if is_reference(image) else image
            for image in images
        ]
    fetched = fetch_images(references)
    return [fetched[image] if is_reference(image) else image for image in images]


@dataclass
class SizedImage:
    """As much of a PIL image as LLaMA-Factory's `_preprocess_image` asks of one that it resizes."""

    width: int
    height: int
    mode: str = "RGB"

    def resize(self, size: tuple[int, int]) -> "SizedImage":
        return SizedImage(*size)


def patch_counts(plugin: Any, images: list[Any], processor: Any) -> list[int] | None:
    """Number of vision patches of each image by arithmetic alone, or None if it takes the image.

    For plugins of the Qwen2-VL family. Runs LLaMA-Factory's own resizing code on sizes, and the image
    processor's own count, so there is no second copy of the rules.
    """
    image_processor = getattr(processor, "image_processor", None)
    count = getattr(image_processor, "get_number_of_image_patches", None)
    if not _sizes_only.get() or count is None or not all(is_reference(image) for image in images):
        return None
    counts = []
    for image in images:
        resized = plugin._preprocess_image(
            SizedImage(*ImageReference.parse(image).size),
            image_max_pixels=getattr(processor, "image_max_pixels", 768 * 768),
            image_min_pixels=getattr(processor, "image_min_pixels", 32 * 32),
        )
        counts.append(int(count(resized.height, resized.width, {})))
    return counts
