//! Where a shim listens: beside containerd's socket, written down in the bundle of each of its containers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Error, Result};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// In the bundle.
const FILE: &str = "address";
const SCHEME: &str = "unix://";

/// Directory of the sockets. Containerd's own socket and its suffix are longer than a name in here.
pub fn directory(containerd: &Path) -> PathBuf {
    containerd.parent().unwrap_or(Path::new("/")).join("s")
}

/// The socket for a bundle.
pub fn socket(containerd: &Path, bundle: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    bundle.hash(&mut hasher);
    directory(containerd).join(format!("{:016x}", hasher.finish()))
}

/// What is written down for a socket.
pub fn of(socket: &Path) -> String {
    format!("{SCHEME}{}", socket.display())
}

/// The socket a bundle's shim listens on.
pub fn noted(bundle: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(bundle.join(FILE)).ok()?;
    text.trim().strip_prefix(SCHEME).map(PathBuf::from)
}

/// Writes a socket down; whole or not at all.
pub fn note(bundle: &Path, socket: &Path) -> Result<()> {
    let partial = bundle.join(".address");
    std::fs::write(&partial, of(socket))?;
    std::fs::rename(partial, bundle.join(FILE))
}

/// The socket of another container of the same pod, if its shim (ours or upstream's: both take this call) lives.
pub fn of_group(bundle: &Path, group: &str) -> Option<PathBuf> {
    // A name of containerd's, but it decides on a path.
    if group.is_empty() || group.contains('/') || group.starts_with('.') {
        return None;
    }
    let socket = noted(&bundle.parent()?.join(group))?;
    is_alive(&socket).then_some(socket)
}

pub fn is_alive(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Forgets a socket whose shim has died.
pub fn forget(bundle: &Path) {
    if let Some(socket) = noted(bundle)
        && !is_alive(&socket)
    {
        let _ = std::fs::remove_file(socket);
    }
}

/// Says which path an error is about.
pub fn at(path: &Path) -> impl FnOnce(Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::new(error.kind(), format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn sockets_lie_beside_containerds_and_are_no_longer() {
        let containerd = Path::new("/run/orlop/containerd.sock");
        let one = socket(containerd, Path::new("/b/one"));
        assert!(one.starts_with("/run/orlop/s"), "{}", one.display());
        assert_ne!(one, socket(containerd, Path::new("/b/two")));
        assert!(one.as_os_str().len() <= "/run/orlop/containerd.sock.ttrpc".len());
    }

    #[test]
    fn container_joins_the_living_shim_of_its_pod_whoever_made_it() {
        let state = tempfile::tempdir().unwrap();
        let (sandbox, container) = (state.path().join("s"), state.path().join("c"));
        std::fs::create_dir_all(&sandbox).unwrap();
        std::fs::create_dir_all(&container).unwrap();
        assert_eq!(of_group(&container, "s"), None, "nothing noted");
        let socket = state.path().join("socket");
        note(&sandbox, &socket).unwrap();
        assert_eq!(of_group(&container, "s"), None, "nobody listens");
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(of_group(&container, "s"), Some(socket.clone()));
        assert_eq!(of_group(&container, "../s"), None);
        assert_eq!(of_group(&container, ""), None);
        forget(&sandbox);
        assert!(socket.exists(), "it lives");
        drop(listener);
        forget(&sandbox);
        assert!(!socket.exists());
    }
}
