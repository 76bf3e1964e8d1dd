"""kafka-python's errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from frameloop.adapters.kafka_probe import login_refused, refusal
from frameloop.core.errors import FatalError, FrameloopError, TransientError
from frameloop.runtime.settings import KafkaSettings

_LOGIN_REFUSED = (
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    IllegalSaslStateError,
)


@contextmanager
def kafka_errors(settings: KafkaSettings) -> Iterator[None]:
    """Errors of kafka-python leave the block as `TransientError` or `FatalError`."""
    try:
        yield
    except KafkaError as error:
        raise explained(settings, error) from None


def explained(settings: KafkaSettings, error: KafkaError) -> FrameloopError:
    """Ours for theirs. After a time-out it asks a broker for the reason, which takes seconds."""
    where = settings.bootstrap_servers
    if isinstance(error, _LOGIN_REFUSED):
        return login_refused(settings, where)
    if isinstance(error, AuthorizationError):
        return FatalError(f"Kafka at {where} forbids it: {error}")
    if isinstance(error, KafkaTimeoutError | KafkaConnectionError):
        return refusal(settings) or TransientError(f"no Kafka broker answers at {where}: {error}")
    if error.retriable:
        return TransientError(f"Kafka at {where}: {error}")
    return FatalError(f"Kafka at {where} refuses: {error}")
