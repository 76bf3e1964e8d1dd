"""Ray: join the cluster that the settings name, or start one on this machine."""

import math
import os
import socket
import warnings

import ray

from frameloop.core.errors import FatalError, SettingsError
from frameloop.runtime.settings import Settings

CONNECT_SECONDS_MAX = 5.0
SMALL_ACTOR_CPUS = 0.1
"""Of the keeper, the trigger and upkeep, which mostly wait."""


def start_ray(settings: Settings, *, log_to_driver: bool = True) -> None:
    """Join the cluster that is named, or start a local Ray. Raises `SettingsError`."""
    # Under `uv run`, Ray would make an environment for each worker; they share ours.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    address = settings.ray.address or os.environ.get("RAY_ADDRESS")
    needed = cpus_needed(settings)
    common = {
        "namespace": settings.ray.namespace,
        "logging_level": "ERROR",
        "log_to_driver": log_to_driver,
    }
    if not address:
        cpus = settings.ray.num_cpus or max(os.cpu_count() or 1, math.ceil(needed))
        with warnings.catch_warnings():
            # Ray's own processes are forked and at once replaced: nothing of Lance runs in them.
            warnings.filterwarnings("ignore", message="lance is not fork-safe")
            try:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=settings.ray.object_store_mb << 20,
                    include_dashboard=False,
                    **common,
                )
            except Exception as error:
                # Ray raises bare exceptions here, e.g. when a busy machine is too slow for it.
                raise FatalError(f"Ray did not start: {error}; try again") from error
    else:
        _check_reachable(address)
        try:
            ray.init(address=address, **common)
        except ConnectionError as error:
            raise SettingsError(f"ray.address: {address} can't be reached: {error}") from None


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes. `auto` and the like name no host."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS_MAX).close()
    except OSError as error:
        raise SettingsError(f"ray.address: {address} can't be reached: {error}") from None


def check_resources(settings: Settings) -> None:
    """Raises `SettingsError` if Ray has fewer CPUs or GPUs than the actors ask for: they would wait for
    ever.
    """
    resources = ray.cluster_resources()
    replicas = [(label.replicas_max, label.replica_gpus) for label in settings.labels.values()]
    gpus = sum(n * each for n, each in replicas) + settings.training.gpus
    if resources.get("GPU", 0) < gpus:
        raise SettingsError(
            f"scorer replicas and training ask for {gpus:g} GPUs and Ray has "
            f"{resources.get('GPU', 0):g}; lower labels.NAME.replica_gpus or training.gpus"
        )
    needed = cpus_needed(settings)
    available = resources.get("CPU", 0)
    if available < needed:
        raise SettingsError(
            f"the actors ask for {needed:g} CPUs and Ray has {available:g}; lower ingest.actors, "
            "labels.NAME.replicas_max or their CPUs, or give Ray more (ray.num_cpus)"
        )


def cpus_needed(settings: Settings) -> float:
    """CPUs that the actors and Serve replicas reserve together, a training run included."""
    ingest, scoring, upkeep = settings.ingest, settings.scoring, settings.upkeep
    return (
        ingest.actors * ingest.actor_cpus
        + scoring.actors * scoring.actor_cpus
        + sum(label.replicas_max * label.replica_cpus for label in settings.labels.values())
        + settings.training.cpus
        + upkeep.tasks * upkeep.task_cpus
        + 3 * SMALL_ACTOR_CPUS
    )
