"""How fresh is the table? `make bench-freshness`

Sends events at a steady rate to a service of its own (embedded Kafka, local Ray) and measures, for each
event, the time from Kafka's own time stamp to the commit of its row and of its score, as the keeper's
commit notices tell. Prints one JSON object as its last line.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from frameloop.demo.accounting import latencies_s, read_topic, take_accounts
from frameloop.demo.config import DemoFolder
from frameloop.runtime.child import start_child, stop_child
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.embedded_kafka import free_port
from frameloop.runtime.settings import Settings
from frameloop.service import Service
from producers.emit import EventEmitter
from producers.games import DoomSession, write_frame
from schemas.commit import CommitNotice
from schemas.event import ScreenshotEvent

PICTURES = 400
SETTLE_SECONDS_MAX = 120.0
CHECK_SECONDS = 1.0


def make_pictures(folder: Path) -> list[str]:
    """Real 640x480 frames; the names that `write_frame` gave them."""
    session = DoomSession("deathmatch", seed=1)
    try:
        return [write_frame(folder, session.next_frame()) for _ in range(PICTURES)]
    finally:
        session.close()


def send_steadily(service: Service, urls: list[str], rate: float, seconds: float) -> int:
    """Send at `rate` a second for `seconds`. The schedule is fixed: a late send is caught up."""
    total = int(rate * seconds)
    with EventEmitter.connect(service.settings.kafka) as emitter:
        began = time.monotonic()
        for number in range(total):
            if number % max(1, int(rate * CHECK_SECONDS)) == 0:
                service.check()  # as `frameloop up` does all the time
            wait = began + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            url = urls[number % len(urls)]
            source = f"bench-{number % 16}"
            emitter.send(ScreenshotEvent(event_id=str(number), source=source, image_url=url))
    return total


def wait_until_it_reads(service: Service) -> None:
    """Until each ingest actor has its partitions: how long a start takes is another question."""
    for _ in Deadline(SETTLE_SECONDS_MAX).ticks(0.5):
        service.check()
        ingest = [each for name, each in service.status().items() if name.startswith("ingest")]
        if ingest and all(each["partitions"] for each in ingest):
            return
    raise SystemExit("the ingest actors do not read")


def settle(service: Service, total: int) -> None:
    for _ in Deadline(SETTLE_SECONDS_MAX).ticks(0.5):
        service.check()
        status = service.status()
        rows = sum(s["committed_rows"] for n, s in status.items() if n.startswith("ingest"))
        scored = sum(s["scored_rows"] for n, s in status.items() if n.startswith("scoring"))
        if rows >= total and scored >= total:
            return
    raise SystemExit(f"not settled: {rows} rows, {scored} scored of {total}")


def percentile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 3)


def run(folder: DemoFolder, rate: float, seconds: float) -> dict[str, Any]:
    settings = Settings(
        data_dir=folder.data,
        kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        fetch={"allow_networks": ["127.0.0.0/8"]},
        ingest={"batch_age_s": 0.5},
        training={"enabled": False},
        metrics={"port": 0},
    )
    names = make_pictures(folder.frames)
    port_file = folder.logs / "port"
    command = [sys.executable, "-m", "producers.frame_server", str(folder.frames)]
    server = start_child([*command, "--port-file", str(port_file)])
    service = Service(settings, log_to_driver=False)
    try:
        service.start()
        wait_until_it_reads(service)
        base = f"http://127.0.0.1:{port_file.read_text(encoding='ascii')}"
        total = send_steadily(service, [f"{base}/{name}" for name in names], rate, seconds)
        settle(service, total)
        accounts = take_accounts(settings)
        records = read_topic(settings, settings.kafka.commit_topic)
        notices = [CommitNotice.model_validate_json(record.value) for record in records]
    finally:
        service.stop()
        stop_child(server)
    to_row, to_score = latencies_s(accounts, notices, settings.training.label)
    return {
        "row_p50_s": percentile(to_row, 0.50),
        "row_p99_s": percentile(to_row, 0.99),
        "score_p50_s": percentile(to_score, 0.50),
        "score_p99_s": percentile(to_score, 0.99),
        "events": total,
        "events_per_s": rate,
        "unaccounted": accounts.problems,
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=180.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = DemoFolder(Path(scratch) / "bench")
        folder.prepare()
        print(json.dumps(run(folder, arguments.rate, arguments.seconds)))


if __name__ == "__main__":
    main()
