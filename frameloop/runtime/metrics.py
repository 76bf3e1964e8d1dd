"""Every metric of the service, and the endpoint that serves them: one in each process.

Names follow Prometheus' conventions: base units, `_total` on counters.
"""

import resource

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from schemas.dead_letter import Reason

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 8, 32, 64, 128, 256, 512, 1024, 4096)
_BYTES = (2**16, 2**18, 2**20, 2**22, 2**24, 2**25, 2**26, 2**28)

EVENTS = Counter(
    "frameloop_events_total",
    "Events, by what became of them: row, dead_letter, duplicate or lost.",
    ["outcome"],
)
DEAD_LETTERS = Counter("frameloop_dead_letters_total", "Dead letters, by reason.", ["reason"])
IMAGE_BYTES = Counter("frameloop_image_bytes_total", "Bytes of the images fetched and verified.")
FETCH_SECONDS = Histogram(
    "frameloop_fetch_seconds", "One event's fetch, retries included.", ["outcome"], buckets=_LATENCY
)
FETCHES_BROKEN_OFF = Counter(
    "frameloop_fetches_broken_off_total", "Fetches begun again later, as memory had no room."
)
BATCH_ROWS = Histogram("frameloop_batch_rows", "Rows of a micro-batch.", buckets=_ROWS)
BATCH_BYTES = Histogram("frameloop_batch_bytes", "Image bytes of a micro-batch.", buckets=_BYTES)
WRITE_SECONDS = Histogram(
    "frameloop_write_seconds", "Writing a micro-batch's data files.", buckets=_LATENCY
)
EVENTS_HELD = Gauge("frameloop_events_held", "Events polled and not yet handed to the keeper.")
BYTES_HELD = Gauge("frameloop_bytes_held", "Image bytes in the memory of an ingest actor.")
BATCHES_REFUSED = Counter(
    "frameloop_batches_refused_total", "Batches that did not start where the table stands."
)
TRUNCATIONS = Counter(
    "frameloop_truncations_total", "Partitions whose log in Kafka ended before the table's offset."
)
LAG = Gauge("frameloop_lag_events", "Events in Kafka that the table does not cover.", ["partition"])

