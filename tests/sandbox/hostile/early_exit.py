# failed: the end was not reached, whatever was printed
import os

print("passed", flush=True)
os._exit(0)
