"""How freed memory is kept."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3      # parameters of mallopt, as in glibc's malloc.h
LARGEST_KEPT, MOST_KEPT = 1 << 25, 1 << 28   # bytes of a piece, and in all


def keep_freed() -> None:
    """Let the C library keep freed images for the next ones, instead of handing them back to the kernel each time.

    Images of a megabyte come and go by the thousand: fetching their pages anew costs as much as their arithmetic.
    Where the library is not glibc, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(TRIM_THRESHOLD, MOST_KEPT)
