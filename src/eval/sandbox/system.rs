//! Calls of the Linux kernel that no safe crate here offers, one thin function each; the only
//! unsafe code of the sandbox. Knows arguments and results; does not know what they are for.

use std::ffi::{CString, c_int, c_long, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Pid;

pub use libc::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID};
pub use libc::{CLONE_NEWUSER, CLONE_NEWUTS, sock_filter as Instruction};

fn checked(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Moves this process into new namespaces.
pub fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    checked(unsafe { libc::unshare(flags) }.into())
}

/// Splits this process, which must have one thread: `None` is the new one.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: no other thread exists whose locks the new process could find taken.
    let pid = unsafe { libc::fork() };
    checked(pid.into())?;
    Ok(Pid::from_raw(pid))
}

/// Closes every file but the standard three.
pub fn close_files() -> io::Result<()> {
    let (first, last, flags): (c_uint, c_uint, c_uint) = (3, c_uint::MAX, 0);
    // SAFETY: no pointer is passed; nothing in this process owns a file above the standard three.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
}

/// Makes `/` and all below it this process's own: what is mounted from here on shows nowhere else.
pub fn make_private() -> io::Result<()> {
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Shows at `to` what lies at `from`, with what is mounted in it.
pub fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, None, libc::MS_BIND | libc::MS_REC, "")
}

/// A new file system in memory.
pub fn mount_memory(to: &Path, options: &str) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(Path::new("tmpfs")), to, Some("tmpfs"), flags, options)
}

fn mount(
    from: Option<&Path>,
    to: &Path,
    kind: Option<&str>,
    flags: c_ulong,
    options: &str,
) -> io::Result<()> {
    let from = from.map(text).transpose()?;
    let kind = kind.map(CString::new).transpose()?;
    let (to, options) = (text(to)?, CString::new(options)?);
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
    // SAFETY: every pointer is null or a text that ends in zero and outlives the call.
    checked(c_long::from(unsafe {
        libc::mount(pointer(&from), to.as_ptr(), pointer(&kind), flags, options.as_ptr().cast())
    }))
}

/// The argument of `mount_setattr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes a mount read-only, and everything mounted in it if `all`; no program in it gains rights.
pub fn make_readonly(at: &Path, all: bool) -> io::Result<()> {
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = if all { libc::AT_RECURSIVE } else { 0 };
    let path = text(at)?;
    // SAFETY: path and attributes outlive the call, which is told the size of the attributes.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
}

/// Takes away a mount with all that is mounted in it.
pub fn unmount(at: &Path) -> io::Result<()> {
    let path = text(at)?;
    // SAFETY: the path is a text that ends in zero and outlives the call.
    checked(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }.into())
}

/// Becomes a user and a group of one number, in no other group, for good.
pub fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: no group is read from the null pointer, because their number is zero.
    checked(unsafe { libc::setgroups(0, std::ptr::null()) }.into())?;
    // SAFETY: no pointer is passed.
    checked(unsafe { libc::setresgid(id, id, id) }.into())?;
    // SAFETY: no pointer is passed.
    checked(unsafe { libc::setresuid(id, id, id) }.into())
}

/// Gives up every capability, and that any program could give one back.
pub fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    // SAFETY: no pointer is passed. The first number that is no capability ends the loop.
    let give = |number: &c_ulong| unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *number, 0, 0, 0) };
    let dropped = (0..).take_while(|number| give(number) == 0).count();
    if dropped == 0 {
        return Err(io::Error::last_os_error());
    }
    let (header, none) = ([VERSION_3, 0], [0_u32; 6]);
    // SAFETY: version 3 reads a header of two words and twice three words; both outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) })
}

/// From here on no program started gains a right, and every call of the kernel passes the filter.
pub fn install_filter(filter: &[Instruction]) -> io::Result<()> {
    let [zero, one]: [c_ulong; 2] = [0, 1];
    // SAFETY: no pointer is passed.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) }.into())?;
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: the program says its own length and outlives the call, which only reads it.
    checked(
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, zero, zero) }.into(),
    )
}

/// Waits until one of the files can be read or its other end is gone: which of them.
pub fn wait_any<const N: usize>(
    files: [BorrowedFd<'_>; N],
    limit: Duration,
) -> io::Result<[bool; N]> {
    let mut polled =
        files.map(|file| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let milliseconds = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the array has N entries and outlives the call.
    checked(unsafe { libc::poll(polled.as_mut_ptr(), N as _, milliseconds) }.into())?;
    Ok(polled.map(|one| one.revents != 0))
}

/// Has the new process call `first` before it becomes the program. This process must have one
/// thread.
pub fn before_program(
    command: &mut Command,
    first: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: no other thread exists whose locks the new process could find taken.
    unsafe { command.pre_exec(first) };
}
