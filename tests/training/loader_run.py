"""Script, one process of its own: a trainer's data side, tokenization and forked loader workers included.

    python loader_run.py DATA_DIR MODEL_DIR DATASET...

Prints as JSON, by dataset: a checksum of all tensors of each batch, and whether this process had imported
Lance before and after its loader workers were forked.
"""

import hashlib
import json
import sys
from typing import Any


def report(data_dir: str, model_dir: str, dataset: str) -> dict[str, Any]:
    from llamafactory.data import (
        SFTDataCollatorWith4DAttentionMask,
        get_dataset,
        get_template_and_fix_tokenizer,
    )
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    model_args, data_args, training_args, *_ = get_train_args(
        {
            "model_name_or_path": model_dir,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "image_max_pixels": 12544,
            "image_min_pixels": 784,
            "dataset_dir": data_dir,
            "dataset": dataset,
            "template": "qwen2_vl",
            "cutoff_len": 256,
            "preprocessing_num_workers": 2,
            "overwrite_cache": True,
            "output_dir": f"{data_dir}/none",
            "report_to": "none",
        }
    )
    tokens = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
    module = get_dataset(template, model_args, data_args, training_args, "sft", **tokens)
    before = "lance" in sys.modules
    collator = SFTDataCollatorWith4DAttentionMask(template=template, pad_to_multiple_of=8, **tokens)
    checksums = _checksums(module["train_dataset"], collator)
    return {"checksums": checksums, "lance_before": before, "lance_after": "lance" in sys.modules}


def _checksums(dataset: Any, collator: Any) -> list[str]:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        dataset, batch_size=4, num_workers=2, collate_fn=collator, multiprocessing_context="fork"
    )
    checksums = []
    for _ in range(2):  # two epochs: workers are forked again
        for batch in loader:
            digest = hashlib.sha256()
            for name in sorted(batch):
                digest.update(name.encode() + batch[name].numpy().tobytes())
            checksums.append(digest.hexdigest())
    return checksums


if __name__ == "__main__":
    data_dir, model_dir, *datasets = sys.argv[1:]
    reports = {dataset: report(data_dir, model_dir, dataset) for dataset in datasets}
    print("\n" + json.dumps(reports))