COMMIT_SECONDS = Histogram(
    "frameloop_commit_seconds", "One commit of the table's metadata.", buckets=_LATENCY
)
COMMIT_REQUESTS = Histogram(
    "frameloop_commit_requests", "Requests in one commit.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
COMMIT_CONFLICTS = Counter("frameloop_commit_conflicts_total", "Requests refused as outdated.")
COMMIT_FAILURES = Counter("frameloop_commit_failures_total", "Commits that the storage refused.")
TABLE_VERSION = Gauge("frameloop_table_version", "Version of the table.")
TABLE_FRAGMENTS = Gauge("frameloop_table_fragments", "Fragments of the table.")
TABLE_ROWS = Gauge("frameloop_table_rows", "Screenshots in the table.")
OUTBOX = Gauge("frameloop_outbox_letters", "Dead letters committed but not yet in Kafka.")

TABLE_SMALL_FRAGMENTS = Gauge(
    "frameloop_table_small_fragments", "Labelled fragments that wait to be merged with others."
)
TABLE_SMALL_FRAGMENTS_MAX = Gauge(
    "frameloop_table_small_fragments_max", "The bound that upkeep keeps them under."
)
TABLE_VERSIONS = Gauge("frameloop_table_versions", "Versions that can be read.")
TABLE_VERSION_AGE = Gauge(
    "frameloop_table_version_age_seconds", "Age of the oldest version that has no tag."
)
TABLE_VERSION_AGE_MAX = Gauge(
    "frameloop_table_version_age_seconds_max", "The bound that upkeep keeps it under."
)
TABLE_FILES = Gauge("frameloop_table_files", "Files of the table, of every kind.")
TABLE_BYTES = Gauge("frameloop_table_bytes", "Data files of the latest version, in bytes.")
TABLE_UNNAMED_FILES = Gauge(
    "frameloop_table_unnamed_files", "Data files that no version names, e.g. of writers that died."
)
TABLE_UNNAMED_BYTES = Gauge("frameloop_table_unnamed_bytes", "Bytes of these files.")
TABLE_TAGS = Gauge("frameloop_table_tags", "Versions that are kept by a tag.")
TABLE_OPEN_SECONDS = Gauge("frameloop_table_open_seconds", "Opening the table anew.")
TABLE_UNINDEXED_ROWS = Gauge(
    "frameloop_table_unindexed_rows", "Rows that the index on id does not cover yet."
)
COMPACTIONS = Counter(
    "frameloop_compactions_total", "Merges of fragments: done or failed.", ["outcome"]
)
COMPACTED_BYTES = Counter("frameloop_compacted_bytes_total", "Bytes of the fragments merged.")
REMOVED_BYTES = Counter(
    "frameloop_removed_bytes_total", "Bytes of old versions and unnamed files that were removed."
)
UPKEEP_SUCCESS = Gauge(
    "frameloop_upkeep_success_timestamp_seconds", "When upkeep last came through without a failure."
)

SCORES = Histogram("frameloop_score", "Scores given.", ["label"], buckets=tuple(range(0, 101, 10)))
SCORE_SECONDS = Histogram(
    "frameloop_score_fragment_seconds",
    "Scoring one fragment, the Serve call included.",
    ["label"],
    buckets=_LATENCY,
)
SCORE_FAILURES = Counter(
    "frameloop_score_failures_total", "Fragments that could not be scored this time.", ["label"]
)
SCORE_ERRORS = Counter("frameloop_score_errors_total", "Rows that got no score.", ["label"])
UNLABELLED_ROWS = Gauge("frameloop_unlabelled_rows", "Rows without this label.", ["label"])
STALE_ROWS = Gauge(
    "frameloop_stale_rows", "Rows found that another scorer version has labelled.", ["label"]
)

VLM_REQUESTS = Counter(
    "frameloop_vlm_requests_total",
    "Requests to a vision-language model, retries included, by what became of them.",
    ["scorer", "model", "outcome"],
)
VLM_SECONDS = Histogram(
    "frameloop_vlm_request_seconds",
    "One request to a vision-language model, waits for its turn left out.",
    ["scorer", "model"],
    buckets=(*_LATENCY, 60, 120, 300),
)
VLM_TOKENS = Counter(
    "frameloop_vlm_tokens_total",
    "Tokens as the server counted them: prompt or completion.",
    ["scorer", "model", "kind"],
)
VLM_COST = Counter(
    "frameloop_vlm_cost_total",
    "What the tokens cost, in the currency of the prices in the options; absent without prices.",
    ["scorer", "model"],
)

TRAINING_RUNS = Counter("frameloop_training_runs_total", "Training runs ended.", ["status"])
TRAINING_RUNNING = Gauge("frameloop_training_running", "1 while a training run is under way.")
TRAINING_STEP = Gauge("frameloop_training_step", "Optimizer step of the run under way.")
TRAINING_STEPS = Gauge("frameloop_training_steps", "Optimizer steps that the run will take.")
TRAINING_LOSS = Gauge("frameloop_training_loss", "Last logged training loss.")
TRAINING_NEW_ROWS = Gauge("frameloop_training_new_rows", "Passing rows since the last good run.")


# A counter that first appears at 1 hides its first event from `rate()`.
for _outcome in ("row", "dead_letter", "duplicate", "lost"):
    EVENTS.labels(_outcome)
for _reason in Reason:
    DEAD_LETTERS.labels(_reason.value)
for _outcome in ("done", "failed"):
    COMPACTIONS.labels(_outcome)
for _status in ("succeeded", "failed"):
    TRAINING_RUNS.labels(_status)


def serve_metrics(host: str) -> str:
    """Serve this process' metrics on `/metrics`, on a free port; returns where others reach it."""
    server, _thread = start_http_server(0, addr=host)
    return reached_at(host, int(server.server_port))


def reached_at(host: str, port: int) -> str:
    """`host:port` as others reach it: an endpoint on all addresses is found by the node's own."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound to
        import ray.util

        host = ray.util.get_node_ip_address()
    return f"{host}:{port}"


def resident_bytes_max() -> int:
    """The most memory this process has had resident so far, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
