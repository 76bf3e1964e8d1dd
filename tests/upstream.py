"""An upstream for tests: pictures made here, served on loopback, and events that name them."""

import asyncio
import io
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from aiohttp import web
from PIL import Image

from frameloop.runtime.settings import KafkaSettings
from producers.emit import EventEmitter
from schemas.event import ScreenshotEvent

PICTURES = 16
HOLD_S_MAX = 60.0


def make_jpeg(seed: int, size: tuple[int, int] = (96, 64)) -> bytes:
    """A picture with structure, another one for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(packed, "JPEG", quality=90)
    return packed.getvalue()


@dataclass
class ImageServer:
    """`/N.jpg` for any N; `/missing.jpg`, `/page.jpg` and `/cut.jpg` are wrong. Counts requests."""

    port: int = 0
    requests: int = 0
    refused: int = 0
    down: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    pictures: list[bytes] = field(default_factory=lambda: [make_jpeg(i) for i in range(PICTURES)])

    def url(self, name: object) -> str:
        return f"http://127.0.0.1:{self.port}/{name}.jpg"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Take requests and leave them without an answer until the block ends."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answer 503 to everything until the block ends."""
        self.refused, self.down = 0, True
        try:
            yield
        finally:
            self.down = False

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        if not self.gate.is_set():
            await asyncio.to_thread(self.gate.wait, HOLD_S_MAX)
        if self.down:
            self.refused += 1
            return web.Response(status=503)
        name = request.match_info["name"]
        if name == "missing":
            return web.Response(status=404)
        if name == "page":
            return web.Response(text="<html>no picture</html>", content_type="image/jpeg")
        if name == "cut":
            picture = self.pictures[0]
            return web.Response(body=picture[: len(picture) // 2], content_type="image/jpeg")
        picture = self.pictures[int(name) % PICTURES]
        return web.Response(body=picture, content_type="image/jpeg")


@contextmanager
def image_server() -> Iterator[ImageServer]:
    """Serve in a thread of its own."""
    server, loop, ready = ImageServer(), asyncio.new_event_loop(), threading.Event()
    server.gate.set()

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{name}.jpg", server.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        ready.set()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def send_pictures(kafka: KafkaSettings, server: ImageServer, first: int, following: int) -> None:
    """One good event for each number in `[first, following)`, over three sources."""
    with EventEmitter.connect(kafka) as emitter:
        for number in range(first, following):
            emitter.send(
                ScreenshotEvent(
                    event_id=f"event-{number}",
                    source=f"source-{number % 3}",
                    image_url=server.url(number),
                    caption=f"Picture {number % PICTURES}.",
                    attributes={"game": "test", "number": number},
                )
            )


@dataclass
class Load:
    """Good events for one topic, each time new ones, so that tests can share a service."""

    kafka: KafkaSettings
    server: ImageServer
    sent: int = 0

    def send(self, count: int) -> None:
        send_pictures(self.kafka, self.server, self.sent, self.sent + count)
        self.sent += count


def send_bad_events(kafka: KafkaSettings, server: ImageServer) -> int:
    """One event of each kind that can't become a row, each time new ones; returns how many."""
    batch = uuid.uuid4().hex
    urls = [server.url("missing"), server.url("page"), server.url("cut"), "ftp://127.0.0.1/x.jpg"]
    with EventEmitter.connect(kafka) as emitter:
        for number, url in enumerate(urls):
            event = ScreenshotEvent(event_id=f"bad-{batch}-{number}", source="bad", image_url=url)
            emitter.send(event)
        emitter.send_raw(b"\xffno event", key=b"bad")
    return len(urls) + 1
