"""The service's HTTP endpoint."""

import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from frameloop.core.errors import SettingsError
from frameloop.runtime import metrics
from frameloop.runtime.endpoint import Endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint("127.0.0.1", 0, lambda: {"ingest-0": "127.0.0.1:4001"}, lambda: True)
    yield made
    made.close()


def get(endpoint: Endpoint, path: str) -> bytes:
    with urlopen(f"http://{endpoint.address}{path}") as answer:
        body: bytes = answer.read()
    return body


def test_metrics_can_be_scraped(endpoint: Endpoint) -> None:
    metrics.TABLE_VERSION.set(7)
    families = {
        f.name: f for f in text_string_to_metric_families(get(endpoint, "/metrics").decode())
    }
    assert families["frameloop_table_version"].samples[0].value == 7


def test_discovery_lists_the_service_and_its_actors_as_prometheus_wants_it(
    endpoint: Endpoint,
) -> None:
    assert json.loads(get(endpoint, "/sd")) == [
        {"targets": ["127.0.0.1:4001"], "labels": {"process": "ingest-0"}},
        {"targets": [endpoint.address], "labels": {"process": "service"}},
    ]


def test_an_unknown_path_says_which_there_are(endpoint: Endpoint) -> None:
    with pytest.raises(HTTPError) as error:
        get(endpoint, "/nothing")
    assert error.value.code == 404
    assert "/metrics" in json.loads(error.value.read())["paths"]
    error.value.close()


def test_a_taken_port_is_a_settings_error(endpoint: Endpoint) -> None:
    host, _, port = endpoint.address.partition(":")
    with pytest.raises(SettingsError, match=r"metrics\.port"):
        Endpoint(host, int(port), dict, lambda: True)


def test_health_is_what_the_service_says() -> None:
    made = Endpoint("127.0.0.1", 0, dict, lambda: False)
    try:
        with pytest.raises(HTTPError) as error:
            get(made, "/healthz")
        assert error.value.code == 503
        error.value.close()
    finally:
        made.close()
