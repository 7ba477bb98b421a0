//! The clock and the randomness of one run. Both are the process's own functions of the C library, replaced in this test
//! program: on a thread that simulates, the time of day follows tokio's paused clock and random bytes come from the seed;
//! on all others they ask the kernel. So the code under test runs unchanged.

use std::cell::Cell;
use std::ffi::c_void;

use tokio::time::Instant;

use crate::random::Random;

/// When every run begins: 2030-01-01T00:00:00Z.
const EPOCH_SECONDS: i64 = 1_893_456_000;

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's random bytes come from `seed`. Call before anything else on a new thread: hash tables take
/// their keys from the first ones.
pub fn seed_thread(seed: u64) {
    RANDOM.set(Some(seed));
}

/// From now on this thread's time of day follows tokio's clock. Call within a paused runtime.
pub fn start_clock() {
    BEGAN.set(Some(Instant::now()));
}

/// Seconds since the run began.
pub fn elapsed() -> f64 {
    BEGAN.get().map_or(0.0, |began| began.elapsed().as_secs_f64())
}

/// # Safety
/// As the C library's: `time` points to a timespec.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if clock == libc::CLOCK_REALTIME
        && let Ok(Some(began)) = BEGAN.try_with(Cell::get)
    {
        let elapsed = began.elapsed();
        let seconds = EPOCH_SECONDS + i64::try_from(elapsed.as_secs()).unwrap_or(0);
        let now = libc::timespec {
            tv_sec: seconds,
            tv_nsec: i64::from(elapsed.subsec_nanos()),
        };
        // SAFETY: the caller's pointer is valid for a timespec.
        unsafe { time.write(now) };
        return 0;
    }
    // SAFETY: the arguments are the caller's.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    libc::c_int::try_from(result).unwrap_or(-1)
}

/// # Safety
/// As the C library's: `buffer` is valid for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: libc::c_uint) -> isize {
    if let Ok(Some(state)) = RANDOM.try_with(Cell::get) {
        let mut random = Random::new(state);
        for at in 0..length {
            let byte = random.next().to_le_bytes()[0];
            // SAFETY: within the caller's buffer.
            unsafe { buffer.cast::<u8>().add(at).write(byte) };
        }
        let _ = RANDOM.try_with(|cell| cell.set(Some(random.next())));
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    // SAFETY: the arguments are the caller's.
    let result = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
    isize::try_from(result).unwrap_or(-1)
}
