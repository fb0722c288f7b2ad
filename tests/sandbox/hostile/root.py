# passed: nobody becomes anyone
import os

for act in [lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),
            lambda: os.setresuid(0, 0, 0), lambda: os.setuid(1000), lambda: os.chroot(".")]:
    try:
        act()
        raise SystemExit("someone")
    except OSError:
        pass
assert os.getuid() == os.getgid() == 65534
