//! What a container's processes hold open, from /proc.
use std::path::Path;

/// Added up over processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    pub files: u64,
    /// Those of them that are sockets.
    pub sockets: u64,
    /// How many the first process may have.
    pub files_max: u64,
}

/// Counts what these processes hold open; what ends meanwhile does not count.
pub fn of(processes: &[u32]) -> Open {
    let mut open = Open::default();
    for process in processes {
        let directory = Path::new("/proc").join(process.to_string());
        for entry in std::fs::read_dir(directory.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            open.files += 1;
            let is_socket = std::fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
            open.sockets += u64::from(is_socket);
        }
        if open.files_max == 0 {
            let limits = std::fs::read_to_string(directory.join("limits"));
            open.files_max = limits.ok().as_deref().and_then(files_max).unwrap_or(0);
        }
    }
    open
}

/// `Max open files            1024                 4096                 files`: the soft one.
fn files_max(limits: &str) -> Option<u64> {
    let numbers = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    numbers.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_and_sockets_are_counted() {
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let open = of(&[std::process::id()]);
        assert!(
            open.sockets >= 1 && open.files > open.sockets && open.files_max > 0,
            "{open:?}"
        );
        assert_eq!(of(&[u32::MAX]), Open::default());
    }
}
