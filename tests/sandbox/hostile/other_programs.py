# failed: there are no other programs
import os

os.execv("/bin/sh", ["sh", "-c", "cat /etc/passwd"])
