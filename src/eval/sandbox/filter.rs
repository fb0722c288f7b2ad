//! The filter of kernel calls, as instructions of the kernel's own small machine. What a program
//! of a benchmark needs is allowed; what would reach out of the sandbox, past its limits or into
//! the kernel's darker corners fails with `EPERM`. Does not know how it is installed.

use libc::{c_long, c_uint};

use super::system::Instruction;

/// Calls made in the manner of another machine are not looked at; they end the process.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_003E);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_00B7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// Every call number from here on is one of the x32 manner, which no list here names.
const OTHER_NUMBERS: u32 = 0x4000_0000;

/// Every namespace that `clone` can make.
const NAMESPACES: c_long = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as c_long;

/// Calls that fail.
const DENIED: &[c_long] = &[
    // Other processes, and the keeper.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // File systems and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // Sockets of every family; without one the other calls of the net have nothing to act on.
    libc::SYS_socket,
    libc::SYS_socketpair,
    // Memory that no limit of a process counts.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_mbind,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Keys, and doors that many an escape began with.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_personality,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    // The machine itself.
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Offsets in the kernel's `seccomp_data`.
const NUMBER: u32 = 0;
const MANNER: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const LOAD: c_uint = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: c_uint = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: c_uint = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const ANY_BIT: c_uint = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: c_uint = libc::BPF_RET | libc::BPF_K;

/// The filter, or `None` for a machine whose calls it does not know.
pub fn filter() -> Option<Vec<Instruction>> {
    let mut filter = vec![load(MANNER), step(EQUAL, ARCHITECTURE?, 1, 0), kill()];
    filter.push(load(NUMBER));
    filter.extend([step(AT_LEAST, OTHER_NUMBERS, 0, 1), kill()]);
    for call in DENIED {
        filter.extend([step(EQUAL, *call as u32, 0, 1), fail(libc::EPERM)]);
    }
    // Its arguments lie in memory, where no filter sees them; libraries then try `clone`.
    filter.extend([step(EQUAL, libc::SYS_clone3 as u32, 0, 1), fail(libc::ENOSYS)]);
    filter.extend([
        step(EQUAL, libc::SYS_clone as u32, 0, 3),
        load(FIRST_ARGUMENT),
        step(ANY_BIT, NAMESPACES as u32, 0, 1),
        fail(libc::EPERM),
    ]);
    filter.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    Some(filter)
}

fn load(offset: u32) -> Instruction {
    step(LOAD, offset, 0, 0)
}

fn kill() -> Instruction {
    step(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0)
}

fn fail(error: i32) -> Instruction {
    step(RETURN, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0)
}

/// One instruction; the jumps skip so many of those that follow.
fn step(code: c_uint, k: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: code as u16, jt: if_true, jf: if_false, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's machine would make of a call.
    fn verdict(manner: u32, number: c_long, argument: u32) -> u32 {
        let filter = filter().unwrap();
        let (mut at, mut word) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = filter[at];
            at += 1;
            let jump = match c_uint::from(code) {
                LOAD => {
                    let words = [(NUMBER, number as u32), (MANNER, manner)];
                    let found = words.iter().find(|(offset, _)| *offset == k);
                    word = found.map_or(argument, |(_, word)| *word);
                    continue;
                }
                EQUAL => word == k,
                AT_LEAST => word >= k,
                ANY_BIT => word & k != 0,
                _ => return k,
            };
            at += usize::from(if jump { jt } else { jf });
        }
    }

    #[test]
    fn what_is_denied_fails_and_the_rest_is_allowed() {
        let manner = ARCHITECTURE.unwrap();
        let fails = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        for call in DENIED {
            assert_eq!(verdict(manner, *call, 0), fails, "call {call}");
        }
        for call in [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_getrandom] {
            assert_eq!(verdict(manner, call, 0), libc::SECCOMP_RET_ALLOW, "call {call}");
        }
        let threads = (libc::CLONE_VM | libc::CLONE_THREAD) as u32;
        assert_eq!(verdict(manner, libc::SYS_clone, threads), libc::SECCOMP_RET_ALLOW);
        let hidden = libc::CLONE_NEWUSER as u32 | threads;
        assert_eq!(verdict(manner, libc::SYS_clone, hidden), fails);
        let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(verdict(manner, libc::SYS_clone3, 0), unknown);
    }

    #[test]
    fn calls_in_another_manner_end_the_process() {
        let manner = ARCHITECTURE.unwrap();
        for (manner, number) in [(0x4000_0003, libc::SYS_read), (manner, 0x4000_0000)] {
            assert_eq!(verdict(manner, number, 0), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
