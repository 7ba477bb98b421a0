//! What an archive has, and where.
use super::DEPTH_MAX;
use crate::OciError;
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::path::{Component, Path};

/// Most entries of an archive. An image has a few dozen blobs.
const ENTRIES_MAX: usize = 100_000;

/// Where an entry's content lies in the archive, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The table of contents: every file by its name, also by the names of links to it.
pub(super) fn scan<R: Read + Seek>(source: R) -> Result<HashMap<String, Span>, OciError> {
    let not_tar =
        |error: std::io::Error| OciError::Archive(format!("it can't be read as a tar file: {error}"));
    let mut tar = tar::Archive::new(source);
    let (mut entries, mut links) = (HashMap::new(), HashMap::new());
    for entry in tar.entries_with_seek().map_err(not_tar)? {
        let entry = entry.map_err(not_tar)?;
        if entries.len() + links.len() >= ENTRIES_MAX {
            return Err(OciError::Archive(format!(
                "it has more than {ENTRIES_MAX} entries"
            )));
        }
        let kind = entry.header().entry_type();
        let path = entry.path().map_err(not_tar)?;
        let name = path.to_string_lossy();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name().map_err(not_tar)?.unwrap_or_default();
            let base = path.parent().filter(|_| kind.is_symlink());
            links.insert(name, inside(base, &target));
            continue;
        }
        if !kind.is_file() {
            continue;
        }
        entries.insert(
            name,
            Span {
                offset: entry.raw_file_position(),
                size: entry.size(),
            },
        );
    }
    for (name, target) in &links {
        let mut target = target;
        // Where none of them leads to a file, nothing is there by that name.
        for _ in 0..DEPTH_MAX {
            let Some(next) = links.get(target) else { break };
            target = next;
        }
        if let Some(span) = entries.get(target).copied() {
            entries.insert(name.clone(), span);
        }
    }
    Ok(entries)
}

/// The name in the archive of what a link leads to: from the archive's root, or from the directory `base`. Older
/// `docker save` writes a layer that several images share once, and links to it.
fn inside(base: Option<&Path>, target: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in base
        .into_iter()
        .flat_map(Path::components)
        .chain(target.components())
    {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir => parts.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}
