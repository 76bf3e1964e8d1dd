"""The whole service as one object: start everything in order, watch it, end it in order."""

import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray import serve
from ray.actor import ActorHandle
from ray.exceptions import RayError

from consumers.ingest import IngestActor
from consumers.keeper import KEEPER_NAME, TableKeeper
from consumers.retrain import RetrainTrigger
from consumers.scoring import ScoringConsumer
from consumers.upkeep import UpkeepActor
from frameloop.adapters.kafka_topics import ensure_topics
from frameloop.adapters.llama_factory import trainer_command
from frameloop.core.errors import FatalError, SettingsError
from frameloop.core.keeper_watch import KeeperWatch, Verdict
from frameloop.runtime.embedded_kafka import EmbeddedKafka
from frameloop.runtime.endpoint import Endpoint
from frameloop.runtime.label_settings import LabelSettings
from frameloop.runtime.ray_cluster import SMALL_ACTOR_CPUS, check_resources, start_ray
from frameloop.runtime.settings import Settings
from serve_apps.app import build_app

log = logging.getLogger(__name__)

STOP_SECONDS = 15.0
STATUS_SECONDS = 10.0
KEEPER_HEALTHY_SECONDS_MAX = 60.0
TRIGGER_NAME = "retrain-trigger"
UPKEEP_NAME = "upkeep"
FOREVER = {"max_restarts": -1, "max_task_retries": -1}
"""Ray starts a dead actor again, and its `run` with it."""


