"""How this process keeps memory that it has freed."""

import ctypes

# Of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# What is larger than this is mapped and unmapped each time; glibc allows no more.
MMAPPED_BYTES_MIN = 32 << 20
KEPT_BYTES_MAX = 128 << 20


def keep_freed_memory() -> bool:
    """Use memory again for the next batch of images, rather than give it back after each one.

    By default glibc unmaps it, and the kernel hands out zeroed pages anew: 26,000 of them for 130 MB
    of images, more than half of the time that Lance takes to read them. At most `KEPT_BYTES_MAX` of
    freed memory stay with the process; one arena, so that one thread's memory serves the others.

    To be called before Lance's threads are there. False where the C library is not glibc.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    for option, value in (
        (M_ARENA_MAX, 1),
        (M_MMAP_THRESHOLD, MMAPPED_BYTES_MIN),
        (M_TRIM_THRESHOLD, KEPT_BYTES_MAX),
    ):
        if not libc.mallopt(option, value):
            return False
    return True
