//! Logs of services: out of the journal, or of their own files where they do not write to it.
use super::super::body::{Body, stream, text};
use super::ask::{Ask, Part, Whose, arguments, files_of};
use super::{Shown, show};
use bytes::Bytes;
use http::{Response, StatusCode};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, mpsc};

/// An answer that takes longer ends where it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers at a time: each has a process. Others wait.
static ANSWERS: Semaphore = Semaphore::const_new(8);
/// Bytes of a chunk, chunks that wait to be sent, and bytes of what the program complains of.
const CHUNK: usize = 16 << 10;
const CHUNKS_WAITING_MAX: usize = 4;
const COMPLAINT_MAX: u64 = 4 << 10;

/// A program that reads the journal, with what it is always given.
#[derive(Clone, Debug)]
pub struct Journal {
    program: PathBuf,
    first: Vec<String>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            program: "journalctl".into(),
            first: Vec::new(),
        }
    }
}

/// Where an answer goes; whoever asked may have gone.
type Chunks = mpsc::Sender<Result<Bytes, std::io::Error>>;

impl Journal {
    /// The answer to a query; `None`: it does not ask for a log in this way. A file is the caller's to show: `Err`.
    pub fn answer(self, logs: &Path, query: &str) -> Option<Result<Response<Body>, String>> {
        let Ask { whose, part } = match Ask::parse(query) {
            Ok(ask) => ask?,
            Err(wrong) => return Some(Ok(text(StatusCode::BAD_REQUEST, format!("{wrong}\n")))),
        };
        let services = match whose {
            Whose::File(path) => return Some(Err(path)),
            Whose::Services(services) => services,
        };
        let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
        let logs = logs.to_owned();
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_turn) = ANSWERS.acquire().await else {
                return;
            };
            // Who does not hear the end hears what there was before it.
            let _ = tokio::time::timeout(PATIENCE, self.write(&logs, services, &part, &chunks)).await;
        });
        Some(Ok(stream(receiver)))
    }

    async fn write(&self, logs: &Path, services: Vec<String>, part: &Part, chunks: &Chunks) {
        let (mut in_journal, mut in_files) = (Vec::new(), Vec::new());
        for service in services {
            if self.knows(&service).await {
                in_journal.push(service);
            } else {
                in_files.push(service);
            }
        }
        if !in_journal.is_empty()
            && let Err(error) = self.copy(&arguments(&in_journal, part), chunks).await
        {
            say(chunks, format!("{error}\n")).await;
        }
        if !in_files.is_empty() && *part != Part::default() {
            let names = in_files.join(", ");
            let text = format!("not in the journal, and files are only shown as a whole: {names}\n");
            return say(chunks, text).await;
        }
        for service in in_files {
            let candidates = files_of(logs, &service);
            let read = move || candidates.iter().find_map(|path| content(path));
            let found = tokio::task::spawn_blocking(read).await.ok().flatten();
            say(
                chunks,
                found.unwrap_or_else(|| format!("log not found for {service}\n")),
            )
            .await;
        }
    }

    /// Whether the journal has anything of the service.
    async fn knows(&self, service: &str) -> bool {
        let mut arguments = arguments(&[service.to_owned()], &Part::default());
        arguments.extend(["--quiet", "--lines=1"].map(str::to_owned));
        let Ok(mut child) = self.start(&arguments) else {
            return false;
        };
        let mut first = [0; 1];
        match child.stdout.take() {
            Some(mut stdout) => stdout.read(&mut first).await.is_ok_and(|read| read > 0),
            None => false,
        }
    }

    fn start(&self, arguments: &[String]) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.first)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Hands on what the program says.
    async fn copy(&self, arguments: &[String], chunks: &Chunks) -> std::io::Result<()> {
        let mut child = self.start(arguments)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let hear = async {
            let mut complaint = Vec::new();
            if let Some(mut stderr) = stderr {
                (&mut stderr)
                    .take(COMPLAINT_MAX)
                    .read_to_end(&mut complaint)
                    .await?;
                // One that says more is not to wait for a reader.
                tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
            }
            std::io::Result::Ok(complaint)
        };
        let hand_on = async {
            let Some(mut stdout) = stdout else { return Ok(()) };
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = stdout.read(&mut chunk).await?;
                if read == 0 {
                    return Ok(());
                }
                let bytes = Bytes::copy_from_slice(&chunk[..read]);
                if chunks.send(Ok(bytes)).await.is_err() {
                    return Err(std::io::Error::other("nobody listens any more"));
                }
            }
        };
        let (complaint, ()) = tokio::try_join!(hear, hand_on)?;
        if child.wait().await?.success() {
            return Ok(());
        }
        Err(std::io::Error::other(
            String::from_utf8_lossy(&complaint).trim().to_owned(),
        ))
    }
}

