"""Every setting of the service: typed, bounded, checked once at start, then passed on.

Read from a TOML file (`--config`, else `$FRAMELOOP_CONFIG`, else `frameloop.toml` where the command
runs, if it is there) and from the environment, which wins: `FRAMELOOP_KAFKA__TOPIC=screens` is
`topic` in the section `[kafka]`. `docs/settings.md` is made from this file.
"""

import os
import tomllib
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from frameloop.core.errors import SettingsError
from frameloop.core.labels import LABEL_PATTERN, check_order, labels_in
from frameloop.runtime.label_settings import LabelSettings
from frameloop.runtime.section import Section
from frameloop.runtime.upkeep_settings import UpkeepSettings
from schemas.table import Label, taken_names

ENV_PREFIX = "FRAMELOOP_"
CONFIG_VARIABLE = "FRAMELOOP_CONFIG"
CONFIG_DEFAULT = Path("frameloop.toml")
OTHER_VARIABLES = (CONFIG_VARIABLE, "FRAMELOOP_LOG_LEVEL", "FRAMELOOP_FAULTS")


class KafkaSettings(Section):
    """Where events come from and go to."""

    embedded: bool = Field(True, description="Start an Apache Kafka of our own on this machine.")
    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=3, description="`host:port`, comma-separated."
    )
    topic: str = Field("screenshots", pattern=r"^[a-zA-Z0-9._-]{1,200}$", description="Events.")
    dead_letter_topic: str = Field("screenshots.dead", pattern=r"^[a-zA-Z0-9._-]{1,200}$")
    commit_topic: str = Field(
        "table.commits", pattern=r"^[a-zA-Z0-9._-]{1,200}$", description="Notices of commits."
    )
    group_id: str = Field("frameloop-ingest", min_length=1, max_length=200)
    partitions: int = Field(4, ge=1, le=1024, description="Of a topic that the service creates.")
    replication_factor: int = Field(1, ge=1, le=9)
    dead_letter_retention_hours: int = Field(24 * 14, ge=1)
    request_timeout_ms: int = Field(15_000, ge=1_000, le=300_000)
    session_timeout_ms: int = Field(10_000, ge=6_000, le=300_000)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = Field(
        None, description="File that holds the password; instead of `sasl_password`."
    )
    ssl_ca_file: Path | None = Field(
        None, description="CA that signed the brokers' certificates; without one, the system's."
    )
    ssl_certificate_file: Path | None = Field(
        None, description="Certificate to show to the brokers (mutual TLS), as PEM."
    )
    ssl_key_file: Path | None = Field(
        None, description="Its private key, as PEM; needless where the certificate's file holds it."
    )

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        sasl = self.security_protocol.startswith("SASL")
        password = self.sasl_password or self.sasl_password_file
        if sasl and not (self.sasl_mechanism and self.sasl_username and password):
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_mechanism, "
                "sasl_username and sasl_password (or sasl_password_file)"
            )
        if self.embedded and self.security_protocol != "PLAINTEXT":
            raise ValueError("the embedded broker speaks PLAINTEXT only; set embedded = false")
        return self

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        files = (self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file)
        if any(files) and not self.security_protocol.endswith("SSL"):
            raise ValueError(
                f"security_protocol {self.security_protocol} has no TLS, yet an ssl_ file is named; "
                "set security_protocol to SSL or SASL_SSL"
            )
        if self.ssl_key_file and not self.ssl_certificate_file:
            raise ValueError("ssl_key_file needs ssl_certificate_file")
        return self


class TableSettings(Section):
    """The Lance table of screenshots."""

    uri: str = Field(
        "", description="Path or object-store URI; empty: `screenshots.lance` in `data_dir`."
    )
    commit_group_max: int = Field(
        64, ge=1, le=1024, description="Requests that one table commit may carry."
    )
    commit_queue_max: int = Field(1024, ge=1, description="Requests waiting for a commit.")
    outbox_max: int = Field(
        10_000, ge=1, description="Dead letters committed but not yet in Kafka."
    )


class IngestSettings(Section):
    """Ingest actors: fetch, verify, micro-batch, append."""

    actors: int = Field(1, ge=1, le=256)
    actor_cpus: float = Field(0.5, ge=0, le=64)
    batch_rows: int = Field(256, ge=1, le=100_000, description="A batch is cut at these rows, …")
    batch_bytes: int = Field(32 << 20, ge=1 << 16, le=1 << 30, description="… these bytes, …")
    batch_age_s: float = Field(1.0, gt=0, le=300, description="… or this age, whichever is first.")
    in_flight_events: int = Field(
        1024, ge=1, le=100_000, description="Events polled but not yet handed to the keeper."
    )
    in_flight_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        description="Image bytes in memory, those being read included; polling pauses above it.",
    )


