//! The system calls that rustix lacks, or offers only as unsafe, one call per function. Beside `entry` this is the only unsafe code of
//! the program.
//!
//! Calls that fork are sound here because run-tool never has more than one thread.
#![allow(unsafe_code, reason = "raw system calls live here")]

use std::ffi::{CStr, CString, c_int, c_long, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A process id.
pub(crate) type Pid = i32;

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with `flags` (`CLONE_NEW*`, `CLONE_PARENT`), directly into `cgroup` if one is given. Returns `None` in the child.
pub(crate) fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    let mut arguments = CloneArguments { flags, ..CloneArguments::default() };
    // With CLONE_PARENT the child has the exit signal of the caller. The kernel refuses another one.
    if flags & libc::CLONE_PARENT as u64 == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        // libc's constant overflows its type.
        arguments.flags |= 0x2_0000_0000;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM and no stack: this is a fork of a process with one thread, and the struct outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    match check(pid) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some(pid as Pid)),
        // Linux before 5.3 lacks clone3, and some seccomp profiles forbid it. Where all of it is forbidden, clone says so again.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) && cgroup.is_none() => {
            clone_old(flags)
        }
        Err(error) => Err(error),
    }
}

fn clone_old(flags: u64) -> io::Result<Option<Pid>> {
    let flags = flags as c_ulong | libc::SIGCHLD as c_ulong;
    // SAFETY: as in `clone`: no shared memory, no stack, one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
    match check(pid)? {
        0 => Ok(None),
        pid => Ok(Some(pid as Pid)),
    }
}

/// Moves this process into the namespace (or, for a pidfd, the namespaces) that `fd` refers to.
pub(crate) fn setns(fd: BorrowedFd<'_>, flags: c_int) -> io::Result<()> {
    // SAFETY: plain integers; the descriptor is borrowed for the call.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }.into()).map(drop)
}

/// Moves this process into new namespaces.
pub(crate) fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: namespace flags only; there is no second thread whose view could change.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// The changes that `mount_setattr` makes (`struct mount_attr`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttributes {
    /// The `MOUNT_ATTR_*` bits to set.
    pub(crate) set: u64,
    /// The `MOUNT_ATTR_*` bits to clear.
    pub(crate) clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; zero keeps the propagation.
    pub(crate) propagation: u64,
    /// The descriptor of the user namespace for `MOUNT_ATTR_IDMAP`.
    pub(crate) userns: u64,
}

/// Changes the mount that `mount` refers to, and with `recursive` those below it.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attributes: &MountAttributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal and the struct outlives the call; its size is the one passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags as c_uint,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

/// Installs a seccomp filter of `sock_filter` records; with `SECCOMP_FILTER_FLAG_NEW_LISTENER` returns the listener.
pub(crate) fn seccomp_load(filter: &[u8], flags: u64) -> io::Result<Option<RawFd>> {
    let length =
        u16::try_from(filter.len() / size_of::<libc::sock_filter>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The records are copied to align them as the kernel requires.
    let mut records: Vec<u64> = filter
        .chunks_exact(8)
        .map(|bytes| u64::from_ne_bytes(bytes.try_into().expect("chunks_exact gives eight bytes")))
        .collect();
    let program = libc::sock_fprog { len: length, filter: records.as_mut_ptr().cast() };
    // SAFETY: the program points to `length` records that outlive the call.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, c_long::from(libc::SECCOMP_SET_MODE_FILTER), flags, &raw const program)
    })?;
    Ok((flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0).then_some(result as RawFd))
}

/// Whether the kernel supports the `flags` of a seccomp filter.
pub(crate) fn seccomp_knows(flags: u64) -> bool {
    // SAFETY: a null program is refused with EFAULT before anything happens. That error shows that the flags are supported.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, c_long::from(libc::SECCOMP_SET_MODE_FILTER), flags, 0 as c_long) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Executes a program. Returns only if that fails.
pub(crate) fn execve(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end in a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Executes the program that `file` refers to. Returns only if that fails.
pub(crate) fn execve_file(file: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: as in `execve`; the empty path means the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        return error;
    }
    // The same by the descriptor's name, for kernels and seccomp profiles without execveat.
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("digits");
    // SAFETY: as in `execve`.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// A signal mask, for `sigprocmask`.
#[derive(Clone, Copy)]
pub(crate) struct SignalMask(libc::sigset_t);

/// Blocks all signals and returns the previous mask.
pub(crate) fn block_signals() -> io::Result<SignalMask> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read: `all` by sigfillset, `old` by a sigprocmask that succeeded.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        check(libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()).into())?;
        Ok(SignalMask(old.assume_init()))
    }
}

/// Sets the signal mask.
pub(crate) fn set_signal_mask(mask: &SignalMask) -> io::Result<()> {
    // SAFETY: the set is initialised and outlives the call.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) }.into()).map(drop)
}

