# killed: calls in the manner of another machine end it
import ctypes
import platform

if platform.machine() == "x86_64":
    ctypes.CDLL(None).syscall(0x40000000 + 39)
ctypes.string_at(0)
