"""`python -m tests.soak --minutes 30 --seed 1`: prints its seed first and one JSON object last."""

import argparse
import json
import os
import random
import tempfile
from pathlib import Path

from frameloop.runtime.faults import VARIABLE
from frameloop.runtime.ray_cluster import start_ray
from frameloop.runtime.settings import Settings
from tests.soak.run import Soak


def main() -> None:
    parser = argparse.ArgumentParser(description="Load and faults at random; then the invariant.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(json.dumps({"seed": arguments.seed}), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faults = folder / "faults"
        faults.mkdir()
        os.environ[VARIABLE] = str(faults)  # before Ray starts: its workers inherit it
        start_ray(Settings(ray={"num_cpus": 8}), log_to_driver=False)
        print(json.dumps(Soak(folder, faults, arguments.seed).run(arguments.minutes * 60)))


if __name__ == "__main__":
    main()
