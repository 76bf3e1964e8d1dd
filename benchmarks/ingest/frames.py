"""Real frames under many names, and an nginx on loopback that serves them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frameloop.runtime.child import start_child, stop_child
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.embedded_kafka import free_port, port_is_free
from producers.games import DoomSession, write_frame

DISTINCT = 800
START_SECONDS_MAX = 10.0

CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {home}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    default_type image/jpeg;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def make_frames(folder: Path, count: int) -> list[Path]:
    """`count` JPEGs of Doom at 640x480; beyond `DISTINCT` the pictures come again, as hard links."""
    folder.mkdir(parents=True)
    originals = folder / "originals"
    originals.mkdir()
    session = DoomSession("deathmatch", seed=1)
    try:
        names = [write_frame(originals, session.next_frame()) for _ in range(min(count, DISTINCT))]
    finally:
        session.close()
    frames = []
    for number in range(count):
        frame = folder / f"{number:06d}.jpg"
        frame.hardlink_to(originals / names[number % len(names)])
        frames.append(frame)
    return frames


@contextmanager
def served(folder: Path, home: Path) -> Iterator[str]:
    """The folder over HTTP while the block runs; gives the base URL. `home` is nginx's own."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        raise SystemExit("the benchmark needs nginx: apt-get install nginx-light")
    home.mkdir(parents=True)
    port = free_port()
    # As root, nginx's workers would else be another user, who may not read a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = home / "nginx.conf"
    config.write_text(
        CONFIG.format(user=user, home=home, port=port, folder=folder), encoding="utf-8"
    )
    with (home / "nginx.log").open("wb") as log:
        child = start_child([nginx, "-p", str(home), "-c", str(config)], log=log)
    try:
        _wait_until_up(child, port, home)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_child(child)


def _wait_until_up(child: subprocess.Popen[bytes], port: int, home: Path) -> None:
    for _ in Deadline(START_SECONDS_MAX).ticks(0.05):
        if child.poll() is not None:
            break
        if not port_is_free(port):
            return
    raise SystemExit(f"nginx did not start: {(home / 'nginx.log').read_text(encoding='utf-8')}")
