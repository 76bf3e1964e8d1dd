"""The fetcher against real servers on loopback. No other address is ever contacted."""

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from frameloop.adapters.fetch import Fetched, ImageFetcher
from frameloop.adapters.slots import HostSlots
from frameloop.core.errors import Rejected, TransientError
from frameloop.runtime.settings import FetchSettings
from schemas.dead_letter import Reason

pytestmark = pytest.mark.asyncio

IMAGE = bytes(range(256)) * 200
LOOPBACK = (ip_network("127.0.0.0/8"),)
Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Sleeps:
    """Stands in for `asyncio.sleep` and for the clock: time passes at once, and is recorded."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.now = 0.0

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def clock(self) -> float:
        return self.now


def of(**changes: Any) -> FetchSettings:
    defaults: dict[str, Any] = {"allow_networks": LOOPBACK, "retries": 2, "total_timeout_s": 10}
    return FetchSettings(**(defaults | changes))


def loopback_lookup(host: str) -> list[str]:
    return ["127.0.0.1"]


def fetcher(
    sleeps: Sleeps | None = None, lookup: Any = loopback_lookup, **changes: Any
) -> ImageFetcher:
    sleeps = sleeps or Sleeps()
    return ImageFetcher(
        of(**changes), clock=sleeps.clock, rng=Random(1), sleep=sleeps, lookup=lookup
    )


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name.rstrip("/")
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_raw(answer: bytes, seen: list[bytes] | None = None) -> AsyncIterator[str]:
    """Sends these bytes to each connection, whatever it asks, and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"


Response = tuple[int, dict[str, str], bytes | None]


def answers(*responses: Response) -> tuple[Handler, list[web.Request]]:
    """A handler that gives the responses in turn, the last one for ever; and its requests."""
    requests: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        status, headers, body = responses[min(len(requests), len(responses)) - 1]
        return web.Response(status=status, headers=headers, body=body)

    return handle, requests


async def refused(url: str, **changes: Any) -> Rejected:
    async with fetcher(**changes) as fetch:
        with pytest.raises(Rejected) as caught:
            await fetch.fetch(url)
    return caught.value


# What is fetched


async def test_bytes_arrive_as_they_were_sent() -> None:
    handler, requests = answers((200, {}, IMAGE))
    async with serving(handler) as base, fetcher() as fetch:
        fetched = await fetch.fetch(f"{base}/a%2fb.png?sig=%7e")
    assert fetched == Fetched(IMAGE, 200, 0.0, 1, base.removeprefix("http://"))
    assert requests[0].raw_path == "/a%2fb.png?sig=%7e"
    assert requests[0].headers["Accept-Encoding"] == "identity"
    assert requests[0].headers["User-Agent"] == "frameloop/0.1"
    assert requests[0].headers["Accept"].startswith("image/jpeg, image/png, image/webp")


async def test_no_cookie_is_kept_and_no_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    handler, requests = answers((200, {"Set-Cookie": "a=b; Path=/"}, IMAGE))
    async with serving(handler) as base, fetcher() as fetch:
        # By name: no cookie jar keeps the cookies of a bare address.
        url = f"http://host.example:{base.rpartition(':')[2]}/a"
        for _ in range(2):
            await fetch.fetch(url)
    assert len(requests) == 2
    assert all("Cookie" not in request.headers for request in requests)


async def test_one_connection_serves_many_images() -> None:
    handler, requests = answers((200, {}, IMAGE))
    async with serving(handler) as base, fetcher() as fetch:
        for n in range(5):
            await fetch.fetch(f"{base}/{n}")
        assert len({request.transport for request in requests}) == 1


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1"])
async def test_loopback_is_refused_unless_it_is_on_the_list(host: str) -> None:
    rejected = await refused(f"http://{host}:1/", allow_networks=())
    assert rejected.reason is Reason.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["::ffff:10.0.0.1"], ["127.0.0.1", "192.168.0.1"], ["fe80::1%2"]]
)
async def test_a_name_is_refused_if_any_of_its_addresses_is_not_allowed(
    addresses: list[str],
) -> None:
    rejected = await refused("http://host.example/", lookup=lambda host: addresses)
    assert rejected.reason is Reason.ADDRESS_NOT_ALLOWED
    assert addresses[-1] in rejected.detail


