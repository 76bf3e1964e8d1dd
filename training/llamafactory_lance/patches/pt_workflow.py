"""llamafactory.train.pt.workflow: a run on images gets the collator that knows images."""

import functools
from typing import Any

from llamafactory_lance import run

NEEDS = ("CustomTrainer", "run_pt")


def apply(module: Any) -> None:
    stock = module.CustomTrainer

    @functools.wraps(stock, updated=())
    def trainer(**kwargs: Any) -> Any:
        template = run.current.image_pretraining
        if template is not None:
            kwargs["data_collator"] = _collator(template, kwargs)
        return stock(**kwargs)

    module.CustomTrainer = trainer


def _collator(template: Any, kwargs: dict[str, Any]) -> Any:
    from llamafactory.data import MultiModalDataCollatorForSeq2Seq
    from llamafactory.extras.constants import IGNORE_INDEX

    return MultiModalDataCollatorForSeq2Seq(
        template=template,
        model=kwargs["model"],
        tokenizer=kwargs["tokenizer"],
        processor=kwargs["processor"],
        label_pad_token_id=IGNORE_INDEX,
        pad_to_multiple_of=8,
    )
