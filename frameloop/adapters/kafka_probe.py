"""Why does Kafka not let us in? Asked once, after the client has given up.

kafka-python tries a refused TLS handshake or login again and again, in silence, and then says that
it could not bootstrap. So the first broker that takes a connection is asked by the same steps, one
at a time, where the reason of a refusal can be heard.
"""

import socket
import ssl
from typing import Any

from kafka.errors import KafkaError
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from frameloop.adapters.kafka_config import client_config, tls_context
from frameloop.core.errors import FatalError, FrameloopError, TransientError
from frameloop.runtime.settings import KafkaSettings

STEP_SECONDS_MAX = 2.0
ALERT_SECONDS_MAX = 0.5
"""TLS 1.3 refuses a client's certificate only after the client's handshake is over."""
LOGIN_STEPS_MAX = 4  # SCRAM has two


def refusal(settings: KafkaSettings) -> FrameloopError | None:
    """What the first broker that takes a connection has against us. None: none takes one."""
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        host = host.strip("[]")
        if not port.isdecimal():
            continue
        try:
            connection = socket.create_connection((host, int(port)), STEP_SECONDS_MAX)
        except OSError:
            continue
        with connection:
            if settings.security_protocol.endswith("SSL"):
                return _tls_refusal(settings, connection, host, server)
            if not settings.security_protocol.startswith("SASL"):
                return _plain_refusal(settings, connection, server)
            return _login_refusal(settings, connection, server)
    return None


def login_refused(settings: KafkaSettings, server: str) -> FatalError:
    return FatalError(
        f"Kafka at {server} refuses the login of {settings.sasl_username!r} by "
        f"{settings.sasl_mechanism}: check kafka.sasl_username, its password and "
        "kafka.sasl_mechanism"
    )


def _tls_refusal(
    settings: KafkaSettings, connection: socket.socket, host: str, server: str
) -> FrameloopError:
    try:
        with tls_context(settings).wrap_socket(connection, server_hostname=host) as secured:
            if settings.security_protocol.startswith("SASL"):
                return _login_refusal(settings, secured, server)
            secured.settimeout(ALERT_SECONDS_MAX)
            secured.recv(1)
    except TimeoutError:
        return _no_answer(settings, server)  # the handshake is good: the broker waits for us
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        return FatalError(
            f"the certificate of Kafka at {server} can't be trusted: {why}; check kafka.ssl_ca_file "
            "and the host name in kafka.bootstrap_servers"
        )
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return FatalError(
                f"Kafka at {server} refuses our side of TLS ({error.reason}): check "
                "kafka.ssl_certificate_file and kafka.ssl_key_file"
            )
    except OSError:
        pass
    return TransientError(
        f"Kafka at {server} breaks off the TLS handshake. If it goes on, its listener may speak "
        f"plain text; kafka.security_protocol is {settings.security_protocol}"
    )


def _plain_refusal(
    settings: KafkaSettings, connection: socket.socket, server: str
) -> FrameloopError:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # is it TLS at all? Nothing is sent over it.
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        anybody.wrap_socket(connection).close()
    except OSError:
        return _no_answer(settings, server)
    return FatalError(
        f"Kafka at {server} speaks TLS, and kafka.security_protocol is "
        f"{settings.security_protocol}: set SSL or SASL_SSL"
    )


def _login_refusal(
    settings: KafkaSettings, connection: socket.socket, server: str
) -> FrameloopError:
    try:
        if _is_logged_in(settings, connection):
            return _no_answer(settings, server)
    except (KafkaError, ValueError, OSError):
        return _no_answer(settings, server)  # broken off without a word
    return login_refused(settings, server)


def _is_logged_in(settings: KafkaSettings, connection: socket.socket) -> bool:
    """Log in as kafka-python does, which loses the broker's answer if the connection ends with it."""
    protocol = KafkaProtocol(client_id="frameloop-probe")
    hello = SaslHandshakeRequest(mechanism=settings.sasl_mechanism, version=1)
    if _ask(connection, protocol, hello).error_code:
        return False
    mechanism = get_sasl_mechanism(settings.sasl_mechanism)(host="", **client_config(settings))
    for _ in range(LOGIN_STEPS_MAX):
        if mechanism.is_done():
            break
        step = SaslAuthenticateRequest(mechanism.auth_bytes(), version=1)
        answer = _ask(connection, protocol, step)
        if answer.error_code:
            return False
        mechanism.receive(answer.auth_bytes)
    return bool(mechanism.is_authenticated())


def _ask(connection: socket.socket, protocol: KafkaProtocol, request: Any) -> Any:
    protocol.send_request(request)
    connection.sendall(protocol.send_bytes())
    while received := connection.recv(4096):
        for _, response in protocol.receive_bytes(received):
            return response
    raise ConnectionError("closed without an answer")


def _no_answer(settings: KafkaSettings, server: str) -> TransientError:
    return TransientError(
        f"Kafka at {server} takes the connection and gives no answer. If it goes on, its listener "
        f"may want another way in; kafka.security_protocol is {settings.security_protocol}"
    )
