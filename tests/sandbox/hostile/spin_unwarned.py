# killed or out of time: a warning is not heeded twice, or the clock comes first
import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True:
    pass
