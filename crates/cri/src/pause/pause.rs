//! The program in every sandbox: it holds the pod's namespaces open and, as PID 1 of a pod with a shared process
//! namespace, reaps what its containers leave behind. Compiled by `build.rs`; no libc, no allocation.
//!
//! It blocks its three signals and waits for them instead of installing handlers: a blocked signal is queued even for
//! PID 1, whose unhandled signals the kernel drops, and no handler means no signal trampoline to write.
//!
//! With `-v` it says its version and ends, as upstream's does: kubeadm runs it so, as a Job, before each upgrade.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {run}",
    "ud2",
    run = sym run,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {run}",
    "brk #1",
    run = sym run,
);

/// # Safety
/// The arguments must be what the kernel expects of this call.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// # Safety
/// The arguments must be what the kernel expects of this call.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d,
            options(nostack),
        );
    }
    result
}

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
/// The kernel's signal sets have 64 bits on both machines.
const SIGNAL_SET_BYTES: usize = 8;
const STDOUT: usize = 1;

const VERSION: &str = concat!("pause of orlop ", env!("CARGO_PKG_VERSION"), "\n");

/// Whether a word of the command line is `-v`, in either case. Byte by byte: comparing slices would call a libc.
///
/// # Safety
/// `stack` must be what the kernel starts a program with: a number of words, and where each is, which ends with 0.
unsafe fn wants_version(stack: *const usize) -> bool {
    unsafe {
        let (count, words) = (*stack, stack.add(1).cast::<*const u8>());
        let mut index = 1;
        while index < count {
            let word = *words.add(index);
            if *word == b'-' && *word.add(1) | 0x20 == b'v' && *word.add(2) == 0 {
                return true;
            }
            index += 1;
        }
    }
    false
}

extern "C" fn run(stack: *const usize) -> ! {
    // SAFETY: `_start` hands on the stack as the kernel left it; the text is there for as long as the program.
    unsafe {
        if wants_version(stack) {
            syscall(number::WRITE, STDOUT, VERSION.as_ptr() as usize, VERSION.len(), 0);
            syscall(number::EXIT_GROUP, 0, 0, 0, 0);
        }
    }
    let signals: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);
    let set = &raw const signals as usize;
    // SAFETY: `set` points to 8 bytes that live until exit; null pointers mean "don't tell" in these calls.
    unsafe {
        syscall(number::RT_SIGPROCMASK, SIG_BLOCK, set, 0, SIGNAL_SET_BYTES);
        loop {
            let signal = syscall(number::RT_SIGTIMEDWAIT, set, 0, 0, SIGNAL_SET_BYTES);
            if signal == SIGINT as isize || signal == SIGTERM as isize {
                syscall(number::EXIT_GROUP, 0, 0, 0, 0);
            }
            // One SIGCHLD may stand for several children.
            while syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {}
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: exit_group takes a number and doesn't return.
    unsafe {
        syscall(number::EXIT_GROUP, 255, 0, 0, 0);
    }
    loop {}
}