/// Opens a descriptor from which all blocked signals can be read.
pub(crate) fn signalfd() -> io::Result<OwnedFd> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written by sigfillset before signalfd reads it; the descriptor is new and owned by nobody else.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        let fd = check(libc::signalfd(-1, all.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Restores the default actions of all signals but SIGPIPE, as runc does at this point: a caller that ignores some (nohup, a shell's `&`)
/// does not mean the container.
pub(crate) fn default_signals() {
    for signal in (1..=64).filter(|signal| *signal != libc::SIGPIPE) {
        default_signal(signal);
    }
}

/// Restores the default action of `signal`, if its action can be changed. glibc's own function refuses the two real-time signals that
/// glibc uses itself, but these can be ignored too.
pub(crate) fn default_signal(signal: c_int) {
    // All zero means SIG_DFL, no flags and an empty mask. It is larger than the kernel's structure on any architecture.
    let action = [0u64; 8];
    // SAFETY: the kernel reads its structure from within the array, and SIG_DFL is no function that could run in a bad context.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null_mut::<u64>(), 8usize) };
}

/// Lets writes to a pipe or socket without a reader fail, as in all Rust programs, instead of terminating this process.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is no function that could run in a bad context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

extern "C" fn exit_by_signal(signal: c_int) {
    // SAFETY: _exit may be called in a signal handler.
    unsafe { libc::_exit(128 + signal) };
}

/// Lets the usual signals terminate this process. The init process of a PID namespace ignores signals that it does not handle, so
/// handlers are installed, which execve resets.
pub(crate) fn exit_on_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler does nothing but end the process.
        unsafe { libc::signal(signal, exit_by_signal as *const () as libc::sighandler_t) };
    }
}

/// Sends a signal to a process.
pub(crate) fn kill(pid: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Sends a signal to the process that a pidfd refers to.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: a null siginfo means that of kill(2).
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0 as c_long, 0 as c_uint) })
        .map(drop)
}

/// Waits for a child (-1: any). Returns its id and its exit status, or 128 + N if signal N killed it. `None`: no child has ended.
pub(crate) fn wait(pid: Pid, block: bool) -> io::Result<Option<(Pid, i32)>> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: the status outlives the call.
        let result = unsafe { libc::waitpid(pid, &raw mut status, if block { 0 } else { libc::WNOHANG }) };
        match check(result.into()) {
            Ok(0) => return Ok(None),
            Ok(pid) => {
                let code =
                    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
                return Ok(Some((pid as Pid, code)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sets a resource limit of a process (0: this one).
pub(crate) fn prlimit(pid: Pid, resource: c_uint, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit outlives the call; no old value is asked for.
    check(unsafe { libc::prlimit64(pid, resource as _, &raw const limit, std::ptr::null_mut()) }.into()).map(drop)
}

/// Sets close-on-exec on all descriptors from `first` on.
pub(super) fn close_range_on_exec(first: c_uint) -> io::Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing, so no owned descriptor becomes invalid.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Closes all descriptors from `first` on. Only for the very beginning, when all of them were inherited.
pub(super) fn close_range(first: c_uint) -> io::Result<()> {
    // SAFETY: run-tool has not opened anything yet, so no owned descriptor becomes invalid.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Duplicates `from` to the number `to`, without close-on-exec: for standard streams and descriptors to inherit.
pub(crate) fn dup_to(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        // SAFETY: plain integers; dup3 refuses equal numbers, so the flag is cleared in place.
        return check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: `to` is a descriptor number of which this program holds no OwnedFd (0, 1, 2 or one past them kept free).
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }.into()).map(drop)
}

/// Borrows descriptor `number`, if it is open.
pub(crate) fn borrow_fd(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD only asks.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, was inherited by the program, and nothing in it closes inherited descriptors.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Takes ownership of descriptor `number`, which a call has just returned.
pub(crate) fn own_fd(number: RawFd) -> OwnedFd {
    debug_assert!(number > 2, "standard streams are not ours to own");
    // SAFETY: callers pass a number that the kernel has just given to them alone.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Joins the session keyring called `name`, which is created if it does not exist. Returns its serial number.
pub(crate) fn join_session_keyring(name: &CStr) -> io::Result<i32> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(serial).map(|serial| serial as i32)
}

/// Reads the description of a key: `type;uid;gid;permissions;name`.
pub(crate) fn describe_key(serial: i32) -> io::Result<String> {
    let mut buffer = [0u8; 512];
    // SAFETY: the buffer outlives the call and its length is the one passed.
    let length = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_DESCRIBE, serial, buffer.as_mut_ptr(), buffer.len())
    })?;
    let length = (length as usize).saturating_sub(1).min(buffer.len());
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Sets the permissions of a key.
pub(crate) fn set_key_permissions(serial: i32, permissions: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, serial, permissions) }).map(drop)
}

/// Sets the execution domain of this process.
pub(crate) fn personality(domain: c_ulong) -> io::Result<()> {
    // SAFETY: plain integer.
    check(unsafe { libc::personality(domain) }.into()).map(drop)
}

/// Sets the I/O priority of this process's group.
pub(crate) fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    // IOPRIO_WHO_PGRP with who = 0: the own process group.
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 2, 0, (class << 13) | level) }).map(drop)
}

