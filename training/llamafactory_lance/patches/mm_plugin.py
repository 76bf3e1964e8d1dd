"""llamafactory.data.mm_plugin: references are accepted as images, and counted by their size."""

import functools
from collections.abc import Callable
from typing import Any

from llamafactory_lance.sizes import patch_counts, resolve_images

NEEDS = ("MMPluginMixin", "Qwen2VLPlugin", "Qwen3VLPlugin")


def apply(module: Any) -> None:
    for value in list(vars(module).values()):
        is_plugin = isinstance(value, type) and issubclass(value, module.MMPluginMixin)
        if is_plugin and "_regularize_images" in vars(value):
            value._regularize_images = _regularize(value._regularize_images)
    family = (module.Qwen2VLPlugin, module.Qwen3VLPlugin)
    module.Qwen2VLPlugin._get_mm_token_metadata = _token_metadata(
        module.Qwen2VLPlugin._get_mm_token_metadata, family
    )


def _regularize(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def _regularize_images(self: Any, images: list[Any], **kwargs: Any) -> Any:
        return stock(self, resolve_images(images), **kwargs)

    return _regularize_images


def _token_metadata(stock: Callable[..., Any], family: tuple[type, ...]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def _get_mm_token_metadata(
        self: Any, images: list[Any], videos: list[Any], audios: list[Any], processor: Any
    ) -> Any:
        # Exact types: a subclass may count otherwise.
        if type(self) in family and images and not videos and not audios:
            counts = patch_counts(self, images, processor)
            if counts is not None:
                import torch

                # The caller multiplies time, height and width: only the product counts.
                return {"image_grid_thw": torch.tensor([[1, 1, count] for count in counts])}
        return stock(self, images, videos, audios, processor)

    return _get_mm_token_metadata
