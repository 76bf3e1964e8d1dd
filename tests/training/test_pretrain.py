"""Stage `pt`: images become image tokens without loss; a placeholder is never trained as a word."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llamafactory_lance.errors import SettingsError
from llamafactory_lance.reference import ImageColumn, ImageReference

REFERENCE = str(
    ImageReference(ImageColumn("/nowhere/t.lance", 1, "0123456789ab", "image"), 0, 112, 112)
)
IMAGE_TOKENS = 16  # 112 x 112 pixels, 28 x 28 to a token


@pytest.fixture(scope="module")
def parts(model_dir: Path) -> dict[str, Any]:
    from llamafactory.data.mm_plugin import get_mm_plugin
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(model_dir)
    processor.image_min_pixels, processor.image_max_pixels = 784, 12544
    plugin = get_mm_plugin("qwen2_vl", image_token="<|image_pad|>", video_token="<|video_pad|>")
    data_args = SimpleNamespace(template="qwen2_vl", packing=False, cutoff_len=64)
    return {
        "template": SimpleNamespace(mm_plugin=plugin),
        "tokenizer": processor.tokenizer,
        "processor": processor,
        "data_args": data_args,
    }


def examples(*documents: tuple[str, list[str] | None]) -> dict[str, list[Any]]:
    return {
        "_prompt": [[{"role": "user", "content": text}] for text, _ in documents],
        "_images": [images for _, images in documents],
    }


def test_an_image_becomes_tokens_that_carry_no_loss(parts: dict[str, Any]) -> None:
    from llamafactory_lance.pretrain import ImagePretrainProcessor

    batch = examples(("lives <image> 5", [REFERENCE]))
    out = ImagePretrainProcessor(**parts).preprocess_dataset(batch)
    image, start, end = parts["tokenizer"].convert_tokens_to_ids(
        ["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"]
    )
    tokens, labels = out["input_ids"][0], out["labels"][0]
    assert tokens.count(image) == IMAGE_TOKENS
    assert tokens.count(start) == tokens.count(end) == 1
    assert [t for t, label in zip(tokens, labels, strict=True) if label == -100] == [
        start,
        *[image] * IMAGE_TOKENS,
        end,
    ]
    assert tokens[-1] == labels[-1] == parts["tokenizer"].eos_token_id
    assert out["images"] == [[REFERENCE]]


def test_text_is_tokenized_as_by_the_stock_processor(parts: dict[str, Any]) -> None:
    from llamafactory.data.processor import PretrainDatasetProcessor
    from llamafactory_lance.pretrain import ImagePretrainProcessor

    batch = examples(("a game screenshot Pong, lives 1", None), ("Breakout " * 100, []))
    ours = ImagePretrainProcessor(**parts).preprocess_dataset(batch)
    stock = PretrainDatasetProcessor(**parts).preprocess_dataset(batch)
    assert ours["input_ids"] == ours["labels"] == stock["input_ids"]


def test_a_document_is_never_cut_through_an_image(parts: dict[str, Any]) -> None:
    from llamafactory_lance.pretrain import ImagePretrainProcessor

    long = "Breakout " * 100
    batch = examples((f"{long}<image>", [REFERENCE]), ("<image>short", [REFERENCE]))
    assert len(ImagePretrainProcessor(**parts).preprocess_dataset(batch)["input_ids"]) == 1


def test_a_placeholder_without_an_image_column_is_refused(parts: dict[str, Any]) -> None:
    from llamafactory_lance.pretrain import TextPretrainProcessor

    processor = TextPretrainProcessor(**parts)
    assert processor.preprocess_dataset(examples(("Pong", None)))["input_ids"]
    with pytest.raises(SettingsError, match="maps no image column"):
        processor.preprocess_dataset(examples(("Pong <image>", None)))


def test_the_trainer_of_an_image_run_gets_the_collator_that_knows_images(
    parts: dict[str, Any], fresh_run: None
) -> None:
    from llamafactory.data import MultiModalDataCollatorForSeq2Seq
    from llamafactory_lance import run
    from llamafactory_lance.patches import pt_workflow

    made: list[dict[str, Any]] = []
    module = SimpleNamespace(
        CustomTrainer=type("T", (), {"__init__": lambda self, **kw: made.append(kw)})
    )
    pt_workflow.apply(module)
    given = {"model": None, "tokenizer": parts["tokenizer"], "processor": parts["processor"]}
    module.CustomTrainer(data_collator="stock", **given)
    run.current.image_pretraining = parts["template"]
    module.CustomTrainer(data_collator="stock", **given)
    assert made[0]["data_collator"] == "stock"
    assert isinstance(made[1]["data_collator"], MultiModalDataCollatorForSeq2Seq)
