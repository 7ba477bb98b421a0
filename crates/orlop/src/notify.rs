//! What systemd is told (`Type=notify`), or whoever else started this program and listens on the datagram socket that
//! `NOTIFY_SOCKET` names: that it serves, that it stops, and, where `WatchdogSec=` is set, that it lives.
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// Of the time after which systemd ends a process that it has not heard of, so much passes between two words: one that is
/// late is early enough.
const WATCHDOG_SHARE: u32 = 3;
/// Who doesn't take a word within this time isn't told it.
const SEND_MAX: Duration = Duration::from_secs(1);

/// Says that this program serves.
pub fn ready() {
    if let Err(error) = tell("READY=1") {
        tracing::warn!(%error, "cannot tell the starter of this program that it is ready");
    }
}

/// Says that it is ending.
pub fn stopping() {
    // Who waited for its start alone does not listen any more.
    if let Err(error) = tell("STOPPING=1") {
        tracing::debug!(%error, "the starter of this program is not told of its end");
    }
}

/// Says that it serves, and from now on that it lives, as long as its tasks have their turns.
pub fn ready_and_alive() {
    ready();
    watch(|| std::future::ready(true));
}

/// Says again and again that the program lives, if it is asked for: whenever `is_alive` comes to an end in time, and says
/// so.
pub fn watch<F>(is_alive: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = bool> + Send + 'static,
{
    let of = |name: &str| std::env::var(name).ok();
    let (usec, pid) = (of("WATCHDOG_USEC"), of("WATCHDOG_PID"));
    let Some(period) = period(usec.as_deref(), pid.as_deref(), std::process::id()) else {
        return;
    };
    tokio::spawn(async move {
        loop {
            match tokio::time::timeout(period, is_alive()).await {
                Ok(true) => {
                    if let Err(error) = tell("WATCHDOG=1") {
                        tracing::warn!(%error, "cannot tell the watchdog that this program lives");
                    }
                    tokio::time::sleep(period).await;
                }
                // It is ending.
                Ok(false) => return,
                Err(_) => tracing::error!("not alive for {period:?}: the watchdog is not told otherwise"),
            }
        }
    });
}

/// How often the watchdog wants to hear of the process `own`: by `WATCHDOG_USEC`, unless `WATCHDOG_PID` means another.
fn period(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let patience = Duration::from_micros(usec?.parse().ok()?);
    (!patience.is_zero()).then(|| patience / WATCHDOG_SHARE)
}

fn tell(what: &str) -> std::io::Result<()> {
    let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
    name.map_or(Ok(()), |name| send(&name, what))
}

fn send(name: &OsStr, what: &str) -> std::io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_MAX))?;
    socket
        .send_to_addr(format!("{what}\n").as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_hears_three_times_in_its_patience_of_whom_it_means() {
        let third = Some(Duration::from_secs(10));
        for (usec, pid, expected) in [
            (Some("30000000"), None, third),
            (Some("30000000"), Some("7"), third),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some(""), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(period(usec, pid, 7), expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn words_reach_sockets_with_a_path_and_without() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("orlop-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in [
            (by_path, path.into_os_string()),
            (by_name, format!("@{abstract_name}").into()),
        ] {
            send(&name, "READY=1").unwrap();
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\n");
        }
        assert!(send(dir.path().join("none").as_os_str(), "READY=1").is_err());
    }
}
