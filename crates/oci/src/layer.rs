//! The file tree of an image, written as one deterministic layer.

use crate::OciError;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One thing at a path.
#[derive(Debug, Clone)]
enum Entry {
    Directory { mode: u32 },
    Symlink { target: String },
    Bytes { content: Vec<u8>, mode: u32 },
    HostFile { source: PathBuf, mode: u32 },
}

/// A file tree under construction. Entries are kept sorted and carry no times, so that the same tree is the same layer.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

/// Directories that a merged-`/usr` Debian has as links; images made from its files follow it, so that both
/// `/bin/sh` and `/usr/bin/sh` are found and the dynamic loader's fixed path works.
const MERGED_DIRECTORIES: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Layer {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the links `/bin`, `/sbin`, `/lib`, `/lib64` into `/usr`. Paths given under them are put where the links point.
    pub fn merged_usr(&mut self) -> &mut Self {
        for name in MERGED_DIRECTORIES {
            self.entries.insert(
                name.to_owned(),
                Entry::Symlink {
                    target: format!("usr/{name}"),
                },
            );
            self.add_directory_if_new(&format!("usr/{name}"));
        }
        self
    }

    /// A directory with its mode; parents appear by themselves as 0755.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<&mut Self, OciError> {
        let path = self.place(path)?;
        self.entries.insert(path, Entry::Directory { mode });
        Ok(self)
    }

    /// A file with the given content.
    pub fn file(
        &mut self,
        path: &str,
        content: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Result<&mut Self, OciError> {
        let path = self.place(path)?;
        self.entries.insert(
            path,
            Entry::Bytes {
                content: content.into(),
                mode,
            },
        );
        Ok(self)
    }

    /// A copy of a file of this machine (links followed), with its permissions. Read when the layer is written.
    pub fn host_file(&mut self, path: &str, source: &Path) -> Result<&mut Self, OciError> {
        let real = source.canonicalize().map_err(OciError::file("reading", source))?;
        let metadata = real.metadata().map_err(OciError::file("reading", &real))?;
        let path = self.place(path)?;
        self.entries.insert(
            path,
            Entry::HostFile {
                source: real,
                mode: metadata.permissions().mode() & 0o7777,
            },
        );
        Ok(self)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self, OciError> {
        let path = self.place(path)?;
        self.entries.insert(
            path,
            Entry::Symlink {
                target: target.to_owned(),
            },
        );
        Ok(self)
    }

    /// Whether something is at this path already.
    pub fn contains(&self, path: &str) -> bool {
        self.inside(path)
            .is_ok_and(|path| self.entries.contains_key(&path))
    }

    /// Paths of all entries, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The layer as an uncompressed tar.
    pub fn to_tar(&self) -> Result<Vec<u8>, OciError> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            match entry {
                Entry::Directory { mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(*mode);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
                }
                Entry::Symlink { target } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    tar.append_link(&mut header, path, target)
                }
                Entry::Bytes { content, mode } => {
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())
                }
                Entry::HostFile { source, mode } => {
                    let content = std::fs::read(source).map_err(OciError::file("reading", source))?;
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())
                }
            }
            .map_err(OciError::Tar)?;
        }
        tar.into_inner().map_err(OciError::Tar)
    }

    /// Where a path goes in the tree, with its parents made.
    fn place(&mut self, path: &str) -> Result<String, OciError> {
        let path = self.inside(path)?;
        for (index, _) in path.match_indices('/') {
            self.add_directory_if_new(&path[..index]);
        }
        Ok(path)
    }

    fn inside(&self, path: &str) -> Result<String, OciError> {
        let refuse = || OciError::ImagePath(path.to_owned());
        let relative = path.strip_prefix('/').ok_or_else(refuse)?;
        let parts: Vec<&str> = relative
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if parts.is_empty() || parts.contains(&"..") {
            return Err(refuse());
        }
        let first_is_link = parts.len() > 1
            && MERGED_DIRECTORIES.contains(&parts[0])
            && matches!(self.entries.get(parts[0]), Some(Entry::Symlink { .. }));
        let joined = parts.join("/");
        Ok(if first_is_link {
            format!("usr/{joined}")
        } else {
            joined
        })
    }

    fn add_directory_if_new(&mut self, path: &str) {
        for (index, _) in path.match_indices('/') {
            self.entries
                .entry(path[..index].to_owned())
                .or_insert(Entry::Directory { mode: 0o755 });
        }
        self.entries
            .entry(path.to_owned())
            .or_insert(Entry::Directory { mode: 0o755 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tar: &[u8]) -> Vec<String> {
        tar::Archive::new(tar)
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn parents_come_first_and_order_does_not_depend_on_insertion() {
        let mut one = Layer::new();
        one.file("/etc/b", "b", 0o644).unwrap();
        one.file("/etc/a", "a", 0o600).unwrap();
        let mut two = Layer::new();
        two.file("/etc/a", "a", 0o600).unwrap();
        two.file("/etc/b", "b", 0o644).unwrap();
        assert_eq!(one.to_tar().unwrap(), two.to_tar().unwrap());
        assert_eq!(names(&one.to_tar().unwrap()), ["etc/", "etc/a", "etc/b"]);
    }

    #[test]
    fn merged_usr_puts_programs_behind_the_links() {
        let mut layer = Layer::new();
        layer.merged_usr();
        layer.file("/bin/tool", "x", 0o755).unwrap();
        assert!(layer.contains("/usr/bin/tool"));
        assert!(layer.contains("/bin/tool"));
        assert!(layer.paths().any(|path| path == "lib64"));
    }

    #[test]
    fn paths_leaving_the_image_are_refused() {
        let mut layer = Layer::new();
        for path in ["relative", "/../etc/passwd", "/", "/a/../../b"] {
            assert!(layer.file(path, "", 0o644).is_err(), "{path}");
        }
    }
}
