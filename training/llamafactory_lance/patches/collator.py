"""llamafactory.data.collator: the references of a batch become bytes in one read."""

import functools
from typing import Any

from llamafactory_lance.fetch import fetch_images
from llamafactory_lance.reference import is_reference

NEEDS = ("MultiModalDataCollatorForSeq2Seq",)


def apply(module: Any) -> None:
    cls = module.MultiModalDataCollatorForSeq2Seq
    stock = cls.__call__

    @functools.wraps(stock)
    def __call__(self: Any, features: list[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        return stock(self, with_images(features), *args, **kwargs)

    cls.__call__ = __call__


def with_images(features: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same features, with bytes in place of references."""
    wanted = [image for one in features for image in one.get("images") or [] if is_reference(image)]
    if wanted:
        images = fetch_images(wanted)
        for one in features:
            if one.get("images"):
                one["images"] = [images[i] if is_reference(i) else i for i in one["images"]]
    return features
