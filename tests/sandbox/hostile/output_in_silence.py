# out of time: with its outputs closed it is waited for all the same
import os
import time

for file in range(64):
    try:
        os.close(file)
    except OSError:
        pass
time.sleep(1000)
