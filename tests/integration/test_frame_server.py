"""The frame server gives what is in its folder, its bad answers, and nothing else."""

import asyncio
import io
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from PIL import Image
from yarl import URL

from producers.frame_server import MISSING_PATH, PAGE_PATH, TRUNCATED_PATH, serve

STOP_SECONDS_MAX = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frames = tmp_path / "frames"
    frames.mkdir()
    Image.new("RGB", (8, 6), "red").save(frames / "red.jpg")
    (frames / ".hidden.jpg").write_bytes(b"hidden")
    (frames / "inner").mkdir()
    (frames / "inner" / "deep.jpg").write_bytes(b"deep")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (frames / "link.jpg").symlink_to(tmp_path / "secret.txt")
    return frames


Answer = tuple[int, str, bytes]


def ask(folder: Path, path: str, method: str = "GET") -> Answer:
    async def go(session: aiohttp.ClientSession, base: str) -> Answer:
        async with session.request(method, URL(base + path, encoded=True)) as answer:
            return answer.status, answer.content_type, await answer.read()

    return asyncio.run(_with_server(folder, go))


async def _with_server(
    folder: Path, go: Callable[[aiohttp.ClientSession, str], Awaitable[Answer]]
) -> Answer:
    async with serve(folder) as port, aiohttp.ClientSession() as session:
        return await go(session, f"http://127.0.0.1:{port}")


def test_a_frame_is_served_as_it_is(folder: Path) -> None:
    body = (folder / "red.jpg").read_bytes()
    assert ask(folder, "/red.jpg") == (200, "image/jpeg", body)
    assert ask(folder, "/red.jpg", "HEAD") == (200, "image/jpeg", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/.hidden.jpg",
        "/inner",
        "/inner/",
        "/inner/deep.jpg",
        "/inner%2Fdeep.jpg",
        "/../secret.txt",
        "/..%2Fsecret.txt",
        "/%2e%2e/secret.txt",
        "/link.jpg",
        "/absent.jpg",
        "/red.jpg%00",
    ],
)
def test_nothing_but_plain_files_of_the_folder_is_served(folder: Path, path: str) -> None:
    status, _, body = ask(folder, path)
    assert status == 404
    assert b"secret" not in body
    assert b"deep" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_only_reading_is_allowed(folder: Path, method: str) -> None:
    assert ask(folder, "/red.jpg", method)[0] == 405


def test_the_bad_answers_are_bad_in_the_way_they_say(folder: Path) -> None:
    assert ask(folder, MISSING_PATH)[0] == 404
    status, kind, page = ask(folder, PAGE_PATH)
    assert (status, kind) == (200, "image/jpeg")
    assert page.startswith(b"<!doctype html>")
    status, kind, half = ask(folder, TRUNCATED_PATH)
    assert (status, kind) == (200, "image/jpeg")
    with Image.open(io.BytesIO(half)) as image:
        assert image.format == "JPEG"
        with pytest.raises(OSError, match="truncated"):
            image.load()


def test_the_process_names_its_port_when_it_is_open_and_ends_well_on_sigterm(folder: Path) -> None:
    port_file = folder.parent / "port"
    command = [sys.executable, "-m", "producers.frame_server", str(folder)]
    server = subprocess.Popen([*command, "--port-file", str(port_file)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        base = server.stdout.readline().decode().strip()
        assert base == f"http://127.0.0.1:{port_file.read_text()}"

        async def status() -> int:
            async with aiohttp.ClientSession() as session, session.get(f"{base}/red.jpg") as answer:
                return answer.status

        assert asyncio.run(status()) == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS_MAX) == 0
    finally:
        server.kill()
        server.communicate()


def test_a_folder_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "producers.frame_server", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "absent is no folder" in done.stderr
