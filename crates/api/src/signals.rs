//! Names of the signals that may end a container, as `lifecycle.stopSignal` has them.

/// On Linux: in the order in which the runtime interface numbers them, from 1 on, with the kernel's numbers. Those of real
/// time are glibc's.
const LINUX: [(&str, i32); 65] = [
    ("SIGABRT", 6),
    ("SIGALRM", 14),
    ("SIGBUS", 7),
    ("SIGCHLD", 17),
    ("SIGCLD", 17),
    ("SIGCONT", 18),
    ("SIGFPE", 8),
    ("SIGHUP", 1),
    ("SIGILL", 4),
    ("SIGINT", 2),
    ("SIGIO", 29),
    ("SIGIOT", 6),
    ("SIGKILL", 9),
    ("SIGPIPE", 13),
    ("SIGPOLL", 29),
    ("SIGPROF", 27),
    ("SIGPWR", 30),
    ("SIGQUIT", 3),
    ("SIGSEGV", 11),
    ("SIGSTKFLT", 16),
    ("SIGSTOP", 19),
    ("SIGSYS", 31),
    ("SIGTERM", 15),
    ("SIGTRAP", 5),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGVTALRM", 26),
    ("SIGWINCH", 28),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGRTMIN", 34),
    ("SIGRTMIN+1", 35),
    ("SIGRTMIN+2", 36),
    ("SIGRTMIN+3", 37),
    ("SIGRTMIN+4", 38),
    ("SIGRTMIN+5", 39),
    ("SIGRTMIN+6", 40),
    ("SIGRTMIN+7", 41),
    ("SIGRTMIN+8", 42),
    ("SIGRTMIN+9", 43),
    ("SIGRTMIN+10", 44),
    ("SIGRTMIN+11", 45),
    ("SIGRTMIN+12", 46),
    ("SIGRTMIN+13", 47),
    ("SIGRTMIN+14", 48),
    ("SIGRTMIN+15", 49),
    ("SIGRTMAX-14", 50),
    ("SIGRTMAX-13", 51),
    ("SIGRTMAX-12", 52),
    ("SIGRTMAX-11", 53),
    ("SIGRTMAX-10", 54),
    ("SIGRTMAX-9", 55),
    ("SIGRTMAX-8", 56),
    ("SIGRTMAX-7", 57),
    ("SIGRTMAX-6", 58),
    ("SIGRTMAX-5", 59),
    ("SIGRTMAX-4", 60),
    ("SIGRTMAX-3", 61),
    ("SIGRTMAX-2", 62),
    ("SIGRTMAX-1", 63),
    ("SIGRTMAX", 64),
];

/// On Windows.
const WINDOWS: [&str; 2] = ["SIGKILL", "SIGTERM"];

/// The names that pods of an operating system may use.
pub fn names(os: &str) -> Vec<&'static str> {
    match os {
        "windows" => WINDOWS.to_vec(),
        _ => LINUX.iter().map(|(name, _)| *name).collect(),
    }
}

/// A signal by its name on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The kernel's number.
    pub number: i32,
    /// The runtime interface's.
    pub cri: i32,
}

impl Signal {
    /// The signal that a pod may ask for under this name.
    pub fn of(name: &str) -> Option<Self> {
        let at = LINUX.iter().position(|(known, _)| *known == name)?;
        let cri = i32::try_from(at + 1).ok()?;
        Some(Self {
            number: LINUX[at].1,
            cri,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_kernels_and_the_interfaces_numbers() {
        let of = |name| Signal::of(name).map(|signal| (signal.number, signal.cri));
        assert_eq!(of("SIGABRT"), Some((6, 1)));
        assert_eq!(of("SIGTERM"), Some((15, 23)));
        assert_eq!(of("SIGUSR1"), Some((10, 29)));
        assert_eq!(of("SIGRTMIN+15"), Some((49, 50)));
        assert_eq!(of("SIGRTMAX"), Some((64, 65)));
        assert_eq!(of("TERM"), None);
        assert_eq!(names("windows"), ["SIGKILL", "SIGTERM"]);
    }
}
