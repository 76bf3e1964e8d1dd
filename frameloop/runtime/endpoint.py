"""The service's own HTTP endpoint: `/metrics`, `/healthz`, and `/sd` for Prometheus' discovery.

Actors come and go with ports of their own. Prometheus asks `/sd` (`http_sd_configs`) where they are.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from frameloop.core.errors import SettingsError

Targets = Callable[[], Mapping[str, str]]
"""Name of each process to its `host:port`."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """A line for each scrape would drown the logs."""


class Endpoint:
    """Serves until `close`. Binds to loopback unless the settings say otherwise."""

    def __init__(
        self, host: str, port: int, targets: Targets, is_healthy: Callable[[], bool]
    ) -> None:
        self._targets = targets
        self._is_healthy = is_healthy
        self._metrics = make_wsgi_app()
        try:
            self._server = make_server(host, port, self._app, _Server, _QuietHandler)
        except OSError as error:
            raise SettingsError(
                f"metrics.port: {host}:{port} can't be used: {error.strerror}; 0 takes any free port"
            ) from None
        self.address = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            found: Iterable[bytes] = self._metrics(environ, start_response)
            return found
        if path == "/sd":
            return _answer(start_response, "200 OK", self._discovery(environ.get("HTTP_HOST")))
        if path == "/healthz":
            healthy = self._is_healthy()
            status = "200 OK" if healthy else "503 Service Unavailable"
            return _answer(start_response, status, {"status": "ok" if healthy else "not ready"})
        known = {"error": "not found", "paths": ["/metrics", "/sd", "/healthz"]}
        return _answer(start_response, "404 Not Found", known)

    def _discovery(self, asked_at: str | None) -> list[dict[str, Any]]:
        """Whoever asks reaches this process at the address they asked at, whatever it binds to."""
        targets = {"service": asked_at or self.address, **self._targets()}
        return [
            {"targets": [address], "labels": {"process": name}}
            for name, address in sorted(targets.items())
        ]


def _answer(start_response: Callable[..., Any], status: str, body: object) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
