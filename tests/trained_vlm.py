"""A tiny vision-language model that really answers: trained by LLaMA-Factory, served by its server.

It has learnt three things, each by the words of the system prompt: to judge a picture as JSON, to
describe it, and to chat instead of judging. What it says depends on whether the picture is dark.

Pictures are strips, one token high, and the model minds only a token's place from left to right.
LLaMA-Factory 0.9.5 on transformers 5.6 serves Qwen2-VL with other positions than it trains with: its
engine passes no `mm_token_type_ids`, so that image tokens are numbered like text. Here the two agree;
a model as small as this one loses its thread where they do not.
"""

import contextlib
import io
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from frameloop.runtime.child import start_child, stop_child
from frameloop.runtime.embedded_kafka import free_port
from serve_apps import caption, judge

TRAINING = Path(__file__).resolve().parents[1] / ".venv-training"
SCRIPT = TRAINING.parent / "training" / "tiny_model.py"
LLAMAFACTORY = str(TRAINING / "bin" / "llamafactory-cli")
TRAIN_SECONDS_MAX = 900.0
UP_SECONDS_MAX = 240.0
SAMPLES_OF_EACH = 12
TOKEN_SIDE, TOKENS = 28, 8
PIXELS = {"image_max_pixels": TOKENS * TOKEN_SIDE**2, "image_min_pixels": TOKEN_SIDE**2}

KEY = "the-key-of-the-tiny-server"
JUDGE_PROMPT, CAPTION_PROMPT, CHAT_PROMPT = "Rate it.", "Tell it.", "Chat."
SCORES = {True: (12, "dark"), False: (95, "bright")}
CAPTIONS = {True: "a dark room", False: "a bright sky"}
CHAT = "i like games"


def frame(seed: int, dark: bool, kind: str = "JPEG") -> bytes:
    """An encoded picture, dark or bright, different with each seed."""
    low, high = (0, 60) if dark else (195, 255)
    blocks = np.random.default_rng(seed).integers(low, high, (2, 2 * TOKENS, 3), dtype=np.uint8)
    size = (TOKENS * TOKEN_SIDE, TOKEN_SIDE)
    target = io.BytesIO()
    image = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
    image.save(target, kind, quality=90)
    return target.getvalue()


def make_model(folder: Path) -> Path:
    """Train it, in full, from random weights. Returns its folder."""
    base, out = folder / "base", folder / "trained"
    python = str(TRAINING / "bin" / "python")
    subprocess.run([python, SCRIPT, base, "--preset", "full"], check=True, capture_output=True)
    _take_strips(base)
    _write_dataset(folder / "data")
    settings = {
        "model_name_or_path": str(base),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        **PIXELS,
        "dataset_dir": str(folder / "data"),
        "dataset": "frames",
        "template": "qwen2_vl",
        "cutoff_len": 1024,
        "output_dir": str(out),
        "logging_steps": 30,
        "save_strategy": "no",
        "per_device_train_batch_size": 4,
        "learning_rate": 2e-3,
        "num_train_epochs": 10,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 5,
        "seed": 7,
        "report_to": "none",
    }
    config = folder / "train.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    log = folder / "train.log"
    with log.open("wb") as sink:
        child = start_child(
            [LLAMAFACTORY, "train", str(config)], log=sink, env=_environment(folder)
        )
    try:
        assert child.wait(TRAIN_SECONDS_MAX) == 0, log.read_text()[-3000:]
    finally:
        stop_child(child)
    return out


@contextlib.contextmanager
def serve(model: Path, folder: Path) -> Iterator[str]:
    """LLaMA-Factory's own server; yields its base URL. It ends with the block, or with this process."""
    port = free_port()
    command = [LLAMAFACTORY, "api", "--model_name_or_path", str(model), "--template", "qwen2_vl"]
    command += [word for name, value in PIXELS.items() for word in (f"--{name}", str(value))]
    env = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "API_VERBOSE": "0", "API_KEY": KEY}
    log = folder / "server.log"
    with log.open("wb") as sink:
        child = start_child(command, log=sink, env={**_environment(folder), **env})
    try:
        url = f"http://127.0.0.1:{port}/v1"
        end = time.monotonic() + UP_SECONDS_MAX
        while not _is_up(url):
            assert child.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        yield url
    finally:
        stop_child(child)


def _is_up(url: str) -> bool:
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {KEY}"})
    try:
        with urllib.request.urlopen(request, timeout=2):
            return True
    except OSError:
        return False


def _environment(folder: Path) -> dict[str, str]:
    path = f"{TRAINING / 'bin'}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "HF_HOME": str(folder / "hf"), "CUDA_VISIBLE_DEVICES": ""}
    # More threads would wait for each other wherever the cores are shared.
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **own, **quiet}


def _take_strips(base: Path) -> None:
    """The processor's own lower bound is four tokens, whatever LLaMA-Factory is told."""
    path = base / "processor_config.json"
    processor = json.loads(path.read_text())
    processor["image_processor"]["size"]["shortest_edge"] = PIXELS["image_min_pixels"]
    path.write_text(json.dumps(processor))
    path = base / "config.json"
    config = json.loads(path.read_text())
    rope = config["text_config"]["rope_parameters"]
    rope["mrope_section"] = [0, 0, sum(rope["mrope_section"])]  # of time, height and width
    path.write_text(json.dumps(config))


def _write_dataset(folder: Path) -> None:
    folder.mkdir(parents=True)
    samples = []
    for seed in range(SAMPLES_OF_EACH):
        for dark in (True, False):
            image = folder / f"{seed}-{dark}.jpg"
            image.write_bytes(frame(seed, dark))
            score, reason = SCORES[dark]
            answers = (
                (f"{JUDGE_PROMPT}\n\n{judge.RULES}", judge.REQUEST, _verdict(score, reason)),
                (f"{CAPTION_PROMPT}\n\n{caption.RULES}", caption.REQUEST, CAPTIONS[dark]),
                (f"{CHAT_PROMPT}\n\n{judge.RULES}", judge.REQUEST, CHAT),
            )
            samples += [_sample(image.name, *answer) for answer in answers]
    (folder / "frames.json").write_text(json.dumps(samples))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    tags |= {"assistant_tag": "assistant", "system_tag": "system"}
    columns = {"messages": "messages", "images": "images"}
    entry = {"file_name": "frames.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"frames": entry}))


def _verdict(score: int, reason: str) -> str:
    return json.dumps({"reason": reason, "score": score}, separators=(",", ":"))


def _sample(image: str, system: str, user: str, answer: str) -> dict[str, object]:
    turns = (("system", system), ("user", f"<image>{user}"), ("assistant", answer))
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "images": [image]}
