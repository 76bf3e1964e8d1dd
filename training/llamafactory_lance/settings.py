"""Checks of the training configuration, before anything heavy is loaded."""

from typing import Any

from llamafactory_lance.errors import SettingsError, UnsupportedError
from llamafactory_lance.spec import TableSpec

PRETRAIN_PLUGINS = ("Qwen2VLPlugin", "Qwen3VLPlugin")


def check(specs: list[TableSpec], stage: str, template: Any, data_args: Any, training_args: Any) -> None:
    """Raises SettingsError or UnsupportedError for what would train wrongly, or fail later and unclearly."""
    with_images = [spec for spec in specs if spec.image_column]
    if not with_images:
        return
    if data_args.streaming and training_args.accelerator_config.dispatch_batches is not False:
        raise SettingsError(
            f"{with_images[0].title}: `streaming: true` with images needs "
            "`accelerator_config: {dispatch_batches: false}`; without it accelerate cuts the pixel patches "
            "of a batch as if each row were one sample"
        )
    if stage == "pt":
        _check_pretraining(with_images, template, data_args)


def _check_pretraining(specs: list[TableSpec], template: Any, data_args: Any) -> None:
    if data_args.packing:
        raise SettingsError(
            f"{specs[0].title}: stage `pt` with images needs `packing: false`; packing is on unless set, and "
            "cuts documents through their images"
        )
    plugin = type(template.mm_plugin).__name__
    if plugin not in PRETRAIN_PLUGINS:
        raise UnsupportedError(
            f"{specs[0].title}: stage `pt` with images is supported for templates with "
            f"{' or '.join(PRETRAIN_PLUGINS)}, not {plugin}; "
            "LLaMA-Factory itself would train <image> as a word"
        )
    for spec in specs:
        if spec.formatting != "alpaca":
            raise SettingsError(
                f"{spec.title}: stage `pt` trains the prompt only and would drop every answer; map the text "
                'to learn with "formatting": "alpaca", "columns": {"prompt": ...}, or use stage `sft`'
            )
