"""Tells glibc's allocator to give back what requests held.

By itself it raises the size from which on a block is mapped alone to that of the largest block that was ever freed, 32
MiB at most, and keeps an arena for each thread: large messages then leave holes everywhere.
"""

from __future__ import annotations

import ctypes

# malloc.h, and what is asked for: threads share few arenas; blocks of a mebibyte go back to the system when freed.
_SETTINGS = {"M_ARENA_MAX": (-8, 4), "M_MMAP_THRESHOLD": (-3, 2**20), "M_TRIM_THRESHOLD": (-1, 16 * 2**20)}


def configure() -> None:
    """For the whole process; does nothing where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _SETTINGS.values():
            mallopt(parameter, value)
