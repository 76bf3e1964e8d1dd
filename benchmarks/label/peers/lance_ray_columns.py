"""A null scorer over a Lance table with lance-ray's `add_columns`, Ray already up.

    python lance_ray_columns.py TABLE ROUNDS

Adds a column in each round, then one beside a writer that appends. Prints one JSON object.
"""

import json
import sys
import threading
import time
from typing import Any

import lance
import lance_ray  # type: ignore[import-not-found]
import pyarrow as pa
import pyarrow.compute as pc
import ray

CPUS = 2
TRIES = 3


def null_scorer(name: str) -> object:
    def score(batch: pa.RecordBatch) -> pa.RecordBatch:
        images: Any = batch.column("image")
        return pa.record_batch({name: pc.binary_length(images).cast(pa.float32())})

    return score


def add(uri: str, name: str) -> float:
    began = time.perf_counter()
    lance_ray.add_columns(
        uri, transform=null_scorer(name), read_columns=["image"], concurrency=CPUS
    )
    return time.perf_counter() - began


def beside_appends(uri: str, name: str) -> str:
    """What becomes of it while rows arrive: an empty string, or the error."""
    row = lance.dataset(uri).take([0], columns=["id", "image"])
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            lance.write_dataset(row, uri, mode="append")
            done.wait(0.2)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        add(uri, name)
    except Exception as error:  # noqa: BLE001  the outcome is what is asked for
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        done.set()
        writer.join()
    return ""


def main(uri: str, rounds: int) -> None:
    ray.init(num_cpus=CPUS, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.get(ray.remote(lambda: None).remote())  # a worker is up, too
    seconds = [add(uri, f"score{number}") for number in range(rounds)]
    failures = [beside_appends(uri, f"beside{number}") for number in range(TRIES)]
    print(json.dumps({"seconds": seconds, "beside_appends": failures}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
