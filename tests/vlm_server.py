"""A server on loopback that speaks the OpenAI-compatible API and answers as a test's script says."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from serve_apps.vlm_image import plain_picture

PLAIN = base64.b64decode(plain_picture().partition(",")[2])
MODEL = "tiny-vl"
START_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Reply:
    """What is sent back. `hang`: nothing, ever. `cut`: the connection ends within the body."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Asked:
    """One request: what it holds, and how many came before it for the same image."""

    body: dict[str, Any]
    headers: dict[str, str]
    url: str
    """Of the image."""
    before: int

    @property
    def image(self) -> bytes:
        return base64.b64decode(self.url.partition(",")[2])

    @property
    def is_plain(self) -> bool:
        return self.image == PLAIN


Script = Callable[[Asked], Reply]


def said(
    text: str | None, finish: str | None = "stop", refusal: str | None = None, **more: Any
) -> Reply:
    """A chat completion with this text: 100 tokens in, 10 out."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    completion = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": f"{MODEL}-served",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
    return Reply(json.dumps({**completion, **more}).encode())


def judged(score: object = 57, reason: object = "A clear scene.") -> Reply:
    return said(json.dumps({"reason": reason, "score": score}))


def failed(status: int, message: str = "", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(json.dumps({"error": {"message": message}}).encode(), status, headers=named)


class VlmServer:
    """`with VlmServer(script) as server:`; `script` may be changed between batches."""

    def __init__(self, script: Script = lambda _: judged()) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.at_once = 0
        self.at_once_max = 0
        self.barrier: asyncio.Barrier | None = None
        """Requests wait at it for each other, all of them but those for the plain picture."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="vlm-server")
        self._thread.start()
        assert started.wait(START_SECONDS_MAX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def about_rows(self) -> list[Asked]:
        return [asked for asked in self.asked if not asked.is_plain]

    @property
    def about_plain(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.is_plain]

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run(started))

    async def _run(self, started: threading.Event) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._completions)
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._port = runner.addresses[0][1]
        started.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            return await self._reply(request)
        finally:
            self.at_once -= 1

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        url = body["messages"][1]["content"][0]["image_url"]["url"]
        before = sum(asked.url == url for asked in self.asked)
        asked = Asked(body, dict(request.headers), url, before)
        self.asked.append(asked)
        if self.barrier is not None and not asked.is_plain:
            await self.barrier.wait()
        reply = self.script(asked)
        if reply.hang:
            await self._stopping.wait()
        if reply.cut:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"choices": [')
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(
            body=reply.body,
            status=reply.status,
            headers={**reply.headers, "Content-Type": reply.content_type},
        )
