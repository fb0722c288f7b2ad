//! Running programs that a model wrote, so that nothing they do reaches the machine. Knows programs
//! as text and how each ended; does not know what they were to compute.
//!
//! llamake starts itself once a program, as a process of its own (`llamake sandboxed`, hidden),
//! which has one thread and so can take everything from itself before it becomes the interpreter:
//!
//! ```text
//! llamake ── sandboxed ──┬── keeper, process 1 of new namespaces ── python3 program.py
//!  waits      waits      └ user, pid, mount, net, ipc, uts, cgroup
//! ```
//!
//! - The user: nobody, in a user namespace where nobody is all there is. Root becomes uid 65534
//!   outside too, because root is held to no number of processes; anyone else stays who they are.
//! - Files: a root of its own that holds the interpreter's files, read-only, and one empty folder
//!   in memory. No `/proc`, no `/dev`, no `/etc`.
//! - Calls of the kernel: a filter refuses those that open sockets, trace, mount, make namespaces
//!   or keys, share memory without a limit, or are known for holes.
//! - Amounts: computing time, time by the clock, memory, files, processes, output.
//! - The end: with process 1 ends all that it holds. It ends when the program does, when time is
//!   out, when llamake ends, and when llamake says so.
//!
//! What it does not hold back: a program shares its interpreter with the lines that check it, so
//! one written against this very check could reach its end without solving anything. It cannot do
//! so by ending early, or by printing.

// What is asked of the process inside, and what it answers.
mod protocol;

// The interpreter and its files.
mod interpreter;

// What is promised, and the program that tries to break each promise.
mod proof;

// Linux: calls of the kernel, one thin function each; the filter; the files; the process inside.
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
pub mod inside;
#[cfg(target_os = "linux")]
mod system;
#[cfg(target_os = "linux")]
mod tree;

// Elsewhere nothing is run.
#[cfg(not(target_os = "linux"))]
#[path = "absent.rs"]
pub mod inside;

// Programs one by one, and many at once.
mod outside;

pub use outside::{Ran, Sandbox, Verdict};
pub use protocol::{Limits, Request};