/// The attributes that `sched_setattr` sets (`struct sched_attr`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SchedulerAttributes {
    /// The size of the struct, which `set_scheduler` fills in.
    pub(crate) size: u32,
    /// The number of the policy (`SCHED_*`).
    pub(crate) policy: u32,
    /// The `SCHED_FLAG_*` bits.
    pub(crate) flags: u64,
    /// The niceness, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub(crate) nice: i32,
    /// The static priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub(crate) priority: u32,
    /// The runtime for `SCHED_DEADLINE`, in nanoseconds.
    pub(crate) runtime: u64,
    /// The deadline for `SCHED_DEADLINE`, in nanoseconds.
    pub(crate) deadline: u64,
    /// The period for `SCHED_DEADLINE`, in nanoseconds.
    pub(crate) period: u64,
}

/// Sets the scheduling policy of this process.
pub(crate) fn set_scheduler(mut attributes: SchedulerAttributes) -> io::Result<()> {
    attributes.size = size_of::<SchedulerAttributes>() as u32;
    // SAFETY: the struct outlives the call and states its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// Sets the CPU affinity of a process (0: this one).
pub(crate) fn set_affinity(pid: Pid, mask: &[u64]) -> io::Result<()> {
    // SAFETY: the mask outlives the call and its size in bytes is the one passed.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) }).map(drop)
}

/// Sets the NUMA memory policy of this process.
pub(crate) fn set_memory_policy(mode: c_int, nodes: &[u64]) -> io::Result<()> {
    let bits = nodes.len() * 64;
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // The kernel reads one bit less than the number it is given.
    let maximum = if bits == 0 { 0 } else { bits + 1 };
    // SAFETY: the mask outlives the call and holds `bits` bits.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, maximum) }).map(drop)
}

/// Brings up the loopback interface of this process's network namespace.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short },
    };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which this is, and which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) }.into()).map(drop)
}

/// Opens an eventfd with a count of zero.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is new and owned by nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC).into())? as RawFd)) }
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program of `bpf_insn` records.
pub(crate) fn bpf_load_device_program(instructions: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    const PROG_LOAD: c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    let load = Load {
        kind: CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the pointers in the struct are to memory that outlives the call; the descriptor it returns is new.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Attaches a device program to a cgroup, or replaces `old` there.
pub(crate) fn bpf_attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
        replaced: u32,
    }
    const PROG_ATTACH: c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    const REPLACE: u32 = 4;
    let attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI | if old.is_some() { REPLACE } else { 0 },
        replaced: old.map_or(0, |old| old.as_raw_fd() as u32),
    };
    // SAFETY: the struct outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) }).map(drop)
}

/// Detaches a device program from a cgroup.
pub(crate) fn bpf_detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const PROG_DETACH: c_int = 9;
    const CGROUP_DEVICE: u32 = 6;
    let detach = [cgroup.as_raw_fd() as u32, program.as_raw_fd() as u32, CGROUP_DEVICE, 0];
    // SAFETY: the array is the attr's first sixteen bytes (target, program, kind, flags), and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_DETACH, detach.as_ptr(), size_of_val(&detach)) }).map(drop)
}

/// The device programs that are attached to a cgroup, without those of its parents.
pub(crate) fn bpf_device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target: u32,
        kind: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    const PROG_QUERY: c_int = 16;
    const PROG_GET_FD_BY_ID: c_int = 13;
    const CGROUP_DEVICE: u32 = 6;
    let mut ids = [0u32; 64];
    let mut query = Query {
        target: cgroup.as_fd().as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    // SAFETY: the kernel writes at most `count` ids into the array, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) })?;
    let mut programs = Vec::new();
    for id in ids.iter().take(query.count as usize) {
        let request = [*id, 0, 0];
        // SAFETY: the request is the attr's first twelve bytes (id, next id, open flags); the descriptor is new.
        let fd = check(unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, request.as_ptr(), 12) })?;
        programs.push(own_fd(fd as RawFd));
    }
    Ok(programs)
}

/// Exits at once. A cloned child must not run the destructors of its parent's values.
pub(crate) fn exit(status: c_int) -> ! {
    // SAFETY: never returns; nothing is buffered, since output goes through plain writes.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_a_process_whose_status_comes_back() {
        match clone(0, None).unwrap() {
            None => exit(7),
            Some(pid) => assert_eq!(wait(pid, true).unwrap(), Some((pid, 7))),
        }
    }

    #[test]
    fn a_killed_child_gives_128_and_the_signal() {
        match clone(0, None).unwrap() {
            None => loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            },
            Some(pid) => {
                kill(pid, libc::SIGKILL).unwrap();
                assert_eq!(wait(pid, true).unwrap(), Some((pid, 137)));
            }
        }
    }

    #[test]
    fn known_seccomp_flags_are_told_from_unknown_ones() {
        assert!(seccomp_knows(libc::SECCOMP_FILTER_FLAG_LOG));
        assert!(!seccomp_knows(1 << 20));
    }
}
