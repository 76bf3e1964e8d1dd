"""The Ray Serve applications: replicas that score fragments by reference.

    app = build_app("score1", settings.labels["score1"])
    handle = serve.run(app, name=settings.serve_app("score1"), route_prefix=None)
    scores = await handle.score_fragment.remote(FragmentRequest(uri, version, fragment, label))

One application a label. There is no HTTP route: only the scoring consumer calls.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from ray import serve
from ray.serve import Application

from frameloop.runtime import metrics
from frameloop.runtime.label_settings import LabelSettings
from frameloop.runtime.memory import keep_freed_memory
from serve_apps.fragment_scoring import (
    FragmentRequest,
    FragmentScores,
    score_fragment,
    scorer_id,
)
from serve_apps.registry import ScorerFactory, factory_of
from serve_apps.table_cache import TableCache

DEPLOYMENT_NAME = "scorer"
ONGOING_REQUESTS_MAX = 2
"""Per replica: the one being scored, and the next, so that the thread never waits for a message."""
HEALTH_CHECK_PERIOD_S = 10.0
HEALTH_CHECK_TIMEOUT_S = 30.0
SHUTDOWN_WAIT_S = 2.0
SHUTDOWN_TIMEOUT_S = 20.0
BATCH_SECONDS_MAX = 1800.0
"""Between two batches. Longer means hung (storage gone quiet): Serve replaces the replica. A judge whose
server is away takes some ten minutes to give a batch up; its rate limits may make it more."""


@dataclass(frozen=True, slots=True)
class ScorerFacts:
    """What a consumer must know of the scorer behind an application."""

    scorer: str
    """`name/version`."""
    inputs: tuple[str, ...]


class ScorerDeployment:
    """One replica: a scorer, a few open tables and the one thread that uses both.

    One thread, since a scorer is called from one thread (`contract`); the event loop stays free to
    answer health checks meanwhile. More at once means more replicas.
    """

    def __init__(self, factory: ScorerFactory, metrics_host: str = "127.0.0.1") -> None:
        keep_freed_memory()
        self._scorer = factory()
        self._metrics_address = metrics.serve_metrics(metrics_host)
        self._tables = TableCache()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")
        self._started_at: float | None = None

    async def score_fragment(self, request: FragmentRequest) -> FragmentScores:
        """Scores of all rows of one fragment. Changes nothing, so it may be called again.

        Raises what `fragment_scoring.score_fragment` raises, in Ray's wrapping.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, request)

    async def facts(self) -> ScorerFacts:
        """Of the scorer in this replica."""
        return ScorerFacts(scorer_id(self._scorer), tuple(self._scorer.inputs))

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica if this raises `RuntimeError`."""
        started_at = self._started_at
        if started_at is not None and time.monotonic() - started_at > BATCH_SECONDS_MAX:
            raise RuntimeError(f"a batch takes longer than {BATCH_SECONDS_MAX:.0f} s")

    def __del__(self) -> None:
        """Called by Serve when the replica stops, after it has drained its requests."""
        thread = getattr(self, "_thread", None)  # absent if the factory failed
        if thread is not None:
            thread.shutdown(wait=False, cancel_futures=True)

    def _score(self, request: FragmentRequest) -> FragmentScores:
        self._begin_batch()
        try:
            scores = score_fragment(request, self._scorer, self._tables, self._begin_batch)
            return replace(scores, metrics_address=self._metrics_address)
        finally:
            self._started_at = None

    def _begin_batch(self) -> None:
        self._started_at = time.monotonic()


def build_app(label: str, settings: LabelSettings, metrics_host: str = "127.0.0.1") -> Application:
    """The application of one label for `serve.run`, sized by its settings.

    Deployed again under the same name it replaces the replicas one by one: those before answer
    what they have, the new ones take what comes. Raises `SettingsError` if there is no such scorer.
    """
    deployment = serve.deployment(
        ScorerDeployment,
        name=DEPLOYMENT_NAME,
        autoscaling_config={
            "min_replicas": settings.replicas_min,
            "max_replicas": settings.replicas_max,
            "initial_replicas": max(1, settings.replicas_min),
            "target_ongoing_requests": ONGOING_REQUESTS_MAX,
        },
        ray_actor_options={
            "num_cpus": settings.replica_cpus,
            "num_gpus": settings.replica_gpus,
        },
        max_ongoing_requests=ONGOING_REQUESTS_MAX,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=SHUTDOWN_WAIT_S,
        graceful_shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
    )
    return deployment.bind(factory_of(label, settings), metrics_host)
