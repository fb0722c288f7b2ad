# out of time: by the clock
import time

time.sleep(1000)