async def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to() -> None:
    looked_up: list[str] = []

    def rebinding(host: str) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["10.0.0.1"]

    handler, requests = answers((200, {}, IMAGE))
    async with serving(handler) as base, fetcher(lookup=rebinding) as fetch:
        port = base.rpartition(":")[2]
        for _ in range(3):
            assert (await fetch.fetch(f"http://host.example:{port}/")).data == IMAGE
    assert looked_up == ["host.example"]
    assert requests[0].headers["Host"] == f"host.example:{port}"


async def test_no_socket_is_made_for_an_address_that_is_not_allowed() -> None:
    async with fetcher(allow_networks=()) as fetch:
        target = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
        with pytest.raises(PermissionError):
            fetch._resolver.checked_socket(target)


async def test_a_name_that_does_not_exist_is_final_and_a_failing_name_server_is_not() -> None:
    for code, attempts in ((socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)):
        asked: list[str] = []

        def failing(host: str, asked: list[str] = asked, code: int = code) -> list[str]:
            asked.append(host)
            raise socket.gaierror(code, "no")

        rejected = await refused("http://host.example/?token=hunter2", lookup=failing)
        assert rejected.reason is Reason.HOST_NOT_FOUND
        assert len(asked) == attempts
        assert "hunter2" not in rejected.detail


# Redirects


async def test_redirects_are_followed_and_the_last_host_is_reported() -> None:
    handler, requests = answers((302, {"Location": "/b?x=%7e"}, b""), (200, {}, IMAGE))
    async with serving(handler) as base, fetcher() as fetch:
        assert (await fetch.fetch(f"{base}/a")).data == IMAGE
    assert [request.raw_path for request in requests] == ["/a", "/b?x=%7e"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://10.0.0.1/", Reason.ADDRESS_NOT_ALLOWED),
        ("//169.254.169.254/latest/meta-data", Reason.ADDRESS_NOT_ALLOWED),
        ("http://2130706433/", Reason.ADDRESS_NOT_ALLOWED),
        ("http://inner.example/", Reason.ADDRESS_NOT_ALLOWED),
        ("file:///etc/passwd", Reason.URL_NOT_ALLOWED),
        ("http://user:hunter2@host.example/", Reason.URL_NOT_ALLOWED),
        ("http://[broken", Reason.URL_NOT_ALLOWED),
        ("/a", Reason.REDIRECTS_EXCEEDED),
    ],
)
async def test_each_redirect_is_checked_again(location: str, reason: Reason) -> None:
    handler, requests = answers((307, {"Location": location}, b""))
    async with serving(handler) as base:
        rejected = await refused(f"{base}/a", lookup=lambda host: ["192.168.1.1"])
    assert rejected.reason is reason
    assert len(requests) == 1
    assert "hunter2" not in rejected.detail


async def test_redirects_end_at_the_limit() -> None:
    async def onward(request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": request.path + "x"})

    async with serving(onward) as base:
        assert (await refused(f"{base}/", redirects=3)).reason is Reason.REDIRECTS_EXCEEDED
        assert (await refused(f"{base}/", redirects=0)).reason is Reason.REDIRECTS_EXCEEDED


async def test_redirects_do_not_lengthen_the_time_of_an_attempt() -> None:
    sleeps = Sleeps()

    async def slow(request: web.Request) -> web.Response:
        sleeps.now += 6
        return web.Response(status=302, headers={"Location": request.path + "x"})

    async with serving(slow) as base:
        rejected = await refused(base, sleeps=sleeps, retries=0, redirects=9, total_timeout_s=10)
    assert rejected.reason is Reason.TIMED_OUT
    assert sleeps.now == 12


# Sizes and encodings


async def test_a_declared_size_above_the_limit_is_refused_before_the_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"
    async with serving_raw(head) as base:
        rejected = await refused(base, image_bytes_max=1000)
    assert rejected.reason is Reason.IMAGE_TOO_LARGE


async def test_an_undeclared_size_is_counted_while_reading() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 65536)
        return response

    async with serving(endless) as base:
        assert (await refused(base, image_bytes_max=100_000)).reason is Reason.IMAGE_TOO_LARGE


