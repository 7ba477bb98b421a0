//! One `orlop` per root: a locked file that names the holder.
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The lock; released when dropped or when the process ends, however it ends.
pub struct NodeLock(#[allow(dead_code)] Flock<File>);

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another orlop (pid {pid}) runs under this root ({path} is locked). \
         Stop it with `orlop down`, or choose another --root"
    )]
    Held { pid: i32, path: PathBuf },
    #[error("cannot lock {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

fn open(path: &Path) -> Result<File, LockError> {
    let fail = |source| LockError::Io {
        path: path.to_path_buf(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(fail)
}

fn read_pid(mut file: &File) -> i32 {
    let mut text = String::new();
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.trim().parse().unwrap_or(0)
}

impl NodeLock {
    /// Takes the lock and writes this process's id into it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let file = open(path)?;
        let mut file =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, _)| LockError::Held {
                pid: read_pid(&file),
                path: path.to_path_buf(),
            })?;
        let fail = |source| LockError::Io {
            path: path.to_path_buf(),
            source,
        };
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        write!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self(file))
    }

    /// The process that holds the lock, if one does.
    pub fn holder(path: &Path) -> Result<Option<i32>, LockError> {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(source) => {
                return Err(LockError::Io {
                    path: path.to_path_buf(),
                    source,
                });
            }
        }
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(_) => Ok(None),
            Err((file, _)) => Ok(Some(read_pid(&file))),
        }
    }

    /// Returns once nobody holds the lock. Blocks.
    pub fn wait_released(path: &Path) -> Result<(), LockError> {
        let file = open(path)?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map(drop)
            .map_err(|(_, errno)| LockError::Io {
                path: path.to_path_buf(),
                source: errno.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/orlop.pid");
        assert_eq!(NodeLock::holder(&path).unwrap(), None);
        let lock = NodeLock::take(&path).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(NodeLock::holder(&path).unwrap(), Some(me));
        let refused = NodeLock::take(&path).err().unwrap().to_string();
        assert!(refused.contains(&format!("pid {me}")), "{refused}");
        drop(lock);
        assert_eq!(NodeLock::holder(&path).unwrap(), None);
    }
}