class Service:
    """One service on one table. `start`, then `check` now and then, `stop` in any case."""

    def __init__(self, settings: Settings, *, log_to_driver: bool = True) -> None:
        self.settings = settings
        self._log_to_driver = log_to_driver
        self.actors: dict[str, ActorHandle] = {}
        self._runs: dict[str, ray.ObjectRef] = {}
        self._owns_ray = False
        self._ingest_generation = 0
        self._keeper_answer: ray.ObjectRef | None = None
        self._watch = KeeperWatch()
        self._keeper_answered = 0.0
        self._broker: EmbeddedKafka | None = None
        self._endpoint: Endpoint | None = None

    @property
    def metrics_address(self) -> str:
        if self._endpoint is None:
            raise RuntimeError("start the service first")
        return self._endpoint.address

    def start(self) -> None:
        """Bring everything up. Raises `SettingsError` or `FatalError`; call `stop` then, too."""
        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if settings.training.enabled and not _names_a_cluster(settings):
            trainer_command(settings.training.environment)
        self._endpoint = Endpoint(
            settings.metrics.host, settings.metrics.port, self._targets, self.is_healthy
        )
        if settings.kafka.embedded:
            self._broker = EmbeddedKafka(settings.data_dir / "kafka", _port_of(settings)).start()
        ensure_topics(settings.kafka)
        if not ray.is_initialized():
            self._owns_ray = True
            start_ray(settings, log_to_driver=self._log_to_driver)
        check_resources(settings)
        self._start_actors()

    def is_healthy(self) -> bool:
        """Has everything started, and has the keeper answered within the time that it is given?"""
        silent = time.monotonic() - self._keeper_answered
        return bool(self._runs) and silent < KEEPER_HEALTHY_SECONDS_MAX

    def check(self) -> None:
        """Raises `FatalError` if a part has ended that should run.

        A keeper that does not answer in time is killed, and Ray starts another, which fences it:
        whether it hangs or was only paused makes no difference.
        """
        self._check_keeper()
        done, _ = ray.wait(list(self._runs.values()), num_returns=len(self._runs), timeout=0)
        for name, ref in self._runs.items():
            if ref in done:
                try:
                    ray.get(ref)
                except RayError as error:
                    raise FatalError(f"{name} has ended: {error}") from error
                raise FatalError(f"{name} has ended by itself")

    def _check_keeper(self) -> None:
        if self._keeper_answer is None:
            self._keeper_answer = self.actors[KEEPER_NAME].status.remote()
            self._watch.asked(time.monotonic())
        ready, _ = ray.wait([self._keeper_answer], timeout=0)
        if ready:
            self._hear_keeper(ready[0])
        verdict = self._watch.verdict(time.monotonic())
        if verdict is Verdict.GONE:
            raise FatalError("no keeper answers: Ray may have ended; start the service again")
        if verdict is Verdict.SILENT:
            log.error("the keeper has been silent too long; starting another")
            self._keeper_answer = None
            self._watch.failed()
            ray.kill(self.actors[KEEPER_NAME], no_restart=False)

    def _hear_keeper(self, answer: ray.ObjectRef) -> None:
        self._keeper_answer = None
        try:
            fenced = ray.get(answer)["fenced"]
        except RayError as error:
            self._watch.failed()
            log.info("the keeper starts again: %s", error)
            return
        self._watch.answered()
        self._keeper_answered = time.monotonic()
        if fenced:
            raise FatalError(f"another service has taken the table over: {fenced}")

    def status(self) -> dict[str, dict[str, Any]]:
        """What each actor says of itself; an actor that is just starting again is left out."""
        refs = {name: actor.status.remote() for name, actor in list(self.actors.items())}
        ready, _ = ray.wait(list(refs.values()), num_returns=len(refs), timeout=STATUS_SECONDS)
        found = {}
        for name, ref in refs.items():
            if ref in ready:
                try:
                    found[name] = ray.get(ref)
                except RayError as error:
                    log.info("%s does not answer: %s", name, error)
        return found

    def scale_ingest(self, actors: int) -> None:
        """Go on with so many ingest actors, which take the partitions over from those before.

        What those had in hand is read again where the table stands. Raises `SettingsError` if
        Ray has no room for them; those before then go on.
        """
        ingest = self.settings.ingest.model_copy(update={"actors": actors})
        scaled = self.settings.model_copy(update={"ingest": ingest})
        check_resources(scaled)
        before = [name for name in self.actors if name.startswith("ingest-")]
        for name in before:
            self.actors[name].stop.remote()
        runs = [self._runs.pop(name) for name in before]
        ray.wait(runs, num_returns=len(runs), timeout=STOP_SECONDS)
        for name in before:
            ray.kill(self.actors.pop(name))
        self.settings = scaled
        self._ingest_generation += 1
        self._start_ingest()

    def upgrade_scorers(self, labels: Mapping[str, LabelSettings]) -> None:
        """Go on with other scorers behind labels that are there: their replicas are replaced one by one.

        Rows that the scorers before have labelled are out of date then. Raises `SettingsError` or
        `FatalError` if one can't start; those before then go on.
        """
        before = self.settings
        upgraded = before.model_copy(update={"labels": {**before.labels, **labels}})
        check_resources(upgraded)
        self.settings = upgraded
        try:
            self._deploy_scorers(labels)
        except FatalError:
            self.settings = before
            self._deploy_scorers(labels)
            raise

    def stop(self) -> None:
        """End what was started, the last first. What was under way is read again at the next start."""
        if ray.is_initialized():
            self._stop_actors()
            if self._owns_ray:
                ray.shutdown()
        self.actors, self._runs = {}, {}
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    def _stop_actors(self) -> None:
        stopping = [a.stop.remote() for name, a in self.actors.items() if name != KEEPER_NAME]
        for refs in (stopping, list(self._runs.values())):
            if refs:
                ray.wait(refs, num_returns=len(refs), timeout=STOP_SECONDS)
        for actor in self.actors.values():
            ray.kill(actor)
        if self.actors:
            apps = [self.settings.serve_app(label) for label in self.settings.labels]
            for blocking in (False, True):  # all at once, then wait for each
                for app in apps:
                    serve.delete(app, _blocking=blocking)

    def _start_actors(self) -> None:
        settings = self.settings
        try:
            keeper = self._actor(TableKeeper, KEEPER_NAME, SMALL_ACTOR_CPUS).remote(settings)
        except ValueError as error:
            raise SettingsError(f"ray.namespace: a service is running in it: {error}") from None
        self.actors[KEEPER_NAME] = keeper
        serve.start(proxy_location="Disabled")
        self._deploy_scorers(settings.labels)
        try:
            ray.get(keeper.status.remote())
        except RayError as error:
            raise FatalError(f"the keeper did not start: {_last_line(error)}") from error
        self._keeper_answered = time.monotonic()
        self._start_ingest()
        for index in range(settings.scoring.actors):
            name = f"scoring-{index}"
            actor = self._actor(ScoringConsumer, name, settings.scoring.actor_cpus)
            self._run(name, actor.remote(settings, index))
        trigger = self._actor(RetrainTrigger, TRIGGER_NAME, SMALL_ACTOR_CPUS)
        self._run(TRIGGER_NAME, trigger.remote(settings))
        upkeep = self._actor(UpkeepActor, UPKEEP_NAME, SMALL_ACTOR_CPUS)
        self._run(UPKEEP_NAME, upkeep.remote(settings))

    def _deploy_scorers(self, labels: Iterable[str]) -> None:
        settings = self.settings
        host = settings.metrics.host
        targets = [
            serve.RunTarget(
                build_app(name, settings.labels[name], host), settings.serve_app(name), None
            )
            for name in labels
        ]
        try:
            serve.run_many(targets)
        except RuntimeError as error:
            raise FatalError(f"a scorer did not start: {error}") from error

    def _start_ingest(self) -> None:
        settings = self.settings
        for index in range(settings.ingest.actors):
            name = f"ingest-{index}"
            # Ray frees the name of an actor that was killed only by and by.
            unique = f"{name}-{self._ingest_generation}"
            actor = self._actor(IngestActor, unique, settings.ingest.actor_cpus)
            self._run(name, actor.remote(settings, index))

    def _actor(self, kind: type, name: str, cpus: float) -> Any:
        namespace = self.settings.ray.namespace
        return ray.remote(kind).options(name=name, namespace=namespace, num_cpus=cpus, **FOREVER)

    def _run(self, name: str, actor: ActorHandle) -> None:
        self.actors[name] = actor
        self._runs[name] = actor.run.remote()

    def _targets(self) -> Mapping[str, str]:
        if not self.actors:
            return {}
        targets = {}
        for name, status in self.status().items():
            targets[name] = status["metrics_address"]
            targets.update(status.get("targets", {}))
        return targets


def _last_line(error: Exception) -> str:
    """Where Ray puts what was raised, below its own account."""
    return str(error).strip().splitlines()[-1]


def _names_a_cluster(settings: Settings) -> bool:
    """Training then runs on another node, whose folders this process does not see."""
    return bool(settings.ray.address or os.environ.get("RAY_ADDRESS"))


def _port_of(settings: Settings) -> int:
    host, _, port = settings.kafka.bootstrap_servers.partition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        raise SettingsError(
            "kafka.bootstrap_servers: the embedded broker listens on 127.0.0.1:PORT only; "
            "set kafka.embedded = false to use another broker"
        )
    return int(port)
