"""`frameloop up`: run the service until it is told to stop."""

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from frameloop.cli.common import ConfigOption, clear_errors, console, settings_of
from frameloop.core.errors import FrameloopError
from frameloop.runtime.logs import configure_logging

if TYPE_CHECKING:
    from frameloop.service import Service

CHECK_SECONDS = 1.0

log = logging.getLogger(__name__)


@clear_errors
def up(config: ConfigOption = None) -> None:
    """Run the service: ingest, labelling and retraining, until Ctrl-C or SIGTERM.

    Starts a Kafka and a Ray of its own unless the settings name others (`kafka.embedded = false`,
    `ray.address`). Nothing is lost by stopping it, however it is stopped. SIGHUP has it read its
    settings again: another number of ingest actors, and other scorers, options or replicas of
    labels take effect at once, all else at the next start.
    """
    settings = settings_of(config)
    configure_logging("service")
    from frameloop.service import Service  # Ray takes seconds to import: not for `--help`

    service = Service(settings)
    stopping, reload = threading.Event(), threading.Event()
    try:
        service.start()
        # After Ray's start, which sets handlers of its own.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        signal.signal(signal.SIGHUP, lambda *_: reload.set())
        console.print(
            f"[green]up[/] events: topic {settings.kafka.topic} at "
            f"{settings.kafka.bootstrap_servers}"
        )
        console.print(f"   table:   {settings.table_uri}", soft_wrap=True)
        console.print(
            f"   metrics: http://{service.metrics_address}/metrics, its actors': /sd there",
            soft_wrap=True,
        )
        console.print("   stop with Ctrl-C; `frameloop status` shows how far it is")
        while not stopping.wait(CHECK_SECONDS):
            service.check()
            if reload.is_set():
                reload.clear()
                _take_up_changes(service, config)
        console.print("stopping; what is under way is read again at the next start")
    finally:
        service.stop()


def _take_up_changes(service: "Service", config: Path | None) -> None:
    """Settings that are wrong, or can't change now, leave the service as it is."""
    try:
        wanted, had = settings_of(config), service.settings
        scorers = {
            name: label
            for name, label in wanted.labels.items()
            if name in had.labels and label != had.labels[name]
            if had.labels[name].may_become(label)
        }
        actors = wanted.ingest.actors
        if scorers:
            service.upgrade_scorers(scorers)
            log.info("new scorers behind %s", ", ".join(scorers))
        if actors != had.ingest.actors:
            service.scale_ingest(actors)
            log.info("%d ingest actors", actors)
        if wanted != service.settings:
            log.warning("some of the changed settings take effect only at the next start")
    except FrameloopError as error:
        log.error("%s; going on as before", error)
