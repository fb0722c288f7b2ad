# passed: what it leaves running ends with it
import os
import signal
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for sign in range(1, 32):
            if sign not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(sign, signal.SIG_IGN)
        time.sleep(1000)
    os._exit(0)
os.wait()
