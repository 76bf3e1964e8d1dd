"""What the table and Kafka say of the service, without asking any of its processes."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import lance
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from frameloop.adapters import lance_table
from frameloop.adapters.event_source import topic_id_of
from frameloop.adapters.kafka_connect import connected
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.adapters.runs_table import load_runs
from frameloop.core.errors import FatalError, FrameloopError
from frameloop.core.labels import unlabelled_rows
from frameloop.core.ledger import Ledger
from frameloop.runtime.settings import KafkaSettings, Settings

RUNS_SHOWN = 5
ANSWER_MS_MAX = 5_000
"""Somebody waits in front of the screen."""


def collect_status(settings: Settings) -> dict[str, Any]:
    """Table, Kafka and runs, as far as each can be reached; what can't is `{"error": …}`."""
    table, ledger = _table_status(settings)
    return {
        "table": table,
        "kafka": _kafka_status(settings.kafka, ledger),
        "runs": [
            {**asdict(run), "seconds": run.seconds}
            for run in load_runs(settings.runs_uri)[-RUNS_SHOWN:]
        ],
    }


def _table_status(settings: Settings) -> tuple[dict[str, Any], Ledger]:
    uri = settings.table_uri
    try:
        dataset = lance.dataset(uri)
        ledger, _ = lance_table.read_ledger(dataset)
        state = lance_table.label_state(dataset, settings.labels)
    except (ValueError, FrameloopError) as error:
        return {"uri": uri, "error": _first_sentence(error)}, Ledger()
    unlabelled = [each for each in state if each.missing]
    return {
        "uri": uri,
        "version": int(dataset.version),
        "versions": len(dataset.versions()),
        "rows": lance_table.count_screenshots(dataset),
        "fragments": len(state) + 1,
        "unlabelled_fragments": len(unlabelled),
        "unlabelled_rows": sum(each.rows for each in unlabelled),
        "unlabelled": unlabelled_rows(state, settings.labels),
        "outbox": len(ledger.outbox),
    }, ledger


def rows_to_label(settings: Settings) -> tuple[int, dict[str, int]]:
    """Rows of the table, and those in fragments that lack each label. From metadata alone."""
    dataset = open_table(settings)
    state = lance_table.label_state(dataset, settings.labels)
    return sum(each.rows for each in state), unlabelled_rows(state, settings.labels)


def label_status(settings: Settings, labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of each label: rows that are there, labelled and with an error, and who labelled how many."""
    dataset = open_table(settings)
    rows, left = rows_to_label(settings)
    found = {}
    for name in labels:
        columns = dataset.to_table(columns=[f"{name}_scorer"], filter=f"{name}_scorer IS NOT NULL")
        by = {v["values"]: v["counts"] for v in columns[0].value_counts().to_pylist()}
        found[name] = {
            "rows": rows,
            "labelled": rows - left[name],
            "errors": int(dataset.count_rows(f"{name}_error IS NOT NULL")),
            "by": dict(sorted(by.items())),
        }
    return found


def open_table(settings: Settings) -> lance.LanceDataset:
    """Raises `FatalError` if there is none, or none with these labels."""
    try:
        dataset = lance.dataset(settings.table_uri)
    except ValueError:
        raise FatalError(
            f"there is no table at {settings.table_uri} yet; `frameloop up` makes it"
        ) from None
    if missing := [name for name in settings.labels if name not in dataset.schema.names]:
        raise FatalError(f"the table has no label {missing[0]} yet; start `frameloop up` anew")
    return dataset


def _kafka_status(settings: KafkaSettings, ledger: Ledger) -> dict[str, Any]:
    named: dict[str, Any] = {"bootstrap_servers": settings.bootstrap_servers}
    quick = min(settings.request_timeout_ms, ANSWER_MS_MAX)
    settings = settings.model_copy(update={"request_timeout_ms": quick})
    try:
        topic_id = topic_id_of(settings, settings.topic)
        consumer = connected(KafkaConsumer, settings, enable_auto_commit=False)
        try:
            with kafka_errors(settings):
                ends = end_offsets(consumer, settings.topic)
                letters = messages_held(consumer, settings.dead_letter_topic)
        finally:
            consumer.close(autocommit=False)
    except (FrameloopError, OSError) as error:
        return {**named, "error": _first_sentence(error)}
    covered = ledger.offsets(topic_id)
    return {
        **named,
        "topic": settings.topic,
        "lag": {partition: end - covered.get(partition, 0) for partition, end in ends.items()},
        "dead_letters": letters,
    }


def end_offsets(consumer: KafkaConsumer, topic: str) -> dict[int, int]:
    """Next offset that will be written, by partition."""
    partitions = [KafkaPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
    return {at.partition: int(end) for at, end in sorted(consumer.end_offsets(partitions).items())}


def messages_held(consumer: KafkaConsumer, topic: str) -> int:
    """Messages that Kafka holds at present."""
    partitions = [KafkaPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
    first, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    return sum(int(ends[at] - first[at]) for at in partitions)


def _first_sentence(error: Exception) -> str:
    return str(error).split(", /")[0].splitlines()[0] if str(error) else type(error).__name__
