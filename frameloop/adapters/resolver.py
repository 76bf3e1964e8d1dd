"""Names to addresses, each of them checked before anything connects.

Guarantee: what `CheckedResolver` returns is numeric and allowed, so that the connection goes to
the very address that was checked; there is no second look-up that could answer otherwise. If any
address of a name is not allowed, the name is refused: mixed answers are what rebinding looks like.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from frameloop.core.address import AddressPolicy
from frameloop.core.errors import Rejected
from schemas.dead_letter import Reason

# Look-ups block a thread each, for seconds where a name server is dead. Threads of our own, so
# that they don't take those in which images are verified.
LOOKUP_THREADS = 8
ADDRESSES_MAX = 16  # per name, so that one name can't keep us connecting for long

Lookup = Callable[[str], list[str]]


def system_lookup(host: str) -> list[str]:
    """Numeric addresses of the name, in order of preference. Blocks. Raises `socket.gaierror`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or longer than 63 characters
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedResolver(AbstractResolver):
    """aiohttp's resolver. It caches the results itself, for a bounded time and number.

    aiohttp doesn't ask a resolver about hosts that are addresses: `AddressPolicy.url` has checked
    those, and `checked_socket` sees every address once more.
    """

    def __init__(
        self, policy: AddressPolicy, timeout_s: float, lookup: Lookup = system_lookup
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `Rejected` (ADDRESS_NOT_ALLOWED), `socket.gaierror` or `TimeoutError`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s):
            addresses = await loop.run_in_executor(self._threads, self._lookup, host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for address in addresses:
            if not self._policy.allows(address):
                detail = f"{host} resolves to {address}, which is not public"
                raise Rejected(Reason.ADDRESS_NOT_ALLOWED, detail)
        return [_result(host, address, port) for address in addresses[:ADDRESSES_MAX]]

    def checked_socket(self, target: AddrInfoType) -> socket.socket:
        """A socket for this address. By whichever way it was arrived at, it must be allowed."""
        family, kind, protocol, _name, address = target
        if not self._policy.allows(str(address[0])):
            raise PermissionError(errno.EACCES, "address not allowed")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Does not wait for look-ups that are on their way; they can't be cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
