//! The audit log: a line for each event, in a file that begins anew when it is large. Events are written by a thread
//! of their own; requests wait for it only when it cannot keep up, so that none is lost.
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Events that may wait to be written, and their bytes together: one can be as large as what a request carries.
const WAITING_MAX: usize = 10_000;
const WAITING_BYTES_MAX: u32 = 64 << 20;
/// Size of the file where none is given (upstream's).
const SIZE_MAX: u64 = 100 << 20;
const MEGABYTE: u64 = 1 << 20;

/// Where the log is, and what is kept of it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// `-`: standard output.
    pub path: PathBuf,
    /// Days that old files are kept, and how many; 0: all.
    pub age_days: u64,
    pub backups: usize,
    /// Megabytes after which the file begins anew; 0: 100.
    pub size_megabytes: u64,
}

/// What the thread is told.
enum Message {
    /// With its share of the bytes that may wait.
    Line(String, OwnedSemaphorePermit),
    /// All that came before is to be written.
    Settle(oneshot::Sender<()>),
}

/// Takes events.
#[derive(Clone)]
pub struct Writer {
    messages: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
}

impl Writer {
    /// Opens the log.
    pub fn open(log: AuditLog) -> io::Result<Self> {
        let mut target = Target::open(log)?;
        let (messages, mut waiting) = mpsc::channel::<Message>(WAITING_MAX);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let mut failed = false;
                while let Some(message) = waiting.blocking_recv() {
                    let (line, _room) = match message {
                        Message::Line(line, room) => (line, room),
                        Message::Settle(done) => {
                            // Who no longer waits needs no answer.
                            let _ = done.send(());
                            continue;
                        }
                    };
                    let written = target.write(&line);
                    // Said once, not for every event of a full disk.
                    if let Err(error) = &written
                        && !failed
                    {
                        tracing::error!(%error, "the audit log cannot be written");
                    }
                    failed = written.is_err();
                }
            })?;
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize));
        Ok(Self { messages, room })
    }

    pub async fn write(&self, line: String) {
        let bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
        // Never closed.
        let room = self.room.clone().acquire_many_owned(bytes.min(WAITING_BYTES_MAX));
        if let Ok(room) = room.await {
            // The thread lives as long as this.
            let _ = self.messages.send(Message::Line(line, room)).await;
        }
    }

    /// Returns when everything is written that was taken before.
    pub async fn settle(&self) {
        let (done, written) = oneshot::channel();
        if self.messages.send(Message::Settle(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

enum Target {
    Output,
    File {
        log: AuditLog,
        file: File,
        size: u64,
        /// Whether the last line may have no end.
        is_torn: bool,
    },
}

impl Target {
    fn open(log: AuditLog) -> io::Result<Self> {
        if log.path == Path::new("-") {
            return Ok(Self::Output);
        }
        if let Some(directory) = log.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = append(&log.path)?;
        let size = file.metadata()?.len();
        Ok(Self::File {
            log,
            file,
            size,
            is_torn: false,
        })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let (log, file, size, is_torn) = match self {
            Self::Output => return writeln!(io::stdout().lock(), "{line}"),
            Self::File {
                log,
                file,
                size,
                is_torn,
            } => (log, file, size, is_torn),
        };
        let length = line.len() as u64 + 1;
        let most = match log.size_megabytes {
            0 => SIZE_MAX,
            megabytes => megabytes * MEGABYTE,
        };
        let mut begun = Ok(());
        if *size > 0 && *size + length > most {
            // Where no other file can be begun the one before goes on.
            match begin_anew(log) {
                Ok(fresh) => (*file, *size, *is_torn) = (fresh, 0, false),
                Err(error) => begun = Err(error),
            }
        }
        let before = if *is_torn { "\n" } else { "" };
        *is_torn = true;
        file.write_all(format!("{before}{line}\n").as_bytes())?;
        *is_torn = false;
        *size += length;
        begun
    }
}

/// Moves the file away, if somebody hasn't, and begins another.
fn begin_anew(log: &AuditLog) -> io::Result<File> {
    match std::fs::rename(&log.path, rotated(&log.path, Timestamp::now())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let fresh = append(&log.path)?;
    forget(log);
    Ok(fresh)
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// `audit.log` becomes `audit-2026-01-02T03-04-05.678.log`.
fn rotated(path: &Path, now: Timestamp) -> PathBuf {
    let now = now
        .to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%dT%H-%M-%S%.3f")
        .to_string();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{now}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{now}"),
    };
    path.with_file_name(name)
}

/// Removes old files beyond what is to be kept.
fn forget(log: &AuditLog) {
    let stem = log
        .path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Some(entries) = log
        .path
        .parent()
        .and_then(|directory| std::fs::read_dir(directory).ok())
    else {
        return;
    };
    let mut old: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            *path != log.path
                && path.extension() == log.path.extension()
                && name
                    .strip_prefix(&format!("{stem}-"))
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    // Names order by time.
    old.sort();
    let too_many = match log.backups {
        0 => 0,
        most => old.len().saturating_sub(most),
    };
    let age = Duration::from_secs(log.age_days * 24 * 3600);
    let too_old = |path: &PathBuf| {
        let written = path.metadata().and_then(|m| m.modified()).ok();
        log.age_days > 0
            && written.is_some_and(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|passed| passed > age)
            })
    };
    for (index, path) in old.iter().enumerate() {
        if index < too_many || too_old(path) {
            // It is tried again with the next.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_taken_is_written_when_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let log = AuditLog {
            path: path.clone(),
            age_days: 0,
            backups: 0,
            size_megabytes: 0,
        };
        let writer = Writer::open(log).unwrap();
        for number in 0..1000 {
            writer.write(number.to_string()).await;
        }
        writer.settle().await;
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1000);
    }

    #[test]
    fn events_are_written_also_where_the_file_cannot_begin_anew_or_was_moved_away() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("logs");
        let path = place.join("audit.log");
        let log = AuditLog {
            path: path.clone(),
            age_days: 0,
            backups: 0,
            size_megabytes: 1,
        };
        let mut target = Target::open(log).unwrap();
        let line = "x".repeat(700 * 1024);
        target.write(&line).unwrap();
        // Somebody else moves files away.
        std::fs::rename(&path, place.join("moved")).unwrap();
        target.write(&line).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), line.len() as u64 + 1);
        // There is no directory to begin another one in.
        let elsewhere = directory.path().join("elsewhere");
        std::fs::rename(&place, &elsewhere).unwrap();
        target.write(&line).unwrap_err();
        let kept = std::fs::read_to_string(elsewhere.join("audit.log")).unwrap();
        assert_eq!(kept.lines().count(), 2, "it is in the file before");
    }

    #[test]
    fn the_file_begins_anew_when_it_is_large_and_the_last_ones_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog {
            path: directory.path().join("logs/audit.log"),
            age_days: 0,
            backups: 2,
            size_megabytes: 1,
        };
        let mut target = Target::open(log.clone()).unwrap();
        let line = "x".repeat(700 * 1024);
        for _ in 0..5 {
            target.write(&line).unwrap();
            // Names carry milliseconds.
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut names: Vec<String> = std::fs::read_dir(directory.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[2], "audit.log");
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(
            rotated(Path::new("/a/audit.log"), now),
            Path::new("/a/audit-2026-01-02T03-04-05.678.log")
        );
    }
}
