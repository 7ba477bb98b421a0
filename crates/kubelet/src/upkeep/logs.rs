//! Rotation of container logs (contract, node agent §13.1): of containers that run; what a dead one left is removed with
//! it.
use crate::beat;
use crate::config::KubeletConfiguration;
use crate::pods::PodsHandle;
use crate::runtime::sandbox::log_directory;
use crate::stats::running;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Zoned;
use orlop_api::quantity::parse;
use orlop_cri::RuntimeService;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The shortest period that the configuration may ask for.
pub const PERIOD_MIN: Duration = Duration::from_secs(3);

/// How logs are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A log of this many bytes is moved away.
    pub bytes: u64,
    /// Files of one run, the current one included.
    pub files: usize,
}

impl Limits {
    /// `containerLogMaxSize` and `containerLogMaxFiles`; `None`: a size below zero turns rotation off.
    pub fn of(configuration: &KubeletConfiguration) -> Option<Self> {
        let size = parse(&configuration.container_log_max_size).ok()?.value();
        Some(Self {
            bytes: u64::try_from(size).ok()?,
            files: usize::try_from(configuration.container_log_max_files).unwrap_or(2),
        })
    }
}

/// Looks at the logs of running containers, for ever.
pub async fn run(
    runtime: Arc<dyn RuntimeService>,
    pods: PodsHandle,
    pod_logs: PathBuf,
    limits: Limits,
    period: Duration,
) {
    loop {
        beat::next(period.max(PERIOD_MIN)).await;
        for record in pods.list() {
            for (status, id, _) in running(&record.pod) {
                let directory = log_directory(&pod_logs, &record.pod).join(&status.name);
                let log = directory.join(format!("{}.log", status.restart_count));
                if let Err(error) = look_at(&*runtime, id, &log, limits).await {
                    tracing::warn!(log = %log.display(), %error, "cannot rotate a container's log");
                }
            }
        }
    }
}

async fn look_at(runtime: &dyn RuntimeService, id: &str, log: &Path, limits: Limits) -> io::Result<()> {
    let size = match std::fs::metadata(log) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Somebody removed it: the runtime writes into nothing until it opens another.
            return runtime.reopen_container_log(id).await.map_err(io::Error::other);
        }
        Err(error) => return Err(error),
    };
    if size < limits.bytes {
        return Ok(());
    }
    rotate(runtime, id, log, limits).await
}

