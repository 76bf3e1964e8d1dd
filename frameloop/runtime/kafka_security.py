"""TLS and SASL for the embedded broker: for tests of the settings that production uses.

Certificates, and the password of the one user, are made in the broker's folder at the first start
and stay. They are good for this machine alone: the certificate names 127.0.0.1 and nothing else.
"""

import ipaddress
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from frameloop.core.errors import SettingsError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
MECHANISM = "SCRAM-SHA-512"
USER = "frameloop"
VALID = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ListenerSecurity:
    """How clients reach the listener `CLIENT`. Its files are in `folder`.

    With SSL alone, a client shows a certificate; with SASL, it logs in as `USER`.
    """

    protocol: SecurityProtocol
    folder: Path

    @property
    def has_tls(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def has_sasl(self) -> bool:
        return self.protocol.startswith("SASL")

    def client_settings(self) -> dict[str, Any]:
        """The fields of `KafkaSettings` that a client of this listener needs."""
        settings: dict[str, Any] = {"security_protocol": self.protocol}
        if self.has_sasl:
            settings |= {"sasl_mechanism": MECHANISM, "sasl_username": USER}
            settings["sasl_password_file"] = self.folder / "password"
        if self.has_tls:
            settings["ssl_ca_file"] = self.folder / "ca.pem"
        if self.has_tls and not self.has_sasl:
            settings["ssl_certificate_file"] = self.folder / "client.pem"
            settings["ssl_key_file"] = self.folder / "client.key"
        return settings

    def make_files(self) -> None:
        """Certificates and password, where they are not there yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = self.folder / "password"
        if self.has_sasl and not password.exists():
            _write_secret(password, secrets.token_urlsafe(16).encode())
        if self.has_tls and not (self.folder / "ca.pem").exists():
            _make_certificates(self.folder)

    def format_arguments(self) -> list[str]:
        """What the StorageTool must know: a SCRAM user is part of the cluster's first metadata."""
        if not self.has_sasl:
            return []
        password = (self.folder / "password").read_text(encoding="utf-8")
        return ["--add-scram", f"{MECHANISM}=[name={USER},password={password}]"]

    def properties(self) -> list[str]:
        """The broker's properties of the listener."""
        lines = []
        if self.has_sasl:
            lines += [
                f"sasl.enabled.mechanisms={MECHANISM}",
                f"{MECHANISM.lower()}.sasl.jaas.config="
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ]
        if self.has_tls:
            folder = self.folder.resolve()
            lines += [
                "ssl.keystore.type=PEM",
                f"ssl.keystore.location={folder}/server-key-and-chain.pem",
                "ssl.truststore.type=PEM",
                f"ssl.truststore.location={folder}/ca.pem",
                f"ssl.client.auth={'none' if self.has_sasl else 'required'}",
            ]
        return [f"listener.name.client.{line}" for line in lines]


def _make_certificates(folder: Path) -> None:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise SettingsError(
            "a secured embedded broker needs the package `cryptography`: install frameloop[dev]"
        ) from None
    ca_key, server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = _certificate("frameloop test CA", ca_key, None, ca_key)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _certificate("frameloop test broker", server_key, ca, ca_key, here)
    client = _certificate("frameloop test client", client_key, ca, ca_key)
    _write_secret(
        folder / "server-key-and-chain.pem", _key_pem(server_key) + _pem(server) + _pem(ca)
    )
    _write_secret(folder / "client.key", _key_pem(client_key))
    (folder / "client.pem").write_bytes(_pem(client))
    (folder / "ca.pem").write_bytes(_pem(ca))  # the last: where it is, all are


def _certificate(
    name: str,
    key: "EllipticCurvePrivateKey",
    issuer: "x509.Certificate | None",
    issuer_key: "EllipticCurvePrivateKey",
    names: "x509.SubjectAlternativeName | None" = None,
) -> "x509.Certificate":
    """Signed by `issuer`; without one it is a CA of its own."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, SHA256())


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization as to

    return key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
