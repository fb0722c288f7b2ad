# passed: links lead nowhere
import json
import os
import shutil

os.symlink("/etc/passwd", "passwords")
os.symlink("/", "root")
os.symlink("/proc/1/root", "other")
os.symlink("loop", "loop")
for path in ["passwords", "root/etc/shadow", "other/etc/passwd", "loop", "root/old/etc/passwd"]:
    for mode in ["r", "w", "a"]:
        try:
            open(path, mode)
            raise SystemExit(path)
        except OSError:
            pass
try:
    os.link(os.__file__, "library")
    raise SystemExit("a hard link to the library")
except OSError:
    pass
shutil.rmtree("root" + os.path.dirname(json.__file__), ignore_errors=True)
assert os.path.exists(json.__file__)