async fn rotate(runtime: &dyn RuntimeService, id: &str, log: &Path, limits: Limits) -> io::Result<()> {
    let (log, now) = (log.to_path_buf(), Zoned::now());
    let moved = {
        let log = log.clone();
        // Compressing takes its time.
        tokio::task::spawn_blocking(move || move_away(&log, limits.files, &now))
            .await
            .map_err(io::Error::other)??
    };
    if let Err(error) = runtime.reopen_container_log(id).await {
        std::fs::rename(&moved, &log)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Makes room among the old files, and moves the current one to them.
fn move_away(log: &Path, files_max: usize, now: &Zoned) -> io::Result<PathBuf> {
    let directory = log.parent().unwrap_or(Path::new("/"));
    let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = std::fs::read_dir(directory)?.flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let plan = plan(&name, names, files_max);
    for old in &plan.remove {
        std::fs::remove_file(directory.join(old))?;
    }
    for old in &plan.compress {
        let old = directory.join(old);
        // On a full disk above all the log must not grow on: what is not compressed goes when its turn comes.
        if let Err(error) = compress(&old) {
            tracing::warn!(file = %old.display(), %error, "an old log is not compressed");
        }
    }
    let moved = directory.join(format!("{name}.{}", now.strftime("%Y%m%d-%H%M%S")));
    std::fs::rename(log, &moved)?;
    Ok(moved)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    remove: Vec<String>,
    compress: Vec<String>,
}

/// What becomes of the old files of the log `name` before the current one joins them.
fn plan(name: &str, mut names: Vec<String>, files_max: usize) -> Plan {
    let prefix = format!("{name}.");
    names.retain(|found| found.starts_with(&prefix));
    let (unfinished, mut old): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|found| found.ends_with(".tmp"));
    // Of a file and its compressed self, the compressing did not end.
    let twice = |found: &String| old.contains(&format!("{found}.gz"));
    let mut remove: Vec<String> = old.iter().filter(|found| twice(found)).cloned().collect();
    old.retain(|found| !remove.contains(found));
    remove.extend(unfinished);
    // Their names end in times: the newest is the last.
    old.sort();
    let kept = files_max.saturating_sub(2);
    let gone = old.len().saturating_sub(kept);
    remove.extend(old.drain(..gone));
    // The one that is moved away now stays as it is: somebody may be reading it.
    let compress = old.into_iter().filter(|found| !found.ends_with(".gz")).collect();
    Plan { remove, compress }
}

/// Into `<name>.gz`, which is whole as soon as it has its name.
fn compress(path: &Path) -> io::Result<()> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (unfinished, mut log) = (with(".tmp"), File::open(path)?);
    let mut written = || -> io::Result<()> {
        let file = File::create(&unfinished)?;
        // Who may read it is for whoever made the log to say.
        file.set_permissions(log.metadata()?.permissions())?;
        let mut writer = GzEncoder::new(file, Compression::default());
        io::copy(&mut log, &mut writer)?;
        writer.finish()?;
        std::fs::rename(&unfinished, with(".gz"))
    };
    if let Err(error) = written() {
        // It would only take room.
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeRuntime;
    use std::io::Read;

    const LIMITS: Limits = Limits { bytes: 10, files: 3 };

    #[test]
    fn g08_old_files_are_compressed_and_never_exceed_their_number() {
        let names = [
            "0.log",
            "0.log.20260101-000001.gz",
            "0.log.20260101-000002",
            "0.log.20260101-000002.gz",
            "0.log.20260101-000003",
            "0.log.20260101-000004",
            "0.log.20260101-000000.tmp",
            "1.log.20260101-000000",
        ];
        let plan = plan("0.log", names.map(str::to_owned).to_vec(), 4);
        assert_eq!(
            plan.remove,
            [
                "0.log.20260101-000002",
                "0.log.20260101-000000.tmp",
                "0.log.20260101-000001.gz",
                "0.log.20260101-000002.gz",
            ]
        );
        assert_eq!(plan.compress, ["0.log.20260101-000003", "0.log.20260101-000004"]);
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn g08_full_log_is_moved_away_and_the_runtime_told() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        let runtime = FakeRuntime::default();
        std::fs::write(&log, "short").unwrap();
        look_at(&runtime, "id", &log, LIMITS).await.unwrap();
        assert_eq!(files(dir.path()), ["0.log"]);
        std::fs::write(dir.path().join("0.log.20200101-000000"), "the oldest").unwrap();
        std::fs::write(&log, "long enough to go").unwrap();
        look_at(&runtime, "id", &log, LIMITS).await.unwrap();
        let found = files(dir.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "0.log.20200101-000000.gz");
        assert!(found[1].starts_with("0.log.2") && !found[1].ends_with(".gz"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(dir.path().join(&found[0])).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "the oldest");
        assert_eq!(runtime.calls(), ["ReopenContainerLog id"]);
    }

    #[test]
    fn compressed_log_is_for_those_who_could_read_it_before() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log.20260101-000000");
        std::fs::write(&log, "words").unwrap();
        std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o640)).unwrap();
        compress(&log).unwrap();
        assert_eq!(files(dir.path()), ["0.log.20260101-000000.gz"]);
        let compressed = dir.path().join("0.log.20260101-000000.gz");
        let mode = std::fs::metadata(compressed).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[tokio::test]
    async fn g08_log_is_moved_away_though_an_old_one_cannot_be_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        let old = dir.path().join("0.log.20200101-000000");
        std::fs::write(&old, "the oldest").unwrap();
        // In the way of what the compressed one is called.
        std::fs::create_dir_all(dir.path().join("0.log.20200101-000000.gz/x")).unwrap();
        std::fs::write(&log, "long enough to go").unwrap();
        let runtime = FakeRuntime::default();
        let error = compress(&old).unwrap_err();
        assert!(old.exists(), "{error}");
        let left = files(dir.path());
        assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
        std::fs::remove_dir_all(dir.path().join("0.log.20200101-000000.gz")).unwrap();
        // A directory in its place can neither be read nor compressed.
        std::fs::remove_file(&old).unwrap();
        std::fs::create_dir(&old).unwrap();
        look_at(&runtime, "id", &log, LIMITS).await.unwrap();
        assert_eq!(runtime.calls(), ["ReopenContainerLog id"]);
        assert!(!log.exists());
    }

    #[tokio::test]
    async fn log_comes_back_when_the_runtime_does_not_reopen_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        let runtime = FakeRuntime::default();
        runtime.failing.lock().push("ReopenContainerLog".into());
        std::fs::write(&log, "long enough to go").unwrap();
        look_at(&runtime, "id", &log, LIMITS).await.unwrap_err();
        assert_eq!(files(dir.path()), ["0.log"]);
    }

    #[tokio::test]
    async fn missing_log_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::default();
        let log = dir.path().join("0.log");
        look_at(&runtime, "id", &log, LIMITS).await.unwrap();
        assert_eq!(runtime.calls(), ["ReopenContainerLog id"]);
    }
}