class FetchSettings(Section):
    """What one ingest actor may do to the web, and what it takes from it."""

    connections: int = Field(128, ge=1, le=4096, description="At once, to all hosts.")
    connections_per_host: int = Field(32, ge=1, le=1024)
    requests_per_host_per_s: float = Field(
        0, ge=0, description="Rate to one host; 0 means no limit."
    )
    connect_timeout_s: float = Field(5, gt=0, le=120)
    total_timeout_s: float = Field(30, gt=0, le=600, description="One attempt, body included.")
    retries: int = Field(3, ge=0, le=20, description="Further attempts after the first.")
    backoff_base_s: float = Field(0.25, gt=0, le=60)
    backoff_max_s: float = Field(
        10, gt=0, le=600, description="Also the most that Retry-After may ask."
    )
    redirects: int = Field(3, ge=0, le=20)
    image_bytes_max: int = Field(20 << 20, ge=1, le=1 << 30)
    image_pixels_max: int = Field(
        40_000_000, ge=1, le=89_478_485, description="Pillow refuses more by itself."
    )
    verify_threads: int = Field(2, ge=1, le=64, description="Decoding takes about 1 ms an image.")
    formats: tuple[Literal["JPEG", "PNG", "WEBP", "GIF", "BMP"], ...] = Field(
        ("JPEG", "PNG", "WEBP"), min_length=1, description="Decided by content, not by header."
    )
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Private or loopback networks that may be fetched from all the same."
    )
    obey_robots_tag: bool = Field(
        True, description="Heed `X-Robots-Tag: noai, noimageai, noindex`."
    )
    breaker_failures: int = Field(
        20, ge=1, description="Failures in a row after which a host is left alone …"
    )
    breaker_open_s: float = Field(15, gt=0, le=3600, description="… for so long.")
    user_agent: str = Field("frameloop/0.1", min_length=1, max_length=256)


class ScoringSettings(Section):
    """The consumers that have rows labelled; the labels themselves are in `[labels.NAME]`."""

    actors: int = Field(1, ge=1, le=64)
    actor_cpus: float = Field(0.25, ge=0, le=64)
    concurrent_fragments: int = Field(4, ge=1, le=256, description="Fragments in hand, per actor.")
    poll_interval_s: float = Field(
        5, gt=0, le=300, description="Look at the table at least so often, notice or no notice."
    )
    survey_fragments: int = Field(
        32, ge=0, le=10_000, description="Fragments searched at a look for rows out of date."
    )


class TrainingSettings(Section):
    """When to retrain, and what LLaMA-Factory is told."""

    enabled: bool = Field(True, description="Let the trigger start runs.")
    environment: Path = Field(
        Path(".venv-training"), description="Virtual environment that holds LLaMA-Factory."
    )
    base_model: str = Field(
        "Qwen/Qwen2-VL-2B-Instruct", min_length=1, description="Local folder, or a hub's name."
    )
    hub: Literal["modelscope", "huggingface"] = "modelscope"
    template: str = "qwen2_vl"
    finetuning_type: Literal["lora", "full", "freeze"] = "lora"
    label: str = Field("score1", description="Label that tells which rows are good enough.")
    score_min: float = Field(60, ge=0, le=100, description="Rows with a lower score are left out.")
    min_new_rows: int = Field(1000, ge=1, description="Passing rows since the last good run.")
    min_gap_s: float = Field(0, ge=0, description="Shortest time between two starts.")
    check_interval_s: float = Field(5, gt=0, le=3600)
    gpus: float = Field(0, ge=0, le=64)
    cpus: float = Field(0.5, ge=0, le=256)
    timeout_s: float = Field(6 * 3600, gt=0, description="A run is stopped after this time.")
    llamafactory: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Passed through to LLaMA-Factory's own YAML."
    )


class RaySettings(Section):
    address: str | None = Field(
        None, description="A cluster to join; else `RAY_ADDRESS`; else a local Ray is started."
    )
    num_cpus: int | None = Field(None, ge=1, description="Of a local Ray; default: all.")
    object_store_mb: int = Field(256, ge=80, description="Of a local Ray.")
    namespace: str = Field(
        "frameloop",
        pattern=r"^[a-zA-Z0-9_-]{1,64}$",
        description="Of the service's actors; services that share a cluster need one each.",
    )


