//! One `orlop` per root: a locked file that names the holder. One node agent per directory of an agent: that is locked itself.
use crate::paths::Root;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an agent that was told to end has for that: who starts the next one need not wait for it.
const ENDING_PATIENCE: Duration = Duration::from_secs(1);
/// How often the lock is tried meanwhile: that it is free the kernel tells only to who blocks a thread for it.
const TRIED_EVERY: Duration = Duration::from_millis(50);

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
    #[error(
        "another node agent{who} works in {directory}. Stop it (`orlop down`, if it is that of `orlop up`), \
         or choose another --root-dir",
        who = in_brackets(.pid)
    )]
    AgentHeld {
        /// `None`: the kernel doesn't tell.
        pid: Option<i32>,
        directory: PathBuf,
    },
    #[error("cannot lock {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

fn in_brackets(pid: &Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
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

/// That no other agent works in a directory (`--root-dir`): two would undo each other's work. Released when dropped or when
/// the process ends, however it ends. The directory itself is locked: nothing has to be written, for which a disk may be too
/// full, and nothing is left of an agent that is killed.
pub struct AgentLock(#[allow(dead_code)] Option<Flock<File>>);

impl AgentLock {
    /// Takes the lock of a directory that is there.
    pub async fn take(directory: &Path) -> Result<Self, LockError> {
        let until = Instant::now() + ENDING_PATIENCE;
        loop {
            match Self::try_take(directory) {
                Err(LockError::AgentHeld { .. }) if Instant::now() < until => {
                    tokio::time::sleep(TRIED_EVERY).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The same for the agent of a whole node. Where another `orlop up` runs under the root, it is that which is named.
    pub async fn take_under(root: &Root, directory: &Path) -> Result<Self, LockError> {
        match Self::take(directory).await {
            Err(LockError::AgentHeld { pid, directory }) => {
                let path = root.pid_file();
                Err(match NodeLock::holder(&path)? {
                    Some(pid) => LockError::Held { pid, path },
                    None => LockError::AgentHeld { pid, directory },
                })
            }
            outcome => outcome,
        }
    }

    fn try_take(directory: &Path) -> Result<Self, LockError> {
        let file = File::open(directory).map_err(|source| LockError::Io {
            path: directory.to_path_buf(),
            source,
        })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(Some(lock))),
            Err((file, Errno::EAGAIN)) => Err(LockError::AgentHeld {
                pid: holder_of(&file),
                directory: directory.to_path_buf(),
            }),
            Err((_, error)) => {
                // Some file systems of networks lock no directories: no reason to be without an agent.
                let directory = directory.display();
                tracing::warn!(%directory, %error, "the agent's directory is not locked against a second agent");
                Ok(Self(None))
            }
        }
    }
}

/// The process that has locked a file, if the kernel tells.
fn holder_of(file: &File) -> Option<i32> {
    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let place = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, _, pid, at, ..] if *at == place => pid.parse().ok().filter(|pid: &i32| *pid > 0),
            _ => None,
        }
    })
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

    #[tokio::test]
    async fn second_agent_in_a_directory_is_refused_until_the_first_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
        for directory in [&mine, &other] {
            std::fs::create_dir(directory).unwrap();
        }
        let lock = AgentLock::take(&mine).await.unwrap();
        let _beside = AgentLock::take(&other).await.unwrap();
        let refused = AgentLock::take(&mine).await.err().unwrap().to_string();
        let place = mine.display().to_string();
        assert!(
            refused.starts_with("another node agent") && refused.contains(&place),
            "{refused}"
        );
        assert!(std::fs::read_dir(&mine).unwrap().next().is_none());
        // One that is just ending is waited for.
        let ending = async {
            tokio::time::sleep(TRIED_EVERY * 2).await;
            drop(lock);
        };
        let (again, ()) = tokio::join!(AgentLock::take(&mine), ending);
        drop(again.unwrap());
        let nowhere = AgentLock::take(&dir.path().join("nowhere")).await.err().unwrap();
        assert!(matches!(nowhere, LockError::Io { .. }), "{nowhere}");
    }

    #[tokio::test]
    async fn whole_node_names_the_other_one_rather_than_the_agent_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path())).unwrap();
        let directory = root.kubelet();
        std::fs::create_dir_all(&directory).unwrap();
        let _agent = AgentLock::take_under(&root, &directory).await.unwrap();
        let refused = AgentLock::take_under(&root, &directory).await.err().unwrap();
        assert!(matches!(refused, LockError::AgentHeld { .. }), "{refused}");
        let _node = NodeLock::take(&root.pid_file()).unwrap();
        let refused = AgentLock::take_under(&root, &directory).await.err().unwrap();
        assert!(matches!(refused, LockError::Held { .. }), "{refused}");
    }
}
