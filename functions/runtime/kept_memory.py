"""Memory that a request gave back is kept for the next one.

The C library returns every large block to the system when it is freed, and touching it anew costs a
page fault per 4 KB: for a body of 3 MB, of which there are half a dozen copies in several forms,
4.5 ms of 12. With thresholds of its own it keeps blocks up to 32 MB, 64 MB in all.
"""

from __future__ import annotations

import sys

#: glibc's names, from malloc.h. Above 32 MB it takes no threshold for blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST, _KEPT = 32 * 1024 * 1024, 64 * 1024 * 1024


def keep_memory() -> None:
    """Do so from now on, where the C library is glibc; elsewhere nothing happens.

    To be called once numpy is there, which brings ctypes along.
    """
    if not sys.platform.startswith("linux"):
        return
    from ctypes import CDLL

    mallopt = getattr(CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
