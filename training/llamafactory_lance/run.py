"""What one training run has agreed on: the version of each table, the same on all ranks."""

from dataclasses import dataclass, field
from typing import Any

from llamafactory_lance import helper_client
from llamafactory_lance.dataset import cache_root, map_dataset, streamed_dataset
from llamafactory_lance.errors import LanceDatasetError
from llamafactory_lance.helper_client import Pin
from llamafactory_lance.spec import TableSpec


@dataclass
class Run:
    """State between LLaMA-Factory's `get_dataset` and the functions it calls. One for each process."""

    pins: dict[TableSpec, Pin] = field(default_factory=dict)
    shards_max: int = 1
    image_pretraining: Any = None
    """The template, if this run is stage `pt` on images."""


current = Run()


def begin(specs: list[TableSpec], data_args: Any, training_args: Any, cache_dir: str | None) -> None:
    """Choose versions on rank 0, check and scan there, and tell the others. Call on all ranks at once.

    Any error of rank 0 is raised on every rank, so that none is left waiting for it.
    """
    global current
    current = Run(shards_max=max(1, training_args.dataloader_num_workers))
    distinct = list(dict.fromkeys(specs))
    answer: list[Any] = [None]
    if training_args.process_index == 0:
        answer = [_chosen(distinct, data_args.streaming, cache_root(cache_dir))]
    if training_args.world_size > 1:
        import torch.distributed

        torch.distributed.broadcast_object_list(answer, src=0)
    if isinstance(answer[0], LanceDatasetError):
        raise answer[0]
    current.pins = dict(zip(distinct, answer[0], strict=True))


def _chosen(specs: list[TableSpec], streaming: bool, cache: str) -> list[Pin] | LanceDatasetError:
    try:
        return [
            helper_client.resolve(spec) if streaming else helper_client.prepare(spec, None, cache)
            for spec in specs
        ]
    except LanceDatasetError as error:
        return error


def load(spec: TableSpec, streaming: bool, cache_dir: str | None) -> Any:
    """The dataset of a spec, at the version agreed on; outside of a run, at the latest one."""
    pin = current.pins.get(spec)
    if streaming:
        pin = pin or helper_client.resolve(spec)
        return streamed_dataset(spec, pin, current.shards_max)
    # Another node may not share rank 0's cache, so its rows are prepared here; a warm cache costs one
    # start of the helper, which the rank that prepared them is spared.
    if pin is None or not _is_here(pin):
        pin = helper_client.prepare(spec, pin, cache_root(cache_dir))
    return map_dataset(pin)


def _is_here(pin: Pin) -> bool:
    from pathlib import Path

    return Path(pin.path).is_file()
