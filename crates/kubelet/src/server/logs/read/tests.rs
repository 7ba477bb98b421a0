use super::*;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;

fn line(second: u32, text: &str) -> String {
    format!("2026-01-02T03:04:{second:02}.0Z stdout F {text}\n")
}

fn ended() -> Running {
    Box::new(|| Box::pin(async { false }))
}

async fn read(content: &str, query: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, content).unwrap();
    let (sender, mut receiver) = mpsc::channel(64);
    copy(
        File::open(&path).unwrap(),
        path,
        Options::parse(query).unwrap(),
        ended(),
        sender,
    )
    .await;
    let mut all = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}

/// A followed log whose container runs until told otherwise.
struct Followed {
    dir: tempfile::TempDir,
    runs: Arc<AtomicBool>,
    chunks: mpsc::Receiver<Chunk>,
    task: JoinHandle<()>,
}

impl Followed {
    fn new(content: &str, query: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, content).unwrap();
        let (sender, chunks) = mpsc::channel(64);
        let runs = Arc::new(AtomicBool::new(true));
        let asked = runs.clone();
        let running: Running = Box::new(move || {
            let runs = asked.load(Ordering::SeqCst);
            Box::pin(async move { runs })
        });
        let file = File::open(&path).unwrap();
        let task = tokio::spawn(copy(file, path, Options::parse(query).unwrap(), running, sender));
        Self {
            dir,
            runs,
            chunks,
            task,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("0.log")
    }

    fn append(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path())
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn expect(&mut self, text: &str) {
        let mut got = Vec::new();
        while got.len() < text.len() {
            let chunk = tokio::time::timeout(Duration::from_secs(5), self.chunks.recv())
                .await
                .unwrap();
            got.extend_from_slice(&chunk.unwrap().unwrap());
        }
        assert_eq!(String::from_utf8(got).unwrap(), text);
    }

    /// The stream ends without more text.
    async fn ends(mut self) {
        let last = tokio::time::timeout(Duration::from_secs(5), self.chunks.recv())
            .await
            .unwrap();
        assert!(last.is_none(), "{last:?}");
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn n09_tail_since_and_limit_of_a_file() {
    let content: String = (0..5).map(|n| line(n, &format!("l{n}"))).collect();
    for (query, expected) in [
        ("", "l0\nl1\nl2\nl3\nl4\n"),
        ("tailLines=2", "l3\nl4\n"),
        ("tailLines=0", ""),
        ("tailLines=99", "l0\nl1\nl2\nl3\nl4\n"),
        ("sinceTime=2026-01-02T03:04:03Z", "l3\nl4\n"),
        ("tailLines=3&limitBytes=4", "l2\nl"),
        (
            "tailLines=1&timestamps=true",
            "2026-01-02T03:04:04.000000000Z l4\n",
        ),
    ] {
        assert_eq!(read(&content, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn line_longer_than_a_block_does_not_end_the_copy() {
    let text = "x".repeat(3 * BLOCK);
    let content = format!("{}{}", line(1, &text), line(2, "after"));
    assert_eq!(read(&content, "").await, format!("{text}\nafter\n"));
}

#[tokio::test]
async fn n09_followed_lines_come_as_they_are_written_until_the_container_ends() {
    let mut log = Followed::new(&line(1, "a"), "follow=true");
    log.expect("a\n").await;
    log.append(&line(2, "b"));
    log.expect("b\n").await;
    log.append(&line(3, "last words"));
    log.runs.store(false, Ordering::SeqCst);
    log.expect("last words\n").await;
    log.ends().await;
}

#[tokio::test]
async fn g08_following_survives_rotation_and_loses_nothing() {
    let mut log = Followed::new(&line(1, "a"), "follow=true");
    log.expect("a\n").await;
    // The runtime goes on writing to the file that was moved away until it is told to reopen it.
    let mut old = std::fs::OpenOptions::new().append(true).open(log.path()).unwrap();
    std::fs::rename(log.path(), log.dir.path().join("0.log.20260102-030405")).unwrap();
    old.write_all(line(2, "b").as_bytes()).unwrap();
    log.append(&line(3, "c"));
    log.expect("b\nc\n").await;
    log.append(&line(4, "d"));
    log.expect("d\n").await;
    log.runs.store(false, Ordering::SeqCst);
    log.ends().await;
}

#[tokio::test]
async fn following_ends_at_the_limit_and_with_its_reader() {
    let mut log = Followed::new(&line(1, "a"), "follow=true&limitBytes=3");
    log.expect("a\n").await;
    log.append(&line(2, "b"));
    log.expect("b").await;
    log.ends().await;

    let mut log = Followed::new(&line(1, "a"), "follow=true");
    log.expect("a\n").await;
    drop(log.chunks);
    tokio::time::timeout(Duration::from_secs(5), log.task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn log_that_cannot_be_listened_to_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, line(1, "one")).unwrap();
    let file = File::open(&path).unwrap();
    drop(dir);
    let (sender, mut chunks) = mpsc::channel(64);
    copy(
        file,
        path,
        Options::parse("follow=true").unwrap(),
        ended(),
        sender,
    )
    .await;
    assert_eq!(chunks.recv().await.unwrap().unwrap(), "one\n");
    assert!(chunks.recv().await.is_none());
}
