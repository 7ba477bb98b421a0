//! Ports for the programs that tests and measurements start.
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Above what the parts of a node that lives here listen on …
const FIRST: u32 = 12_000;
/// … and below Services' node ports, and what the kernel gives to connections: nobody gets one by chance before it is
/// listened on.
const COUNT: u32 = 18_000;

/// A port that nobody listens on, over IPv4 or IPv6, and that this process was not given before.
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
        if is_free(port) {
            return port;
        }
    }
    panic!("ports {FIRST} to {} are all taken", FIRST + COUNT - 1);
}

/// One after the other: who listens over both needs both. Where there is no IPv6 nobody listens over it.
fn is_free(port: u16) -> bool {
    let over_ipv4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(drop);
    let over_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map(drop);
    over_ipv4.is_ok() && !over_ipv6.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_that_is_listened_on() {
        let first = free_port();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 1));
        let taken_over_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, first + 2));
        let second = free_port();
        // Where there is no IPv6, that one is free.
        let last = if taken_over_ipv6.is_ok() {
            first + 2
        } else {
            first + 1
        };
        assert!(!(first..=last).contains(&second), "{first} {second}");
        assert!((12_000..30_000).contains(&second));
    }
}