async def test_exactly_the_limit_is_accepted() -> None:
    handler, _ = answers((200, {}, IMAGE))
    async with serving(handler) as base, fetcher(image_bytes_max=len(IMAGE)) as fetch:
        assert len((await fetch.fetch(base)).data) == len(IMAGE)
        assert (await refused(base, image_bytes_max=len(IMAGE) - 1)).reason is (
            Reason.IMAGE_TOO_LARGE
        )


@pytest.mark.parametrize(("encoding", "packed"), [
    ("gzip", gzip.compress(IMAGE)), ("deflate", zlib.compress(IMAGE)), ("identity", IMAGE),
])  # fmt: skip
async def test_a_compressed_answer_is_unpacked(encoding: str, packed: bytes) -> None:
    handler, _ = answers((200, {"Content-Encoding": encoding}, packed))
    async with serving(handler) as base, fetcher() as fetch:
        assert (await fetch.fetch(base)).data == IMAGE


@pytest.mark.parametrize(
    ("encoding", "packed", "reason", "attempts"),
    [
        ("gzip", gzip.compress(b"\0" * 10_000_000), Reason.IMAGE_TOO_LARGE, 1),
        ("gzip", gzip.compress(IMAGE)[:-20], Reason.HTTP_ANSWER_BROKEN, 3),
        ("gzip", IMAGE, Reason.HTTP_ANSWER_BROKEN, 3),
        ("br", IMAGE, Reason.HTTP_ANSWER_BROKEN, 1),
        ("gzip, gzip", IMAGE, Reason.HTTP_ANSWER_BROKEN, 1),
    ],
)
async def test_what_unpacks_badly_or_beyond_the_limit_is_refused(
    encoding: str, packed: bytes, reason: Reason, attempts: int
) -> None:
    handler, requests = answers((200, {"Content-Encoding": encoding}, packed))
    async with serving(handler) as base:
        assert (await refused(base, image_bytes_max=100_000)).reason is reason
    assert len(requests) == attempts


# Answers


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (404, {}, b"no", Reason.HTTP_CLIENT_ERROR),
        (403, {}, b"no" * 100_000, Reason.HTTP_CLIENT_ERROR),
        (200, {}, b"", Reason.IMAGE_EMPTY),
        (204, {}, None, Reason.IMAGE_EMPTY),
        (206, {}, IMAGE, Reason.HTTP_ANSWER_BROKEN),
        (304, {}, None, Reason.HTTP_ANSWER_BROKEN),
        (302, {}, b"", Reason.HTTP_ANSWER_BROKEN),
        (200, {"X-Robots-Tag": "noai"}, IMAGE, Reason.ROBOTS_DENIED),
        (200, {"X-Robots-Tag": "frameloop: noindex"}, IMAGE, Reason.ROBOTS_DENIED),
    ],
)
async def test_final_answers_are_not_asked_for_twice(
    status: int, headers: dict[str, str], body: bytes | None, reason: Reason
) -> None:
    handler, requests = answers((status, headers, body))
    async with serving(handler) as base:
        rejected = await refused(f"{base}/p.png?token=hunter2")
    assert rejected.reason is reason
    assert len(requests) == 1
    assert "/p.png" in rejected.detail
    assert "hunter2" not in rejected.detail