class MetricsSettings(Section):
    host: str = Field("127.0.0.1", description="Address that `/metrics` binds to.")
    port: int = Field(9108, ge=0, le=65535, description="Of the service; 0 means any free port.")


class Settings(BaseSettings):
    """All settings of one service."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    data_dir: Path = Field(
        Path(".frameloop"), description="The service's own folder: broker, table, runs."
    )
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    table: TableSettings = Field(default_factory=TableSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    fetch: FetchSettings = Field(default_factory=FetchSettings)
    scoring: ScoringSettings = Field(default_factory=ScoringSettings)
    labels: dict[Annotated[str, Field(pattern=LABEL_PATTERN)], LabelSettings] = Field(
        default_factory=lambda: {"score1": LabelSettings(scorer="quality")},
        min_length=1,
        max_length=32,
        description="By column. Who names labels names all of them: `score1` is there by default only.",
    )
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    upkeep: UpkeepSettings = Field(default_factory=UpkeepSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)

    @property
    def table_uri(self) -> str:
        """Absolute: actors may run elsewhere than the command."""
        return self.table.uri or str(self.data_dir.resolve() / "screenshots.lance")

    @property
    def runs_uri(self) -> str:
        return str(self.data_dir.resolve() / "runs.lance")

    def serve_app(self, label: str) -> str:
        """Name of the Serve application of a label: one Ray may carry several services."""
        return f"{self.ray.namespace}-{label}"

    @property
    def label_columns(self) -> tuple[Label, ...]:
        return tuple(Label(name, label.value_type) for name, label in self.labels.items())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content comes in as arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if taken := taken_names(self.label_columns):
            raise ValueError(f"labels: the table would have two columns {taken[0]}")
        filters = {name: label.row_filter or "" for name, label in self.labels.items()}
        needs = {name: labels_in(text, self.labels) for name, text in filters.items()}
        try:
            check_order(needs)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        good = self.labels.get(self.training.label)
        if good is None or good.value_type not in ("float32", "int64"):
            raise ValueError(
                f"training.label: there is no label {self.training.label!r} of numbers; "
                f"labels: {sorted(self.labels)}"
            )
        return self

    @model_validator(mode="after")
    def _batch_fits_window(self) -> Self:
        if self.ingest.batch_bytes > self.ingest.in_flight_bytes:
            raise ValueError("ingest.batch_bytes must not exceed ingest.in_flight_bytes")
        if self.fetch.connections_per_host > self.fetch.connections:
            raise ValueError("fetch.connections_per_host must not exceed fetch.connections")
        return self


def load_settings(config: Path | None = None) -> Settings:
    """Settings from the file and the environment.

    Raises `SettingsError`, which names each wrong setting and what is allowed.
    """
    _check_environment()
    try:
        return Settings(**_read_config(config))
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except SourceError as error:
        raise SettingsError(
            f"environment: {error}; lists and tables are written as JSON, "
            "e.g. FRAMELOOP_FETCH__ALLOW_NETWORKS='[\"10.0.0.0/8\"]'"
        ) from None


def _read_config(config: Path | None) -> dict[str, Any]:
    named = config or (Path(v) if (v := os.environ.get(CONFIG_VARIABLE)) else None)
    path = named or CONFIG_DEFAULT
    if named is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is no TOML: {error}") from None


def environment_names() -> list[str]:
    """Each environment variable that is a setting."""
    names = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            names += [f"{ENV_PREFIX}{name}__{key}".upper() for key in section.model_fields]
        names.append(f"{ENV_PREFIX}{name}".upper())
    return names


def _check_environment() -> None:
    """A misspelt variable would be passed over in silence otherwise."""
    known = environment_names()
    free_form = ("FRAMELOOP_TRAINING__LLAMAFACTORY__", "FRAMELOOP_LABELS__")
    for name in os.environ:
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in (*OTHER_VARIABLES, *known):
            continue
        if upper.startswith(free_form):
            continue
        near = get_close_matches(upper, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{name}: there is no such setting{hint} (see docs/settings.md)")


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"] if part != "function-after") or "settings"
        given = "" if item["type"] == "missing" else f" (got {_shown(name, item['input'])})"
        if item["type"] == "extra_forbidden":
            lines.append(f"{name}: there is no such setting (see docs/settings.md)")
        else:
            lines.append(f"{name}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)


def _shown(name: str, value: object) -> str:
    """A wrong value is shown, a secret never."""
    secret = "password" in name or isinstance(value, dict | BaseModel)
    return "a value that is not shown" if secret else repr(value)[:80]
