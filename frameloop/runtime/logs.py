"""Logs: one line a record, to standard error, with the part of the service that wrote it."""

import logging
import os

LEVEL_VARIABLE = "FRAMELOOP_LOG_LEVEL"


def configure_logging(part: str) -> None:
    """Once per process. `FRAMELOOP_LOG_LEVEL` sets the level (default INFO)."""
    level = os.environ.get(LEVEL_VARIABLE, "INFO").upper()
    logging.basicConfig(
        level=level if level in logging.getLevelNamesMapping() else "INFO",
        format=f"%(asctime)s %(levelname)s {part} %(name)s: %(message)s",
        force=True,
    )
    # The Kafka client tells every rebalance and reconnect at INFO.
    logging.getLogger("kafka").setLevel(logging.ERROR)
