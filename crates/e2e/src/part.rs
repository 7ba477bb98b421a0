//! One of orlop's parts as a process of its own.
use crate::orlop;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends when it is dropped.
pub struct Part(Child);

impl Part {
    /// Starts `orlop <name> <arguments>`, which logs to `<name>.log` below `root`.
    pub fn start(root: &Path, name: &str, arguments: &str) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(root.join(format!("{name}.log")))
            .expect("the log");
        let mut command = Command::new(orlop());
        command.arg(name).args(arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("orlop runs"))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
