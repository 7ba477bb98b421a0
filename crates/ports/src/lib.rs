//! Ports for the programs that tests and measurements start.
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Above what the parts of a node that lives here listen on …
const FIRST: u32 = 12_000;
/// … and below Services' node ports, and what the kernel gives to connections: nobody gets one by chance before it is
/// listened on.
const COUNT: u32 = 18_000;

/// A port that nobody listens on, and that this process was not given before.
///
/// # Panics
///
/// When all of them are taken.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin in different places.
    let begin = std::process::id().wrapping_mul(613) % COUNT;
    for _ in 0..COUNT {
        let next = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + next).expect("the range ends below 65,536");
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("ports {FIRST} to {} are all taken", FIRST + COUNT - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_that_is_listened_on() {
        let first = free_port();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 1));
        let second = free_port();
        assert!(second != first && second != first + 1, "{first} {second}");
        assert!((12_000..30_000).contains(&second));
    }
}
