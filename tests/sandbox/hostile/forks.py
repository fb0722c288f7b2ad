# failed: the first fork too many is refused
import os

while True:
    os.fork()
