"""Make a tiny Qwen2-VL with random weights, to train and serve for real without a network.

    python training/tiny_model.py OUT_DIR [--preset lora|full] [--seed N]

Run it with the training environment's Python. `lora` is as fast to train as it gets; `full` (816k parameters)
learns to name games and to count lives when trained in full. The same arguments make the same bytes.
OUT_DIR appears whole or not at all; a second call with the same arguments does nothing.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MARKER = "tiny_model.json"
RECIPE_VERSION = 1
VOCABULARY_SIZE = 600
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
CORPUS = [
    "Please describe what is happening in this image",
    "a game screenshot MsPacman Breakout SpaceInvaders Pong Seaquest, lives 0 1 2 3 4 5",
    "user assistant system Doom basic corridor health ammunition score 6 7 8 9 points",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{m.role}}\n{% if m.content is string %}{{m.content}}{% else %}"
    "{% for part in m.content %}{% if part.type == 'text' %}{{part.text}}{% else %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Preset:
    """Sizes of the language model and of the vision tower. Heads are of 32 (text) and 32 (vision)."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    vision_layers: int
    vision_size: int
    vision_heads: int


PRESETS = {
    "lora": Preset(64, 128, 2, 2, 1, 1, 32, 1),
    "full": Preset(128, 256, 3, 4, 2, 3, 64, 2),
}


class ModelExistsError(RuntimeError):
    """OUT_DIR holds something that these arguments did not make; it is left alone."""


def make_model(out_dir: Path, preset: str = "lora", seed: int = 0) -> bool:
    """Make the model unless it is there. True if it was made. Raises ModelExistsError."""
    arguments = {"recipe_version": RECIPE_VERSION, "preset": preset, "seed": seed}
    if _is_made(out_dir, arguments):
        return False
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        _write(draft, PRESETS[preset], seed)
        (draft / MARKER).write_text(json.dumps({**arguments, **asdict(PRESETS[preset])}, indent=2))
        draft.chmod(0o755)  # mkdtemp's folders are for their maker only
        for file in draft.iterdir():
            file.chmod(0o644)
        try:
            draft.rename(out_dir)
        except OSError:  # another process was first
            if not _is_made(out_dir, arguments):
                raise
            return False
        return True
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_made(out_dir: Path, arguments: dict[str, Any]) -> bool:
    marker = out_dir / MARKER
    if marker.is_file():
        found = json.loads(marker.read_text())
        if {name: found.get(name) for name in arguments} == arguments:
            return True
        raise ModelExistsError(f"{out_dir} holds a model made with other arguments: {found}")
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ModelExistsError(f"{out_dir} exists and holds no model of this script")
    return False


def _write(folder: Path, preset: Preset, seed: int) -> None:
    import torch
    from transformers import (
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    Qwen2VLForConditionalGeneration(_config(preset, tokenizer)).save_pretrained(folder)
    Qwen2VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS * 5, trainer)
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=bpe,
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _config(preset: Preset, tokenizer: Any) -> Any:
    from transformers import Qwen2VLConfig

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": preset.hidden_size,
        "intermediate_size": preset.intermediate_size,
        "num_hidden_layers": preset.layers,
        "num_attention_heads": preset.heads,
        "num_key_value_heads": preset.key_value_heads,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": preset.vision_layers,
        "embed_dim": preset.vision_size,
        "hidden_size": preset.hidden_size,
        "num_heads": preset.vision_heads,
        "mlp_ratio": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
    }
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a tiny Qwen2-VL with random weights.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="lora")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        made = make_model(arguments.out_dir.absolute(), arguments.preset, arguments.seed)
    except ModelExistsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.out_dir} {'made' if made else 'is there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
