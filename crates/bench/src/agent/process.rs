//! A program under measurement, and what it uses.
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running program; killed when dropped.
pub struct Program(Child);

impl Program {
    /// Starts `program` with these words, its output going to `log`.
    pub fn start(program: &Path, words: &str, log: &Path) -> Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self(child))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub processor: Duration,
    /// Times that one of its threads went to sleep, and so was woken.
    pub wakeups: u64,
    /// Bytes that it made the kernel write to a disk.
    pub written: u64,
}

impl Used {
    /// Until now.
    pub fn by(id: u32) -> Result<Self> {
        let mut used = Self::default();
        for task in std::fs::read_dir(format!("/proc/{id}/task"))?.flatten() {
            // A thread may end between the listing and the reading.
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let nanoseconds = read("schedstat");
            let nanoseconds = nanoseconds.split_whitespace().next().unwrap_or("0");
            used.processor += Duration::from_nanos(nanoseconds.parse()?);
            used.wakeups += field(&read("status"), "voluntary_ctxt_switches:").unwrap_or(0);
        }
        let io = std::fs::read_to_string(format!("/proc/{id}/io"))?;
        used.written = field(&io, "write_bytes:").context("write_bytes")?;
        Ok(used)
    }

    /// Since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// Resident memory of a process, MB (10^6 bytes).
pub fn resident_mb(id: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib = field(&status, "VmRSS:").context("VmRSS")?;
    Ok(kib as f64 * 1024.0 / 1e6)
}

/// Its share of resident memory, pages that several have mapped counted in parts, MB.
pub fn proportional_mb(id: u32) -> Result<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let kib = field(&rollup, "Pss:").context("Pss")?;
    Ok(kib as f64 * 1024.0 / 1e6)
}

/// The programs of a container runtime: whose command lines name a path below its directory. The first list is of its
/// daemons, the second of the shims.
pub fn of_runtime(directory: &Path, daemon: i32) -> Result<(Vec<u32>, Vec<u32>)> {
    let directory = directory.display().to_string();
    let (mut daemons, mut shims) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if i64::from(id) == i64::from(daemon) {
            daemons.push(id);
        } else if line.contains(&directory) && line.contains("shim") {
            shims.push(id);
        }
    }
    Ok((daemons, shims))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
