"""`python -m tests.fuzz TARGET [SECONDS]`: coverage-guided, with atheris.

What it finds is written to `crash-…` in the folder `.frameloop/fuzz/TARGET` with the input; add it
to `tests/fuzz/seeds.py` or to a unit test before mending it.
"""

import sys
from pathlib import Path

import atheris

MODULES = [
    "schemas.cloudevents",
    "schemas.event",
    "frameloop.core.address",
    "frameloop.adapters.image",
    "frameloop.adapters.image_end",
    "PIL",
    "yarl",
]

with atheris.instrument_imports(include=MODULES):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    corpus = Path(".frameloop", "fuzz", name)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=70000" if name == "event" else "-max_len=8192",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={corpus}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
