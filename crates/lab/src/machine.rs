//! Process 1 of a machine.
use crate::files;
pub use crate::files::BIN;
use anyhow::Result;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, sethostname};
use std::io::Write;
use std::path::Path;

/// Enters the machine's files, says `ready` on standard output, and reaps whatever ends, for ever. Must be process 1 of
/// new process, mount, host name and network namespaces.
pub fn run(directory: &Path, name: &str, hosts: &str, orlop: &Path) -> Result<()> {
    sethostname(name)?;
    files::enter(directory, name, hosts, orlop)?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1\n")?;
    println!("ready");
    std::io::stdout().flush()?;
    loop {
        match waitpid(None::<Pid>, None::<WaitPidFlag>) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nobody is left: sleeps until somebody enters, whose orphans become ours.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    }
}
