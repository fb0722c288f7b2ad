# passed: nothing outside the own folder can be changed, and no file of the user is there
import os

for _, (folder, _, files) in zip(range(400), os.walk("/")):
    assert not folder.startswith(("/etc", "/proc", "/sys", "/dev", "/tmp", "/var")), folder
    if folder == "/work":
        continue
    try:
        open(os.path.join(folder, "new"), "w")
        raise SystemExit("made a file in " + folder)
    except OSError:
        pass
    assert not any("canary" in name for name in files), folder
    for path in [os.path.join(folder, name) for name in files[:2]]:
        for act in [lambda: open(path, "r+"), lambda: os.remove(path), lambda: os.utime(path)]:
            try:
                act()
                raise SystemExit("changed " + path)
            except OSError:
                pass