async fn say(chunks: &Chunks, text: String) {
    let _ = chunks.send(Ok(Bytes::from(text))).await;
}

fn content(path: &Path) -> Option<String> {
    match show(path).ok()? {
        Shown::File(content) => Some(content),
        Shown::Directory(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body::read;

    /// A journal that has logs of the service `known` only, and tells how it was asked.
    fn journal() -> Journal {
        let script = "case \"$*\" in *--unit=known*) ;; *) exit 0 ;; esac; \
                      case \"$*\" in *--grep=broken*) echo 'bad pattern' >&2; exit 1 ;; esac; \
                      for word in \"$@\"; do echo \"$word\"; done";
        Journal {
            program: "/bin/sh".into(),
            first: ["-c", script, "journalctl"].map(str::to_owned).to_vec(),
        }
    }

    async fn asked(logs: &Path, query: &str) -> (u16, String) {
        read(journal().answer(logs, query).unwrap().unwrap()).await
    }

    #[tokio::test]
    async fn logs_come_out_of_the_journal_or_of_files() {
        let logs = tempfile::tempdir().unwrap();
        let journal = "--utc\n--no-pager\n--output=short-precise\n--unit=known\n";
        assert_eq!(asked(logs.path(), "query=known").await, (200, journal.to_owned()));
        let with = format!("{journal}--lines=5\n--grep=a b\n");
        assert_eq!(
            asked(logs.path(), "query=known&pattern=a+b&tailLines=5").await,
            (200, with)
        );
        assert_eq!(
            asked(logs.path(), "query=known&pattern=broken").await.1,
            "bad pattern\n"
        );
        let (_, text) = asked(logs.path(), "query=other").await;
        assert_eq!(text, "log not found for other\n");
        std::fs::create_dir(logs.path().join("other")).unwrap();
        std::fs::write(logs.path().join("other/other.log"), "nested\n").unwrap();
        assert_eq!(asked(logs.path(), "query=other").await.1, "nested\n");
        std::fs::write(logs.path().join("other.log"), "beside\n").unwrap();
        let (_, both) = asked(logs.path(), "query=other&query=known").await;
        assert_eq!(both, format!("{journal}beside\n"));
        let (_, text) = asked(logs.path(), "query=other&tailLines=1").await;
        assert!(text.contains("only shown as a whole: other"), "{text}");
        assert_eq!(asked(logs.path(), "query=a/b").await.0, 400);
    }

    #[tokio::test]
    async fn a_machine_without_a_journal_has_files() {
        let logs = tempfile::tempdir().unwrap();
        std::fs::write(logs.path().join("kubelet.log"), "line\n").unwrap();
        let none = Journal {
            program: "/nowhere/journalctl".into(),
            first: Vec::new(),
        };
        let answer = none.answer(logs.path(), "query=kubelet").unwrap().unwrap();
        assert_eq!(read(answer).await.1, "line\n");
        assert!(Journal::default().answer(logs.path(), "").is_none());
        let file = Journal::default().answer(logs.path(), "query=/x.log").unwrap();
        assert_eq!(file.err().as_deref(), Some("/x.log"));
    }
}
