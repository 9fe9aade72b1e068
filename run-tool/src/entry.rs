//! The first instructions of the program, before those of the C library: here the first start of a command that enters a container
//! seals the program. `command::seal` tells why that takes two starts.
//!
//! Nothing has been initialised yet, and that is the point: the C library has not examined the processor with some 45 instructions
//! that a hypervisor emulates one by one, no address has been relocated, and hardly a page of the file has been mapped. All this
//! would be done twice, and is a sixth of the CPU time of `exec`. If anything fails here, the program starts as usual, and
//! `command::seal` does the rest.
//!
//! So this code must get by without relocated addresses and without the C library, even its functions that copy, set and compare
//! memory. The compiler calls these for large values and for loops that it recognises. Therefore values are numbers and pointers, and
//! loops use `read_volatile` and `write_volatile`. A mistake shows at once: every `create`, `run` and `exec` crashes.
#![allow(unsafe_code, reason = "nothing safe works in a process that is not initialised")]

use std::arch::{asm, naked_asm};
use std::ffi::{CStr, c_long};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// The variable that `command::seal` looks for.
const SEALED: &CStr = c"_RUN_TOOL_SEALED=overlay";
const EXE: &CStr = c"/proc/self/exe";

const FSCONFIG_SET_STRING: usize = 1;
const FSCONFIG_CMD_CREATE: usize = 6;
const HERE: usize = libc::AT_FDCWD as usize;
const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
const OPEN: usize = (libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) as usize;
const OVERLAY: usize = FsOpenFlags::FSOPEN_CLOEXEC.bits() as usize;
const MOUNT: usize = FsMountFlags::FSMOUNT_CLOEXEC.bits() as usize;
const ATTRIBUTES: usize = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .bits() as usize;

/// The entry point of the program (`-e`, in build.rs). It leaves what the kernel passes on the stack and in `rdx` to the C library's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn run_tool_entry() -> ! {
    unsafe extern "C" {
        fn _start() -> !;
    }
    naked_asm!(
        "mov rbx, rsp",
        "mov r12, rdx",
        "mov rdi, rsp",
        "call {seal}",
        "mov rsp, rbx",
        "mov rdx, r12",
        "jmp {start}",
        seal = sym seal,
        start = sym _start,
    )
}

/// Executes the program again from an overlay if a word of the command line is the name of a command that enters a container. If the
/// word is something else, such as the value of an option, the program is sealed without need. Returns if it is not to be sealed, is
/// sealed already, or if that fails.
///
/// # Safety
///
/// `stack` must be the stack of a process at its start: the number of arguments, their addresses, a null pointer, the addresses of the
/// environment's variables and a null pointer (System V ABI, "Initial Process Stack").
unsafe extern "C" fn seal(stack: *mut usize) {
    // SAFETY: nothing beyond the null pointers is accessed; arguments and variables are strings that end in NUL.
    unsafe {
        let count = *stack;
        let mut at = if cfg!(test) { count + 1 } else { 2 };
        while at <= count && !enters(*stack.add(at) as *const u8) {
            at += 1;
        }
        if at > count {
            return;
        }
        let mut variable = stack.add(count + 2);
        while *variable != 0 {
            if begins(*variable as *const u8, SEALED, b'=') {
                return;
            }
            variable = variable.add(1);
        }
        let file = overlaid();
        if file < 0 {
            return;
        }
        // The arguments move down by a word, over their number. This makes room for a variable before the others.
        at = 0;
        while at <= count {
            stack.add(at).write_volatile(*stack.add(at + 1));
            at += 1;
        }
        let environment = stack.add(at);
        *environment = SEALED.as_ptr() as usize;
        call(libc::SYS_execveat, file as usize, address(c""), stack as usize, environment as usize, EMPTY_PATH);
        // It has failed: everything goes back to its place.
        close(file);
        while at > 0 {
            stack.add(at).write_volatile(*stack.add(at - 1));
            at -= 1;
        }
        *stack = count;
    }
}

/// Whether a word is the name of a command that executes something in a container and is called often.
unsafe fn enters(word: *const u8) -> bool {
    // SAFETY: the caller's word ends in NUL, as the names do.
    unsafe { begins(word, c"create", 0) || begins(word, c"exec", 0) || begins(word, c"run", 0) }
}

/// Whether a string is the same as another one, up to and with the first byte `last`.
unsafe fn begins(string: *const u8, other: &CStr, last: u8) -> bool {
    let other = other.as_ptr().cast::<u8>();
    let mut at = 0;
    loop {
        // SAFETY: both strings end in NUL, and `other` has a byte `last` at or before it.
        let (one, two) = unsafe { (string.add(at).read_volatile(), other.add(at).read_volatile()) };
        if one != two || one == last {
            return one == two;
        }
        at += 1;
    }
}

