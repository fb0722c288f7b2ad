//! The proof that a sandbox holds on this machine: a mild program tries to pass each wall, and
//! passes itself only if all of them held. Knows the walls by name; does not know how they are
//! built.

use super::outside::{Sandbox, Verdict};
use super::protocol::Limits;
use crate::train::progress::Failure;

/// Small, so that trying to exceed them costs next to nothing.
const LIMITS: Limits = Limits {
    seconds: 10,
    seconds_by_the_clock: 60,
    memory_bytes: 256 << 20,
    file_bytes: 1 << 20,
    output_bytes: 16 << 10,
    processes: 4,
};

/// Ends with the first wall that did not hold. Processes that it starts end with it.
const PROGRAM: &str = r#"
import os, sys

def refused(action):
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False

def write_much():
    with open("much", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 16))
            file.flush()

def start_many():
    reader, _ = os.pipe()
    for _ in range(12):
        if os.fork() == 0:
            os.read(reader, 1)
            os._exit(0)

def connect():
    import socket
    socket.socket(socket.AF_INET)

walls = {
    "the user is nobody": os.getuid() == os.geteuid() == 65534,
    "nobody becomes root": refused(lambda: os.setuid(0)),
    "processes of the machine are out of sight": os.getpid() < 16,
    "files of the machine are out of sight":
        not any(map(os.path.lexists, ["/etc/passwd", "/proc/self", "/dev/null", "/sys", "/old"])),
    "the root is read-only": refused(lambda: open("/file", "w")),
    "the interpreter is read-only": refused(lambda: open(os.__file__, "r+")),
    "the own folder is empty": os.listdir(".") == ["program.py"],
    "the root stays": refused(lambda: os.chroot("/work")),
    "the net is out of reach": refused(connect),
    "files end": refused(write_much),
    "memory ends": refused(lambda: bytearray(1 << 28)),
    "processes end": refused(start_many),
}
broken = [wall for wall, holds in walls.items() if not holds]
if broken:
    sys.exit("it does not hold that " + " and ".join(broken))
"#;

/// Runs the proof.
pub fn prove(sandbox: &Sandbox) -> Result<(), Failure> {
    let ran = sandbox.run(PROGRAM, LIMITS)?;
    match ran.verdict {
        Verdict::Passed => Ok(()),
        verdict => {
            let last = ran.said.lines().last().unwrap_or("it said nothing").to_string();
            Err(missing(&format!("the proof {}: {last}", verdict.name())))
        }
    }
}

/// What is said where there is no sandbox.
pub fn missing(fact: &str) -> Failure {
    Failure::input(format!("programs that a model wrote cannot be confined here: {fact}")).remedy(
        "run it on Linux 5.14 or later where user namespaces are allowed; `llamake doctor` tries \
         it again",
    )
}
