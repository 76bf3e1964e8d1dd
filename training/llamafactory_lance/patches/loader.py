"""llamafactory.data.loader: Lance entries are recognised, pinned and loaded; all others take the old way."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llamafactory_lance import run, settings
from llamafactory_lance.dataset import TableName
from llamafactory_lance.patches import require_supported
from llamafactory_lance.sizes import sizes_only
from llamafactory_lance.spec import TableSpec, is_lance_entry, table_spec

NEEDS = (
    "get_dataset_list",
    "load_dataset",
    "get_dataset",
    "has_tokenized_data",
    "_get_dataset_processor",
    "PretrainDatasetProcessor",
)
_CONFIG = "dataset_info.json"


def apply(module: Any) -> None:
    module.get_dataset_list = _dataset_list(module.get_dataset_list)
    module.load_dataset = _load_dataset(module.load_dataset)
    module.get_dataset = _get_dataset(module)
    module._get_dataset_processor = _dataset_processor(module._get_dataset_processor)
    for name, value in vars(module).items():
        if name.endswith("DatasetProcessor") and "preprocess_dataset" in vars(value):
            value.preprocess_dataset = _counting(value.preprocess_dataset)


def apply_refusal(module: Any) -> None:
    """For a LLaMA-Factory that is not supported: say so once a Lance entry is asked for."""
    stock = module.get_dataset_list

    @functools.wraps(stock)
    def get_dataset_list(dataset_names: list[str] | None, dataset_dir: Any, *rest: Any, **more: Any) -> Any:
        if lance_entries(dataset_names, dataset_dir):
            require_supported()
        return stock(dataset_names, dataset_dir, *rest, **more)

    module.get_dataset_list = get_dataset_list


def _dataset_list(stock: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    @functools.wraps(stock)
    def get_dataset_list(dataset_names: list[str] | None, dataset_dir: Any) -> list[Any]:
        lance = lance_entries(dataset_names, dataset_dir)
        if not lance:
            return stock(dataset_names, dataset_dir)
        require_supported()
        attrs = []
        for name in dataset_names or []:
            if name in lance:
                attrs.append(_attr(stock, name, lance[name], dataset_dir))
            else:
                attrs.extend(stock([name], dataset_dir))
        return attrs

    return get_dataset_list


def _attr(stock: Callable[..., list[Any]], name: str, entry: dict[str, Any], dataset_dir: Any) -> Any:
    attr = stock([name], {name: {"file_name": "", **entry}})[0]
    attr.dataset_name = TableName(table_spec(name, entry, attr, dataset_dir))
    # Goes straight to `load_dataset(path=dataset_name)`, and leaves images alone instead of looking for
    # a file by each one's name.
    attr.load_from = "hf_hub"
    return attr


def lance_entries(names: list[str] | None, dataset_dir: Any) -> dict[str, dict[str, Any]]:
    info = dataset_dir if isinstance(dataset_dir, dict) else _read_info(dataset_dir)
    entries = {name: info.get(name) for name in names or []}
    return {n: entry for n, entry in entries.items() if isinstance(entry, dict) and is_lance_entry(entry)}


def _read_info(dataset_dir: Any) -> dict[str, Any]:
    """Empty where there is no such file (ONLINE, REMOTE:) or no JSON: LLaMA-Factory's own error is best."""
    try:
        info = json.loads((Path(dataset_dir) / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return {}
    return info if isinstance(info, dict) else {}


def _load_dataset(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def load_dataset(path: str, *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, TableName):
            return run.load(path.spec, bool(kwargs.get("streaming")), kwargs.get("cache_dir"))
        return stock(path, *args, **kwargs)

    return load_dataset


def _get_dataset(module: Any) -> Callable[..., Any]:
    stock = module.get_dataset

    @functools.wraps(stock)
    def get_dataset(
        template: Any,
        model_args: Any,
        data_args: Any,
        training_args: Any,
        stage: str,
        *rest: Any,
        **more: Any,
    ) -> Any:
        run.current = run.Run()
        if specs := _specs(module, data_args):
            settings.check(specs, stage, template, data_args, training_args)
            path = data_args.tokenized_path
            # Saved tokens name their version in each reference and need no table now.
            chosen = [] if path is not None and module.has_tokenized_data(path) else specs
            run.begin(chosen, data_args, training_args, model_args.cache_dir)
            if stage == "pt" and any(spec.image_column for spec in specs):
                run.current.image_pretraining = template
            _log(module.logger)
        return stock(template, model_args, data_args, training_args, stage, *rest, **more)

    return get_dataset


def _specs(module: Any, data_args: Any) -> list[TableSpec]:
    names = [*(data_args.dataset or []), *(data_args.eval_dataset or [])]
    if not lance_entries(names, data_args.dataset_dir):
        return []
    attrs = module.get_dataset_list(names, data_args.dataset_dir)
    return [attr.dataset_name.spec for attr in attrs if isinstance(attr.dataset_name, TableName)]


def _log(logger: Any) -> None:
    for spec, pin in run.current.pins.items():
        left_out = ""
        if pin.tally:
            left_out = (
                f", {pin.tally['rows']} rows ({pin.tally['text_null']} left out because "
                f"{spec.text_column!r} is null, {pin.tally['image_null']} because the image is null)"
            )
        logger.info_rank0(f"{spec.title} is read at version {pin.version}{left_out}.")


def _dataset_processor(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def _get_dataset_processor(
        data_args: Any, stage: str, template: Any, tokenizer: Any, processor: Any, do_generate: bool = False
    ) -> Any:
        if stage == "pt" and run.current.pins:
            from llamafactory_lance.pretrain import ImagePretrainProcessor, TextPretrainProcessor

            with_images = run.current.image_pretraining is not None
            processor_class = ImagePretrainProcessor if with_images else TextPretrainProcessor
            return processor_class(
                template=template, tokenizer=tokenizer, processor=processor, data_args=data_args
            )
        return stock(data_args, stage, template, tokenizer, processor, do_generate)

    return _get_dataset_processor


def _counting(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def preprocess_dataset(self: Any, examples: dict[str, list[Any]]) -> Any:
        with sizes_only():
            return stock(self, examples)

    return preprocess_dataset
