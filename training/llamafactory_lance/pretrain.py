"""Continued pre-training on documents with images, which LLaMA-Factory 0.9.5 lacks.

Its stage `pt` drops images without a word and trains `<image>` as text. Here the placeholder becomes image
tokens, as in stage `sft`, which carry no loss.
"""

from typing import Any

from llamafactory.data.processor.pretrain import PretrainDatasetProcessor
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER

from llamafactory_lance.errors import SettingsError
from llamafactory_lance.sizes import sizes_only

logger = logging.get_logger("llamafactory.lance")


class TextPretrainProcessor(PretrainDatasetProcessor):  # type: ignore[misc]
    """The stock processor, but raises SettingsError for a placeholder that no image stands behind."""

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> Any:
        for prompt in examples["_prompt"]:
            if IMAGE_PLACEHOLDER in prompt[0]["content"]:
                raise SettingsError(
                    f"stage `pt`: a row's text has {IMAGE_PLACEHOLDER}, but its entry maps no image column, "
                    'so it would be trained as a word; set "images" under "columns", or mend the text'
                )
        return super().preprocess_dataset(examples)


class ImagePretrainProcessor(PretrainDatasetProcessor):  # type: ignore[misc]
    """Tokenizes documents with and without images.

    Guarantees: text is tokenized as the stock processor does it without packing; image tokens have no label;
    a document with images that is longer than `cutoff_len` is left out, with a warning, since a model's
    forward breaks on half an image. A class of its own name: caches of the stock processor are not reused.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        columns = ("input_ids", "attention_mask", "labels", "images", "videos", "audios")
        outputs: dict[str, list[Any]] = {name: [] for name in columns}
        with sizes_only():
            for prompt, images in zip(examples["_prompt"], examples["_images"], strict=True):
                self._append(outputs, prompt[0]["content"], images or [])
        return outputs

    def _append(self, outputs: dict[str, list[Any]], text: str, images: list[Any]) -> None:
        tokens = self._tokens(text, images)
        if len(tokens) > self.data_args.cutoff_len:
            if images:
                logger.warning_rank0(
                    f"Left out a document with images of {len(tokens)} tokens: longer than `cutoff_len`, "
                    f"{self.data_args.cutoff_len}."
                )
                return
            tokens = tokens[: self.data_args.cutoff_len]
        unlabelled = self._image_tokens()
        outputs["input_ids"].append(tokens)
        outputs["attention_mask"].append([1] * len(tokens))
        outputs["labels"].append([IGNORE_INDEX if token in unlabelled else token for token in tokens])
        outputs["images"].append(images or None)
        outputs["videos"].append(None)
        outputs["audios"].append(None)

    def _tokens(self, text: str, images: list[Any]) -> list[int]:
        message = {"role": "user", "content": text}
        plugin = self.template.mm_plugin
        content = plugin.process_messages([message], images, [], [], self.processor)[0]["content"]
        eos = "<|end_of_text|>" if self.data_args.template == "llama3" else self.tokenizer.eos_token
        bos = self.tokenizer.bos_token if getattr(self.tokenizer, "add_bos_token", False) else ""
        return list(self.tokenizer(f"{bos}{content}{eos}", add_special_tokens=False)["input_ids"])

    def _image_tokens(self) -> set[int]:
        plugin = self.template.mm_plugin
        texts = (plugin.image_token, plugin.vision_bos_token, plugin.vision_eos_token)
        return set(self.tokenizer.convert_tokens_to_ids(list(texts)))
