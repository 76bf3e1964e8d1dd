"""A folder of frames over HTTP on this machine, for the demo and the tests.

    python -m producers.frame_server DIR --port 0 --port-file FILE

Beside the files themselves there are answers that are wrong on purpose (`BAD_PATHS`), as the open
web gives them. It binds to loopback only, serves no hidden file, nothing outside the folder, and no
listing.
"""

import argparse
import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from aiohttp import web
from PIL import Image

HOST = "127.0.0.1"
MISSING_PATH = "/bad/missing.jpg"
PAGE_PATH = "/bad/page.jpg"
TRUNCATED_PATH = "/bad/truncated.jpg"
BAD_PATHS = (MISSING_PATH, PAGE_PATH, TRUNCATED_PATH)
PAGE = b"<!doctype html><title>Sign in</title><p>Please sign in to see this picture."
FOLDER = web.AppKey("folder", Path)


def make_app(folder: Path) -> web.Application:
    """The server as an application. Raises `NotADirectoryError`."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    truncated = _half_a_jpeg()

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=PAGE, content_type="image/jpeg")

    async def half(_: web.Request) -> web.Response:
        return web.Response(body=truncated, content_type="image/jpeg")

    app = web.Application()
    app[FOLDER] = folder.resolve()
    app.router.add_get(PAGE_PATH, page)
    app.router.add_get(TRUNCATED_PATH, half)
    # One segment only: a path with a slash, written as %2F too, finds no route or no file.
    app.router.add_get("/{name:[A-Za-z0-9][A-Za-z0-9._-]*}", _frame)
    return app


@asynccontextmanager
async def serve(folder: Path, port: int = 0) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port. Answers under way are finished at its end.

    Raises `OSError` when the port is taken.
    """
    runner = web.AppRunner(make_app(folder), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _frame(request: web.Request) -> web.FileResponse:
    folder = request.app[FOLDER]
    path = folder / request.match_info["name"]
    # A link could lead out of the folder.
    if path.is_symlink() or not path.is_file():
        raise web.HTTPNotFound
    return web.FileResponse(path)


def _half_a_jpeg() -> bytes:
    """The first half of a JPEG that was whole: its header reads well, its pixels do not."""
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, format="JPEG", quality=90)
    return whole.getvalue()[: whole.tell() // 2]


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="ascii")
    unfinished.replace(path)


async def _run(folder: Path, port: int, port_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(folder, port) as actual_port:
        if port_file is not None:
            _write_atomically(port_file, str(actual_port))
        sys.stdout.write(f"http://{HOST}:{actual_port}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder of frames on this machine.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--port-file", type=Path, help="gets the port as text, once it is open")
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(arguments.folder, arguments.port, arguments.port_file))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
