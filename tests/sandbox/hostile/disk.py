# passed: the own folder is small, in bytes and in files
import errno

def fill():
    for number in range(100000):
        with open(f"file{number}", "wb") as file:
            file.write(bytes(1 << 20))

def litter():
    for number in range(100000):
        open(f"empty{number}", "w").close()

for act in [litter, fill]:
    try:
        act()
        raise SystemExit(act.__name__)
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EFBIG), error
