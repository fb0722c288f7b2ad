# failed: the seal cannot be known
import os

for file in range(64):
    try:
        os.write(file, b"0" * 32)
    except OSError:
        pass
