# passed: memory that no limit of a process counts is refused too
import ctypes
import mmap
import os

libc = ctypes.CDLL(None, use_errno=True)
try:
    os.memfd_create("much")
    raise SystemExit("a file in memory")
except OSError:
    pass
assert libc.shmget(0, 1 << 30, 0o1600) == -1
parts = []
try:
    while True:
        parts.append(mmap.mmap(-1, 64 << 20))
except OSError:
    assert len(parts) < 16
