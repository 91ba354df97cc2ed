"""The zygote's memory, arranged so that workers are cheap to fork and to end.

A fork copies one entry per page of private memory, a worker takes a fault on each page it is the
first to touch, and its end visits all of them again: measured, more than half of a worker's time.
Huge pages make the first and the last nearly free; code on private huge pages is mapped by the
fork itself instead of by hundreds of faults. Nothing here changes what a worker may do, and what
the kernel does not offer is left as it is.
"""

from __future__ import annotations

import bisect
import ctypes
import math
import mmap
import sys
from collections.abc import Iterator
from typing import NamedTuple

_HUGE = 2**21
# From linux/mman.h; the kernel collapses since 6.1, and refuses the rest with an error before.
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_ARENA, _RESERVED = 2**20, 40 * 2**20  # bytes that Python maps at a time; about what numba takes
_LARGEST_IN_POOLS, _BYTES_HEADER = 512, sys.getsizeof(b"")  # larger objects are left to malloc
_LARGEST_ON_HEAP = 2**16
_MOST_HOLES = 2**20
_FILLING: list[object] = []  # what holds memory for good
_LIBRARIES = ("libllvmlite", "libpython")  # a worker runs through much of their code


class Region(NamedTuple):
    """One line of /proc/self/maps."""

    start: int
    end: int
    rights: str  # rwxp
    path: str


def gather() -> None:
    """Put private memory and the compiler's code on huge pages; once, before the first fork."""
    if not sys.platform.startswith("linux"):
        return
    libc = _libc()
    for region in list(_regions()):
        if region.rights in ("r-xp", "r--p") and any(name in region.path for name in _LIBRARIES):
            _make_private(libc, region)
        elif region.path in ("", "[heap]") and region.rights == "rw-p":
            _collapse(libc, region.start, region.end)


def reserve() -> None:
    """Have Python map its memory in one piece, before libraries come to lie in between.

    Huge pages need two megabytes in one piece, and Python maps one at a time.
    """
    taken = [bytes(_LARGEST_IN_POOLS - _BYTES_HEADER) for _ in range(_RESERVED // _LARGEST_IN_POOLS)]
    # One object in each piece keeps it from being given back.
    _FILLING.extend({id(one) // _ARENA: one for one in taken}.values())


def fill_holes() -> None:
    """Take all memory that was freed, for good, so that workers allocate from pages that nobody has touched.

    What is written into a hole costs a worker a copy of its page, and holes are scattered. To be called
    after a full garbage collection, which empties the free lists of types.
    """
    if sys.platform.startswith("linux"):
        _fill_pools()
        _fill_heap(_libc())


def _fill_pools() -> None:
    """Take what Python's own allocator has free, size by size, until it maps new memory."""
    regions = sorted((region.start, region.end) for region in _regions())
    for size in range(_LARGEST_IN_POOLS, 0, -16):  # the largest also takes all that belongs to no size yet
        for _ in range(_MOST_HOLES):
            taken = object() if size <= 16 else float(size) if size <= 32 else bytes(size - _BYTES_HEADER)
            _FILLING.append(taken)
            i = bisect.bisect(regions, (id(taken), math.inf)) - 1
            if id(taken) >= regions[i][1]:
                break


def _fill_heap(libc: ctypes.CDLL) -> None:
    """Take what malloc has free below the top of its heap."""
    if not hasattr(libc, "mallinfo2"):  # not glibc, or one before 2.33
        return
    top = libc.sbrk(0) - libc.mallinfo2().keepcost
    size = _LARGEST_ON_HEAP
    while size >= 16:
        while 0 < (address := libc.malloc(size)) < top:
            pass
        libc.free(address)
        size = size * 7 // 8


class _MallocInfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = (("others", ctypes.c_size_t * 9), ("keepcost", ctypes.c_size_t))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    address, size, flags = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.madvise.argtypes = [address, size, flags]
    libc.mprotect.argtypes = [address, size, flags]
    libc.munmap.argtypes = [address, size]
    libc.mmap.argtypes, libc.mmap.restype = [address, size, flags, flags, flags, ctypes.c_long], address
    libc.malloc.argtypes, libc.malloc.restype = [size], ctypes.c_size_t
    libc.free.argtypes, libc.sbrk.restype = [address], ctypes.c_size_t
    if hasattr(libc, "mallinfo2"):
        libc.mallinfo2.restype = _MallocInfo
    libc.mremap.argtypes, libc.mremap.restype = [address, size, size, flags, address], address
    return libc


def _regions() -> Iterator[Region]:
    with open("/proc/self/maps") as file:
        lines = file.read().splitlines()
    for line in lines:
        span, rights, _, _, _, *path = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in span.split("-"))
        yield Region(start, end, rights, path[0] if path else "")


def _collapse(libc: ctypes.CDLL, start: int, end: int) -> None:
    """Ask for huge pages wherever a whole one fits."""
    for address in range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE):
        libc.madvise(address, _HUGE, _MADV_HUGEPAGE)
        libc.madvise(address, _HUGE, _MADV_COLLAPSE)


def _make_private(libc: ctypes.CDLL, code: Region) -> None:
    """Replace code mapped from a file by a copy in private memory, at the same addresses.

    The copy is complete and executable before it takes the place of the original, in one system
    call; nothing of the library runs meanwhile, since the zygote has one thread.
    """
    size = code.end - code.start
    rights = mmap.PROT_READ | mmap.PROT_WRITE
    space = libc.mmap(None, size + 2 * _HUGE, rights, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if space in (None, ctypes.c_void_p(-1).value):
        return
    # As far from a boundary of huge pages as the original, so that huge pages can move.
    copy = -(-space // _HUGE) * _HUGE + code.start % _HUGE
    libc.madvise(space, size + 2 * _HUGE, _MADV_HUGEPAGE)
    ctypes.memmove(copy, code.start, size)
    libc.mprotect(copy, size, mmap.PROT_READ | (mmap.PROT_EXEC if "x" in code.rights else 0))
    libc.mremap(copy, size, size, _MREMAP_MAYMOVE | _MREMAP_FIXED, code.start)
    libc.munmap(space, copy - space)
    libc.munmap(copy, space + 2 * _HUGE + size - copy)
    _collapse(libc, code.start, code.end)
