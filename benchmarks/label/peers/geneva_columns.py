"""A null scorer over a Lance table with Geneva's `backfill`, local Ray, twice.

    python geneva_columns.py FOLDER TABLE

`FOLDER/TABLE.lance` has the rows. Prints one JSON object.
"""

import json
import sys
import time
from typing import Any

import geneva  # type: ignore[import-not-found]
import pyarrow as pa
import pyarrow.compute as pc

CPUS = 2


@geneva.udf(data_type=pa.float32(), input_columns=["image"])  # type: ignore[untyped-decorator]
def null_scorer(image: Any) -> Any:
    return pc.binary_length(image).cast(pa.float32())


def main(folder: str, name: str) -> None:
    connection = geneva.connect(folder)
    table = connection.open_table(name)
    seconds = []
    with connection.local_ray_context():
        for number in range(2):
            column = f"score{number}"
            table.add_columns({column: null_scorer})
            began = time.perf_counter()
            table.backfill(column, concurrency=CPUS)
            seconds.append(time.perf_counter() - began)
    missing = [table.count_rows(f"score{number} IS NULL") for number in range(2)]
    print(json.dumps({"seconds": seconds, "rows_without": missing}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
