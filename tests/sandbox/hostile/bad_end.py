# failed: after its last line it ends badly
import atexit
import os

atexit.register(os._exit, 3)
