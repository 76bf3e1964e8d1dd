"""`KafkaSettings` as keyword arguments of kafka-python's clients."""

from pathlib import Path
from typing import Any

from frameloop.core.errors import SettingsError
from frameloop.runtime.settings import KafkaSettings


class ClientConfig(dict[str, Any]):
    """Keyword arguments that are safe to log: the password is not in the representation."""

    def __repr__(self) -> str:
        return repr({k: "**********" if "password" in k else v for k, v in self.items()})

    __str__ = __repr__


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What producer, consumer and admin client have in common: where, how long, and as whom.

    The password is read from its file at each call, so a rotated one counts from the next client
    on. Raises `SettingsError` when a file named in the settings can't be used.
    """
    config = ClientConfig(
        bootstrap_servers=[s.strip() for s in settings.bootstrap_servers.split(",") if s.strip()],
        request_timeout_ms=settings.request_timeout_ms,
        bootstrap_timeout_ms=settings.request_timeout_ms,
        security_protocol=settings.security_protocol,
    )
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = _password(settings)
    if settings.security_protocol.endswith("SSL") and settings.ssl_ca_file is not None:
        if not settings.ssl_ca_file.is_file():
            raise SettingsError(f"kafka.ssl_ca_file: {settings.ssl_ca_file} is no file")
        config["ssl_cafile"] = str(settings.ssl_ca_file)
    return config


def _password(settings: KafkaSettings) -> str:
    secret, path = settings.sasl_password, settings.sasl_password_file
    if secret is not None and path is not None:
        raise SettingsError("kafka: set either sasl_password or sasl_password_file, not both")
    if secret is not None:
        return secret.get_secret_value()
    return _read_password(path) if path is not None else ""


def _read_password(path: Path) -> str:
    """The file's content less its line end, which editors and `echo` put there."""
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise SettingsError(f"kafka.sasl_password_file: {path}: {why}") from None
    if not password:
        raise SettingsError(f"kafka.sasl_password_file: {path} is empty")
    return password
