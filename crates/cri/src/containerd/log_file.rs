//! containerd's output file and its size.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Above this the file is moved aside. Some weeks of a busy node.
pub(super) const SIZE_MAX: u64 = 8 * 1024 * 1024;
/// What is read back to explain a failed start.
const TAIL_SIZE: u64 = 64 * 1024;

/// Opens the file for appending; an overlong one is kept as `<name>.1` first.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    if path.metadata().is_ok_and(|found| found.len() > SIZE_MAX) {
        std::fs::rename(path, previous(path))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Cuts a file that containerd has open: copied aside, then emptied. containerd appends, so it goes on at the start.
pub(super) fn cut(path: &Path) -> std::io::Result<bool> {
    if path.metadata()?.len() <= SIZE_MAX {
        return Ok(false);
    }
    std::fs::copy(path, previous(path))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

/// The line of the last run that explains its failure best, or just the last.
pub(super) fn last_words(path: &Path) -> String {
    let mut text = Vec::new();
    let _ = File::open(path).and_then(|mut file| {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_SIZE)))?;
        file.read_to_end(&mut text)
    });
    let text = String::from_utf8_lossy(&text);
    let last_run = text.rfind(r#"msg="starting containerd""#).unwrap_or(0);
    let lines = || text[last_run..].lines().filter(|line| !line.trim().is_empty());
    lines()
        .find(|line| line.starts_with("containerd:") || line.contains("level=fatal"))
        // The first plugin that fails takes the others with it.
        .or_else(|| lines().find(|line| line.contains("failed to load plugin")))
        .or_else(|| lines().find(|line| line.contains("level=error")))
        .or_else(|| lines().next_back())
        .unwrap_or("nothing")
        .to_owned()
}

fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlong_log_is_cut_while_open_and_appending_goes_on() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("containerd.log");
        let mut log = open(&path).unwrap();
        log.write_all(b"early\n").unwrap();
        assert!(!cut(&path).unwrap());
        log.write_all(&vec![b'x'; usize::try_from(SIZE_MAX).unwrap()])
            .unwrap();
        assert!(cut(&path).unwrap());
        log.write_all(b"late\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"late\n");
        assert!(previous(&path).metadata().unwrap().len() > SIZE_MAX);
    }

    #[test]
    fn last_words_are_of_the_last_run_and_name_the_first_plugin_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(
            &path,
            concat!(
                "level=error msg=\"old\"\nlevel=info msg=\"starting containerd\"\n",
                "level=warning msg=\"failed to load plugin bolt\"\n",
                "level=warning msg=\"failed to load plugin cri\"\nlevel=info msg=booted\n",
            ),
        )
        .unwrap();
        assert!(last_words(&path).ends_with("plugin bolt\""));
    }

    #[test]
    fn last_words_are_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(
            &path,
            "level=info msg=a\ncontainerd: bad config\nlevel=info msg=b\n\n",
        )
        .unwrap();
        assert_eq!(last_words(&path), "containerd: bad config");
        assert_eq!(last_words(&dir.path().join("none")), "nothing");
    }
}
