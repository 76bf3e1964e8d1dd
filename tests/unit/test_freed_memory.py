"""Freed memory is kept for the next batch: counted in pages that the kernel had to hand out."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource, sys
from frameloop.runtime.memory import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("no glibc")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def batches():
    "Eight of 2 MiB at once, all written to, all freed."
    pointers = [libc.malloc(2 << 20) for _ in range(8)]
    for pointer in pointers:
        libc.memset(pointer, 1, 2 << 20)
    for pointer in pointers:
        libc.free(pointer)

for _ in range(3):
    batches()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    batches()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    command = [sys.executable, "-c", SCRIPT, how]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "no glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


def test_memory_that_was_freed_is_used_again() -> None:
    assert page_faults("as it is") > 10_000
    assert page_faults("kept") < 1_000
