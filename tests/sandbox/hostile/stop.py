# out of time: by the clock
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)
