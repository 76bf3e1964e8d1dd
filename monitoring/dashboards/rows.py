"""What the dashboard shows: its rows, and the panels in each."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from monitoring.dashboards.panels import Query, graph, heat, mean, number, percentiles, rate

LAG = "sum(max by (partition) (frameloop_lag_events))"
"""While a partition moves from one actor to another, both may show it."""
JOB = '{job="frameloop"}'
"""Every process has metrics of this kind, Prometheus itself among them."""
INGEST = '{process=~"ingest-.+"}'
"""A gauge without labels is 0 in each process that does not set it; elsewhere max() sees to that."""
SHARES = (0.1, 0.5, 0.9)

ROWS: dict[str, list[Builder[Panel]]] = {
    "Overview": [
        number("Events a second", Query(rate("frameloop_events_total")), unit="cps"),
        number("Lag", Query(LAG), warn_at=10_000),
        number("Rows in the table", Query("max(frameloop_table_rows)")),
        number("Rows without a label", Query("sum(frameloop_unlabelled_rows)"), warn_at=10_000),
        number(
            "Dead letters",
            Query(f"{rate('frameloop_dead_letters_total')} / {rate('frameloop_events_total')}"),
            unit="percentunit",
            warn_at=0.1,
        ),
        number("Training run under way", Query("max(frameloop_training_running)")),
    ],
    "Events": [
        graph(
            "Events by outcome",
            Query(rate("frameloop_events_total", "outcome"), "{{outcome}}"),
            unit="cps",
            description="`lost`: Kafka deleted them before they were read.",
        ),
        graph(
            "Dead letters by reason",
            Query(rate("frameloop_dead_letters_total", "reason"), "{{reason}}"),
            unit="cps",
        ),
        graph(
            "Logs cut off",
            Query(rate("frameloop_truncations_total"), "partitions"),
            unit="cps",
            description="Kafka's log of a partition ended before the table's offset.",
        ),
        graph(
            "Lag by partition",
            Query("max by (partition) (frameloop_lag_events)", "{{partition}}"),
            description="Events in Kafka that the table does not cover.",
        ),
    ],
    "Fetching": [
        graph(
            "Latency, retries included",
            *percentiles("frameloop_fetch_seconds", "outcome"),
            unit="s",
        ),
        graph(
            "Fetches by outcome",
            Query(rate("frameloop_fetch_seconds_count", "outcome"), "{{outcome}}"),
            unit="cps",
        ),
        graph("Image bytes", Query(rate("frameloop_image_bytes_total"), "verified"), unit="Bps"),
        graph(
            "Fetches broken off",
            Query(rate("frameloop_fetches_broken_off_total"), "no room in memory"),
            unit="cps",
            description="Begun again later. Many: larger ingest.in_flight_bytes, or fewer at once.",
        ),
    ],
    "Micro-batches": [
        graph(
            "Rows of a batch",
            *percentiles("frameloop_batch_rows"),
            Query(mean("frameloop_batch_rows"), "mean"),
        ),
        graph("Bytes of a batch", Query(mean("frameloop_batch_bytes"), "mean"), unit="bytes"),
        graph("Writing the data files", *percentiles("frameloop_write_seconds"), unit="s"),
        graph("Events held", Query(f"frameloop_events_held{INGEST}", "{{process}}")),
        graph(
            "Image bytes held",
            Query(f"frameloop_bytes_held{INGEST}", "{{process}}"),
            unit="bytes",
            description="Polling pauses at ingest.in_flight_bytes.",
        ),
        graph(
            "Batches refused",
            Query(rate("frameloop_batches_refused_total"), "refused"),
            unit="cps",
            description="They did not start where the table stands: after a rebalance or a restart.",
        ),
    ],
    "Table": [
        graph(
            "Commits",
            *percentiles("frameloop_commit_seconds"),
            unit="s",
            description="Latency. It grows with the number of fragments.",
        ),
        graph(
            "Requests",
            Query(mean("frameloop_commit_requests"), "in one commit"),
            Query(rate("frameloop_commit_seconds_count"), "commits a second"),
        ),
        graph(
            "Conflicts and failures",
            Query(rate("frameloop_commit_conflicts_total"), "conflicts"),
            Query(rate("frameloop_commit_failures_total"), "failures"),
            unit="cps",
        ),
        graph("Rows", Query("max(frameloop_table_rows)", "rows")),
        graph(
            "Version and fragments",
            Query("max(frameloop_table_version)", "version"),
            Query("max(frameloop_table_fragments)", "fragments"),
        ),
        graph(
            "Outbox",
            Query("max(frameloop_outbox_letters)", "dead letters"),
            description="Committed, but not yet in Kafka. Ingest stops at table.outbox_max.",
        ),
    ],
    "Upkeep": [
        graph(
            "Small fragments",
            Query("max(frameloop_table_small_fragments)", "wait to be merged"),
            Query("max(frameloop_table_small_fragments_max)", "bound"),
        ),
        graph(
            "Merges",
            Query(rate("frameloop_compactions_total", "outcome"), "{{outcome}}"),
            unit="cps",
        ),
        graph(
            "Bytes merged and removed",
            Query(rate("frameloop_compacted_bytes_total"), "merged"),
            Query(rate("frameloop_removed_bytes_total"), "removed"),
            unit="Bps",
        ),
        graph(
            "Versions and files",
            Query("max(frameloop_table_versions)", "versions"),
            Query("max(frameloop_table_tags)", "of them tagged"),
            Query("max(frameloop_table_files)", "files"),
        ),
        graph(
            "Oldest version without a tag",
            Query("max(frameloop_table_version_age_seconds)", "age"),
            Query("max(frameloop_table_version_age_seconds_max)", "bound"),
            unit="s",
        ),
        graph(
            "Data files",
            Query("max(frameloop_table_bytes)", "of the latest version"),
            Query("max(frameloop_table_unnamed_bytes)", "of no version"),
            unit="bytes",
        ),
        graph(
            "Files that no version names",
            Query("max(frameloop_table_unnamed_files)", "files"),
            description="Of writers that died, or about to be committed. Removed when 7 days old.",
        ),
        graph("Opening the table", Query("max(frameloop_table_open_seconds)", "open"), unit="s"),
        graph("Rows not in the index", Query("max(frameloop_table_unindexed_rows)", "rows")),
        graph(
            "Since upkeep came through",
            Query("time() - max(frameloop_upkeep_success_timestamp_seconds > 0)", "since"),
            unit="s",
        ),
    ],
    "Labels": [
        graph(
            "Rows without a label", Query("sum by (label) (frameloop_unlabelled_rows)", "{{label}}")
        ),
        graph(
            "Rows scored", Query(rate("frameloop_score_count", "label"), "{{label}}"), unit="cps"
        ),
        graph(
            "Rows that got no score",
            Query(rate("frameloop_score_errors_total", "label"), "{{label}}"),
            unit="cps",
        ),
        graph(
            "Fragments that could not be scored",
            Query(rate("frameloop_score_failures_total", "label"), "{{label}}"),
            unit="cps",
            description="Each is tried again at the next look.",
        ),
        heat(
            "Scores",
            Query("sum by (le) (increase(frameloop_score_bucket[$__rate_interval]))", "{{le}}"),
            description="How many rows got which score.",
        ),
        graph(
            "Rows out of date",
            Query("sum by (label) (frameloop_stale_rows)", "{{label}}"),
            description="Labelled by another scorer version, as far as the survey has looked.",
        ),
        graph("Score percentiles", *percentiles("frameloop_score", "label", SHARES)),
        graph(
            "Scoring a fragment",
            *percentiles("frameloop_score_fragment_seconds", "label"),
            unit="s",
            description="The Serve call and the write of the column, up to the commit.",
        ),
    ],
    "Vision-language models": [
        graph(
            "Requests by outcome",
            Query(
                rate("frameloop_vlm_requests_total", "scorer, outcome"), "{{scorer}} {{outcome}}"
            ),
            unit="cps",
            description="Of the scorers `judge` and `caption`, retries included.",
        ),
        graph(
            "Latency of a request",
            *percentiles("frameloop_vlm_request_seconds", "scorer"),
            unit="s",
        ),
        graph(
            "Tokens",
            Query(rate("frameloop_vlm_tokens_total", "scorer, kind"), "{{scorer}} {{kind}}"),
            unit="cps",
            description="A second, as the server counts them.",
        ),
        graph(
            "Cost so far",
            Query("sum by (scorer, model) (frameloop_vlm_cost_total)", "{{scorer}} {{model}}"),
            description="In the currency of the prices in the scorer's options; empty without prices.",
        ),
    ],
    "Training": [
        graph(
            "Step",
            Query("max(frameloop_training_step)", "step"),
            Query("max(frameloop_training_steps)", "of"),
        ),
        graph("Loss", Query("max(frameloop_training_loss)", "loss")),
        graph(
            "State",
            Query("max(frameloop_training_running)", "running"),
            Query("sum by (status) (frameloop_training_runs_total)", "{{status}}"),
            description="1 while a run is under way, and the runs ended so far by status.",
        ),
        graph(
            "New rows that pass",
            Query("max(frameloop_training_new_rows)", "since the last good run"),
            description="A run starts at training.min_new_rows.",
        ),
    ],
    "Processes": [
        graph(
            "Resident memory",
            Query(f"process_resident_memory_bytes{JOB}", "{{process}}"),
            unit="bytes",
        ),
        graph(
            "CPU", Query(f"rate(process_cpu_seconds_total{JOB}[$__rate_interval])", "{{process}}")
        ),
        graph("Open files", Query(f"process_open_fds{JOB}", "{{process}}")),
        graph("Age", Query(f"time() - process_start_time_seconds{JOB}", "{{process}}"), unit="s"),
        graph("Reached by Prometheus", Query('up{job="frameloop"}', "{{process}}")),
    ],
}
