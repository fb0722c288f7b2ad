# passed: sockets of no family can be made
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
for family in range(64):
    for kind in [1, 2, 3, 5]:
        assert libc.socket(family, kind, 0) == -1, (family, kind)
pair = (ctypes.c_int * 2)()
assert libc.socketpair(1, 1, 0, pair) == -1
