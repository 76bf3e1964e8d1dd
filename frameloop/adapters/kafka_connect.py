"""Clients of kafka-python, made so that one that no broker takes leaves nothing behind."""

from collections.abc import Callable
from typing import Any, TypeVar

from kafka.net.compat import KafkaNetClient

from frameloop.adapters.kafka_config import client_config
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.runtime.settings import KafkaSettings

Client = TypeVar("Client")


def connected(make: Callable[..., Client], settings: KafkaSettings, **more: Any) -> Client:
    """`make` is `KafkaConsumer` or `KafkaAdminClient`. Returns it connected.

    Raises `TransientError` when no broker answers in time, `FatalError` when they refuse this
    client, and `SettingsError`. kafka-python 3.0.12 alone would leave a thread running each time.
    """
    made: list[KafkaNetClient] = []

    def remember(**config: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**config))
        return made[-1]

    with kafka_errors(settings):
        try:
            return make(**client_config(settings), **more, kafka_client=remember)
        except BaseException:
            for client in made:
                client.close()
                client._net.stop()
            raise
