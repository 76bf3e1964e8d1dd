"""`frameloop up`: run the service until it is told to stop."""

import logging
import signal
import threading

from frameloop.cli.common import ConfigOption, clear_errors, console, settings_of
from frameloop.runtime.logs import configure_logging

CHECK_SECONDS = 1.0

log = logging.getLogger(__name__)


@clear_errors
def up(config: ConfigOption = None) -> None:
    """Run the service: ingest, labelling and retraining, until Ctrl-C or SIGTERM.

    Starts a Kafka and a Ray of its own unless the settings name others (`kafka.embedded = false`,
    `ray.address`). Nothing is lost by stopping it, however it is stopped.
    """
    settings = settings_of(config)
    configure_logging("service")
    from frameloop.service import Service  # Ray takes seconds to import: not for `--help`

    service = Service(settings)
    stopping = threading.Event()
    try:
        service.start()
        # After Ray's start, which sets handlers of its own.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
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
        console.print("stopping; what is under way is read again at the next start")
    finally:
        service.stop()
