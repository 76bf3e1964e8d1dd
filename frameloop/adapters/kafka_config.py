"""`KafkaSettings` as keyword arguments of kafka-python's clients."""

import ssl
from pathlib import Path
from typing import Any

from frameloop.core.errors import SettingsError
from frameloop.runtime.settings import KafkaSettings


class Secret(str):
    """Text that hides in a representation: kafka-python logs its arguments at level DEBUG."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What producer, consumer and admin client have in common: where, how long, and as whom.

    The password is read from its file at each call, so a rotated one counts from the next client
    on. Raises `SettingsError` when a file named in the settings can't be used.
    """
    config: dict[str, Any] = {
        "bootstrap_servers": [
            s.strip() for s in settings.bootstrap_servers.split(",") if s.strip()
        ],
        "request_timeout_ms": settings.request_timeout_ms,
        "bootstrap_timeout_ms": settings.request_timeout_ms,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = Secret(_password(settings))
    if settings.security_protocol.endswith("SSL"):
        tls_context(settings)  # kafka-python would only time out over a file that it can't use
        config["ssl_check_hostname"] = True
        for name, path in (
            ("ssl_cafile", settings.ssl_ca_file),
            ("ssl_certfile", settings.ssl_certificate_file),
            ("ssl_keyfile", settings.ssl_key_file),
        ):
            if path is not None:
                config[name] = str(path)
    return config


def tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    """What the brokers' certificates are checked with, and what is shown to them.

    Raises `SettingsError` when a file named in the settings can't be used.
    """
    context = ssl.create_default_context()
    ca, certificate, key = (
        settings.ssl_ca_file,
        settings.ssl_certificate_file,
        settings.ssl_key_file,
    )
    if ca is not None:
        _check_file("ssl_ca_file", ca)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts this CA only
        try:
            context.load_verify_locations(ca)
        except OSError:
            raise SettingsError(f"kafka.ssl_ca_file: {ca} holds no certificate in PEM") from None
    if certificate is not None:
        _check_file("ssl_certificate_file", certificate)
        if key is not None:
            _check_file("ssl_key_file", key)
        try:
            # Without a password given, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError:
            raise SettingsError(
                f"kafka.ssl_certificate_file: {certificate} and its key "
                f"({key or 'in the same file'}) are no pair in PEM without a password"
            ) from None
    return context


def _check_file(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise SettingsError(f"kafka.{name}: {path}: {error.strerror}") from None


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