async def test_robots_tags_for_others_or_not_obeyed_are_passed_over() -> None:
    handler, _ = answers((200, {"X-Robots-Tag": "otherbot: noai"}, IMAGE))
    async with serving(handler) as base, fetcher() as fetch:
        assert (await fetch.fetch(base)).data
    handler, _ = answers((200, {"X-Robots-Tag": "noai"}, IMAGE))
    async with serving(handler) as base, fetcher(obey_robots_tag=False) as fetch:
        assert (await fetch.fetch(base)).data


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_passing_failure_is_tried_again_and_heals(status: int) -> None:
    handler, requests = answers((status, {}, b""), (status, {}, b""), (200, {}, IMAGE))
    sleeps = Sleeps()
    async with serving(handler) as base, fetcher(sleeps) as fetch:
        fetched = await fetch.fetch(base)
    assert (fetched.attempts, len(requests), len(sleeps.waits)) == (3, 3, 2)
    assert 0 < sleeps.waits[0] < sleeps.waits[1] + 0.125
    assert fetched.seconds == sum(sleeps.waits)


async def test_a_lasting_failure_is_rejected_after_all_attempts() -> None:
    handler, requests = answers((503, {}, b""))
    async with serving(handler) as base:
        rejected = await refused(base, retries=4)
    assert rejected.reason is Reason.HTTP_SERVER_ERROR
    assert "attempts: 5" in rejected.detail
    assert len(requests) == 5


@pytest.mark.parametrize("value", ["7", formatdate(1_700_000_007, usegmt=True)])
async def test_retry_after_is_obeyed_and_capped(value: str) -> None:
    headers = {"Retry-After": value, "Date": formatdate(1_700_000_000, usegmt=True)}
    handler, _ = answers(
        (429, headers, b""), (429, {"Retry-After": "86400"}, b""), (200, {}, IMAGE)
    )
    sleeps = Sleeps()
    async with serving(handler) as base, fetcher(sleeps, backoff_max_s=10) as fetch:
        await fetch.fetch(base)
    assert 7 <= sleeps.waits[0] <= 7.25
    assert sleeps.waits[1] == 10


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", Reason.HTTP_ANSWER_BROKEN),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            Reason.HTTP_ANSWER_BROKEN,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Reason.HTTP_ANSWER_BROKEN),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Reason.HTTP_ANSWER_BROKEN),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Reason.HTTP_ANSWER_BROKEN),
        (b"this is no HTTP\r\n\r\n", Reason.HTTP_ANSWER_BROKEN),
        (b"", Reason.CONNECTION_FAILED),
    ],
)
async def test_a_broken_answer_is_tried_again_then_rejected(answer: bytes, reason: Reason) -> None:
    seen: list[bytes] = []
    async with serving_raw(answer, seen) as base:
        rejected = await refused(f"{base}/p?token=hunter2", retries=1)
    assert rejected.reason is reason
    assert len(seen) >= 2
    assert "hunter2" not in rejected.detail


async def test_random_answers_give_bytes_or_a_rejection_and_nothing_else() -> None:
    random = Random(7)
    good = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\nLocation: /\r\n\r\nabcd"
    )
    for _ in range(100):
        answer = bytearray(good)
        for _ in range(random.randrange(1, 6)):
            answer[random.randrange(len(answer))] = random.randrange(256)
        async with serving_raw(bytes(answer)) as base, fetcher(retries=0) as fetch:
            with suppress(Rejected):
                await fetch.fetch(base)


async def test_a_refused_connection_is_tried_again_then_rejected() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        sleeps = Sleeps()
        rejected = await refused(f"http://127.0.0.1:{port}/", sleeps=sleeps)
    assert rejected.reason is Reason.CONNECTION_FAILED
    assert "ECONNREFUSED" in rejected.detail
    assert len(sleeps.waits) == 2


async def test_an_answer_that_never_ends_times_out() -> None:
    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(silent) as base:
        rejected = await refused(base, retries=0, total_timeout_s=0.05)
    assert rejected.reason is Reason.TIMED_OUT


async def test_want_of_sockets_on_our_side_is_no_fault_of_the_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    async with fetcher() as fetch:
        monkeypatch.setattr("frameloop.adapters.resolver.socket.socket", exhausted)
        with pytest.raises(TransientError, match="EMFILE"):
            await fetch.fetch("http://127.0.0.1:1/")


