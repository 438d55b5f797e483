"""The allocator's memory: what a training gives back, it wants again at its next step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""


def keep_freed() -> bool:
    """Tells C's allocator to keep freed memory for this process, from now on; only glibc has such an allocator.

    By default it returns large blocks to the system, which maps and zeroes them afresh at the next step: a page fault
    every 4 kB. Whether that happens depends on the order in which blocks happen to be freed; where it does, it is up to
    a fifth of a training step. The process then keeps about the most memory that it ever had in use.

    Returns:
        Whether the allocator took it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt if sys.platform == "linux" else None
    except AttributeError:  # another C library, such as musl
        mallopt = None
    return bool(mallopt and mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(M_MMAP_MAX, 0))
