# passed: no one else hears it
import os
import signal

for sign in [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP]:
    for process in [os.getppid(), 1, -1]:
        try:
            os.kill(process, sign)
        except OSError:
            pass
for process in range(3, 70000):
    try:
        os.kill(process, signal.SIGKILL)
        raise SystemExit(f"there is a process {process}")
    except ProcessLookupError:
        pass