async def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sleeps = Sleeps()
        rejected = await refused(f"https://host.example:{port}/", sleeps=sleeps)
    assert rejected.reason is Reason.CONNECTION_FAILED
    assert "certificate" in rejected.detail
    assert not sleeps.waits


def self_signed(folder: Path) -> Path:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "host.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    return path


# Turns


async def test_no_more_connections_than_allowed_are_open_at_once() -> None:
    now, most = 0, 0

    async def counted(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return web.Response(body=IMAGE)

    async with serving(counted) as base, fetcher(connections=8, connections_per_host=3) as fetch:
        await asyncio.gather(*(fetch.fetch(f"{base}/{n}") for n in range(60)))
        assert len(fetch._slots) == 0
    assert most <= 3


async def test_who_waits_for_a_busy_host_holds_no_slot_of_others() -> None:
    slots = HostSlots(total=2, per_host=1)
    async with slots.slot("busy"):
        waiting = [asyncio.create_task(_pass(slots, "busy")) for _ in range(5)]
        await asyncio.sleep(0)
        await _pass(slots, "idle")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert len(slots) == 0


async def _pass(slots: HostSlots, host: str) -> None:
    async with slots.slot(host):
        pass


async def test_a_host_has_one_rate_however_its_name_is_written() -> None:
    handler, _ = answers((200, {}, IMAGE))
    sleeps = Sleeps()
    async with serving(handler) as base, fetcher(sleeps, requests_per_host_per_s=10) as fetch:
        port = base.rpartition(":")[2]
        for host in ("host.example", "HOST.example", "Host.Example."):
            await fetch.fetch(f"http://{host}:{port}/")
    assert sleeps.waits == pytest.approx([0.1] * 2)


async def test_requests_to_one_host_are_spaced_by_the_rate() -> None:
    handler, _ = answers((200, {}, IMAGE))
    sleeps = Sleeps()
    async with serving(handler) as base, fetcher(sleeps, requests_per_host_per_s=10) as fetch:
        for _ in range(4):
            await fetch.fetch(base)
    assert sleeps.waits == pytest.approx([0.1] * 3)


async def test_a_failing_host_is_left_alone_then_probed_and_taken_back() -> None:
    handler, requests = answers(*[(500, {}, b"")] * 6, (200, {}, IMAGE))
    sleeps = Sleeps()
    changes: dict[str, Any] = {
        "retries": 2,
        "breaker_failures": 6,
        "breaker_open_s": 100,
        "backoff_max_s": 10,
    }
    async with serving(handler) as base, fetcher(sleeps, **changes) as fetch:
        for _ in range(2):
            with pytest.raises(Rejected):
                await fetch.fetch(base)
        assert (len(requests), fetch.open_hosts) == (6, 1)
        with pytest.raises(Rejected, match="left alone after 6 failures"):
            await fetch.fetch(base)
        assert len(requests) == 6
        sleeps.now += 100
        assert (await fetch.fetch(base)).attempts == 1
        assert fetch.open_hosts == 0


async def test_an_answer_that_there_is_no_image_shows_that_the_host_is_well() -> None:
    handler, requests = answers(*[(500, {}, b""), (404, {}, b"")] * 4)
    async with serving(handler) as base, fetcher(retries=0, breaker_failures=2) as fetch:
        for _ in range(8):
            with pytest.raises(Rejected, match="status"):
                await fetch.fetch(base)
        assert (len(requests), fetch.open_hosts) == (8, 0)


async def test_a_cancelled_fetch_gives_its_slot_back() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def held(request: web.Request) -> web.Response:
        arrived.set()
        await go.wait()
        return web.Response(body=IMAGE)

    one: dict[str, Any] = {"connections": 1, "connections_per_host": 1}
    async with serving(held) as base, fetcher(**one) as fetch:
        task = asyncio.create_task(fetch.fetch(base))
        await arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        go.set()
        assert (await fetch.fetch(base)).data == IMAGE