/// Opens the program in an overlay of its folder. Negative: that failed, or is not simple.
fn overlaid() -> isize {
    /// This is no memory of the stack, since the compiler would set it to zero.
    static mut FOLDER: [u8; libc::PATH_MAX as usize] = [0; libc::PATH_MAX as usize];
    static mut NAME: [u8; libc::PATH_MAX as usize] = [0; libc::PATH_MAX as usize];
    const OTHER_LAYER: &CStr = c":/run";
    let (folder, name) = ((&raw mut FOLDER).cast::<u8>(), (&raw mut NAME).cast::<u8>());
    let room = libc::PATH_MAX as usize - OTHER_LAYER.to_bytes_with_nul().len();
    // SAFETY: there is one thread. What is written to the arrays fits: no more than `room` bytes and the other layer.
    unsafe {
        let length = call(libc::SYS_readlinkat, HERE, address(EXE), folder as usize, room, 0);
        let (mut slash, mut at) = (0, 0);
        while (at as isize) < length {
            let byte = folder.add(at).read_volatile();
            // Both have a meaning in the list of layers.
            if byte == b':' || byte == b'\\' {
                return -1;
            }
            if byte == b'/' {
                slash = at;
            }
            name.add(at - slash).write_volatile(byte);
            at += 1;
        }
        // The root folder, or no path.
        if slash == 0 {
            return -1;
        }
        name.add(at - slash).write_volatile(0);
        at = 0;
        while at < OTHER_LAYER.to_bytes_with_nul().len() {
            folder.add(slash + at).write_volatile(*OTHER_LAYER.as_ptr().cast::<u8>().add(at));
            at += 1;
        }
        let overlay = call(libc::SYS_fsopen, address(c"overlay"), OVERLAY, 0, 0, 0);
        let set = |key, value| call(libc::SYS_fsconfig, overlay as usize, FSCONFIG_SET_STRING, address(key), value, 0);
        let mut file = -1;
        set(c"xino", address(c"off"));
        if set(c"lowerdir", folder as usize) == 0
            && call(libc::SYS_fsconfig, overlay as usize, FSCONFIG_CMD_CREATE, 0, 0, 0) == 0
        {
            let mount = call(libc::SYS_fsmount, overlay as usize, MOUNT, ATTRIBUTES, 0, 0);
            // The first byte of the name is the slash.
            file = call(libc::SYS_openat, mount as usize, name as usize + 1, OPEN, 0, 0);
            close(mount);
        }
        close(overlay);
        if file >= 0 && !same(file) {
            close(file);
            file = -1;
        }
        file
    }
}

/// Whether a file is the program. It is another one if a file is mounted over the program's name.
unsafe fn same(file: isize) -> bool {
    static mut FOUND: std::mem::MaybeUninit<libc::stat> = std::mem::MaybeUninit::uninit();
    static mut WANTED: std::mem::MaybeUninit<libc::stat> = std::mem::MaybeUninit::uninit();
    let (found, wanted) = ((&raw mut FOUND).cast::<libc::stat>(), (&raw mut WANTED).cast::<libc::stat>());
    // SAFETY: there is one thread, and both structures are filled before they are read.
    unsafe {
        call(libc::SYS_newfstatat, file as usize, address(c""), found as usize, EMPTY_PATH, 0) == 0
            && call(libc::SYS_newfstatat, HERE, address(EXE), wanted as usize, 0, 0) == 0
            && (*found).st_ino == (*wanted).st_ino
            && (*found).st_size == (*wanted).st_size
            && (*found).st_mtime == (*wanted).st_mtime
    }
}

unsafe fn close(fd: isize) {
    // SAFETY: the caller owns the descriptor. A negative number is refused.
    unsafe { call(libc::SYS_close, fd as usize, 0, 0, 0, 0) };
}

fn address(string: &CStr) -> usize {
    string.as_ptr() as usize
}

/// A system call: its result, or the negative number of its error.
unsafe fn call(number: c_long, one: usize, two: usize, three: usize, four: usize, five: usize) -> isize {
    let result;
    // SAFETY: the caller's, by the call; the kernel changes no other registers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") one, in("rsi") two, in("rdx") three, in("r10") four, in("r8") five,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::hook::MARK;

    #[test]
    fn the_kernel_starts_the_program_here() {
        // SAFETY: getauxval reads what the kernel has passed.
        assert_eq!(unsafe { libc::getauxval(libc::AT_ENTRY) }, run_tool_entry as *const () as u64);
    }

    #[test]
    fn the_second_start_recognises_the_variable() {
        assert_eq!(SEALED.to_str().unwrap(), format!("{MARK}=overlay"));
    }

    #[test]
    fn only_whole_names_of_commands_count() {
        let words =
            [(c"run", true), (c"exec", true), (c"create", true), (c"ru", false), (c"runs", false), (c"", false)];
        for (word, expected) in words {
            // SAFETY: a literal ends in NUL.
            assert_eq!(unsafe { enters(word.as_ptr().cast()) }, expected, "{word:?}");
        }
        for (variable, expected) in [(c"_RUN_TOOL_SEALED=memory", true), (c"_RUN_TOOL_SEALED", false), (c"A=", false)] {
            // SAFETY: as above.
            assert_eq!(unsafe { begins(variable.as_ptr().cast(), SEALED, b'=') }, expected, "{variable:?}");
        }
    }
}
