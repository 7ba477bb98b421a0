//! Waiting for what has no event to wait on.
use std::time::{Duration, Instant};

/// How long one step of a story may take on a busy two-core machine.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(90);

/// Asks `probe` until it gives an answer; panics with its last complaint after [`STEP_TIMEOUT`].
///
/// For state outside the API only (processes, runtimes): for objects, `kubectl wait` is told by a
/// watch.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + STEP_TIMEOUT;
    loop {
        match probe() {
            Ok(answer) => return answer,
            Err(complaint) if Instant::now() > deadline => panic!("{what}: {complaint}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
