# passed: homes are not there
import os

for home in ["/root", "/home", os.path.expanduser("~root"), "/tmp", "../..", "../../root"]:
    try:
        with open(os.path.join(home, "llamake-canary"), "w") as file:
            file.write("changed")
        raise SystemExit(home)
    except OSError:
        pass
