//! The files as last read: a pure step from one reading to the next, but for the reading itself.
use super::super::fault::{Fault, is_news};
use super::super::merge::means_the_same;
use super::super::report::{Report, Reports};
use super::super::{Snapshot, Source, placeholder, received};
use super::leftover;
use super::{FileSource, Scope};
use k8s_openapi::api::core::v1::Pod;
use orlop_api::manifest::{self, LocalObject, MANIFEST_BYTES_MAX, StaticOrigin};
use orlop_api::pod::{full_name, uid};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file last gave.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Identity of the content that was last looked at.
    digest: Option<u128>,
    /// The last good pod.
    pod: Option<Arc<Pod>>,
    /// What lay beside it.
    objects: Vec<LocalObject>,
    /// What is wrong with the content.
    error: Option<String>,
    /// What stands for it in the API while it never gave a pod.
    placeholder: Option<Arc<Pod>>,
    /// The file that this one is a copy of.
    copy_of: Option<PathBuf>,
}

/// The files as last read.
#[derive(Default)]
pub struct Files {
    entries: BTreeMap<PathBuf, Entry>,
    /// Which file each full name belongs to: the first that had it, for as long as it has it.
    owners: BTreeMap<String, PathBuf>,
    /// Files whose name is another's, and that were told so.
    refused: BTreeMap<PathBuf, PathBuf>,
    /// Why the directory could not be read the last time, which was told.
    unreadable: Option<String>,
}

impl Files {
    /// Whether the directory could be read the last time; one that isn't there is empty.
    pub fn is_read(&self) -> bool {
        self.unreadable.is_none()
    }

    /// Reads the files in scope that changed; whether another set of pods came out, and the new faults.
    pub fn read(&mut self, source: &FileSource, scope: &Scope) -> (bool, Vec<Fault>) {
        let paths = match source.paths() {
            Ok(paths) => paths,
            Err(error) => {
                // Unreadable is not the same as empty: nothing is taken down.
                let reason = error.to_string();
                if !is_news(&mut self.unreadable, &reason) {
                    return (false, Vec::new());
                }
                let fault = Fault {
                    manifest: source.path.display().to_string(),
                    reason,
                    keeps_running: true,
                };
                return (false, vec![fault]);
            }
        };
        // What changed while it could not be read was told then, and not seen.
        let all = Scope::All;
        let scope = match self.unreadable.take() {
            Some(_) => &all,
            None => scope,
        };
        let mut changed = false;
        let mut faults = Vec::new();
        self.entries.retain(|path, entry| {
            let stays = paths.contains(path);
            changed |= !stays && (entry.pod.is_some() || entry.placeholder.is_some());
            stays
        });
        let all: BTreeSet<&PathBuf> = paths.iter().collect();
        for path in &paths {
            let named = match (scope, path.file_name()) {
                (Scope::Named(names), Some(name)) => names.contains(name),
                _ => true,
            };
            if self.is_copy(path, &all) {
                continue;
            }
            if named {
                changed |= self.read_file(path.clone(), source, &mut faults);
            }
        }
        if changed {
            self.settle_names(&mut faults);
        }
        (changed, faults)
    }

    /// Forgets files that were removed from `directory`, whatever lies there now; whether a pod went with one of them,
    /// and who still has no name of its own.
    pub fn forget(&mut self, directory: &Path, names: &BTreeSet<OsString>) -> (bool, Vec<Fault>) {
        let paths = names.iter().map(|name| directory.join(name));
        let gone: Vec<Entry> = paths.filter_map(|path| self.entries.remove(&path)).collect();
        let mut faults = Vec::new();
        let changed = gone
            .iter()
            .any(|entry| entry.pod.is_some() || entry.placeholder.is_some());
        if changed {
            self.settle_names(&mut faults);
        }
        (changed, faults)
    }

    /// Whether a file is left alone as somebody's copy of another that is, or was, beside it.
    fn is_copy(&mut self, path: &Path, all: &BTreeSet<&PathBuf>) -> bool {
        if let Some(entry) = self.entries.get(path) {
            return entry.copy_of.is_some();
        }
        let Some(original) = leftover::original_of(path).filter(|original| all.contains(original)) else {
            return false;
        };
        tracing::warn!(
            file = %path.display(), of = %original.display(), "ignored: an editor's or package manager's copy of another manifest"
        );
        let entry = Entry {
            copy_of: Some(original),
            ..Entry::default()
        };
        self.entries.insert(path.to_path_buf(), entry);
        true
    }

    fn read_file(&mut self, path: PathBuf, source: &FileSource, faults: &mut Vec<Fault>) -> bool {
        let known = self.entries.get(&path).cloned().unwrap_or_default();
        let keeps_running = known.pod.is_some();
        let mut fault = |reason: &String| {
            faults.push(Fault {
                manifest: path.display().to_string(),
                reason: reason.clone(),
                keeps_running,
            });
        };
        let bytes = match read_limited(&path) {
            Ok(bytes) => bytes,
            // Gone between listing and reading: an event tells.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                let reason = error.to_string();
                let entry = self.entries.entry(path.clone()).or_default();
                if is_news(&mut entry.error, &reason) {
                    fault(&reason);
                }
                // Once it can be read again, it is looked at again, though it may be what it was.
                entry.digest = None;
                return false;
            }
        };
        let digest = Some(orlop_api::fnv::fnv1a128(&bytes));
        if known.digest == digest {
            return false;
        }
        let entry = self.entries.entry(path.clone()).or_default();
        entry.digest = digest;
        match parse(&bytes, &path, source) {
            Ok((pod, objects)) => {
                entry.error = None;
                entry.objects = objects;
                let stood_in = entry.placeholder.take().is_some();
                let same = |old: &Arc<Pod>| old.metadata.uid == pod.metadata.uid && means_the_same(old, &pod);
                if entry.pod.as_ref().is_some_and(same) {
                    return stood_in;
                }
                entry.pod = Some(Arc::new(pod));
                true
            }
            Err(reason) => {
                fault(&reason);
                let stand_in = || Arc::new(placeholder::of(&path, &reason, &source.node_name));
                entry.placeholder = entry.pod.is_none().then(stand_in);
                entry.error = Some(reason);
                entry.placeholder.is_some()
            }
        }
    }

    /// One file a full name: who has it keeps it; of new ones the first by path gets it, and the others are told.
    fn settle_names(&mut self, faults: &mut Vec<Fault>) {
        let mut claims: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for (path, entry) in &self.entries {
            if let Some(pod) = &entry.pod {
                claims.entry(full_name(pod)).or_default().push(path.clone());
            }
        }
        let mut refused = BTreeMap::new();
        let owner = |(name, paths): (String, Vec<PathBuf>)| {
            let before = self.owners.get(&name).filter(|owner| paths.contains(owner));
            let owner = before.or(paths.first())?.clone();
            for other in paths.into_iter().filter(|path| *path != owner) {
                refused.insert(other, owner.clone());
            }
            Some((name, owner))
        };
        self.owners = claims.into_iter().filter_map(owner).collect();
        for (path, owner) in &refused {
            if self.refused.get(path) != Some(owner) {
                faults.push(Fault {
                    manifest: path.display().to_string(),
                    reason: self.refusal(path, owner),
                    keeps_running: false,
                });
            }
        }
        self.refused = refused;
    }

    fn refusal(&self, path: &Path, owner: &Path) -> String {
        let pod = self.entries.get(path).and_then(|entry| entry.pod.as_ref());
        let name = pod.map(|pod| full_name(pod)).unwrap_or_default();
        format!(
            "pod {name} is run from {} already: this file is not used until one of them has another name",
            owner.display()
        )
    }

    /// The pods of the files that have their names; for a file that gives none, its placeholder.
    pub fn snapshot(&self) -> Snapshot {
        let pods = self
            .owners
            .values()
            .filter_map(|owner| self.entries.get(owner)?.pod.clone());
        let mut names = BTreeSet::new();
        let placeholders = self
            .entries
            .values()
            .filter_map(|entry| entry.placeholder.clone())
            .map(|placeholder| match names.insert(full_name(&placeholder)) {
                true => placeholder,
                false => Arc::new(placeholder::apart(&placeholder)),
            });
        Snapshot {
            source: Source::File,
            pods: pods.chain(placeholders).collect(),
        }
    }

    /// The ConfigMaps and Secrets that lie beside pods.
    pub fn objects(&self) -> impl Iterator<Item = &LocalObject> {
        self.entries.values().flat_map(|entry| &entry.objects)
    }

    /// What became of each file.
    pub fn reports(&self) -> Reports {
        let report = |(path, entry): (&PathBuf, &Entry)| {
            let refusal = self.refused.get(path).map(|owner| self.refusal(path, owner));
            let pod = entry.pod.as_ref().filter(|_| refusal.is_none());
            let copy = entry.copy_of.as_ref().map(|of| {
                format!(
                    "a copy of {} that an editor or package manager left",
                    of.display()
                )
            });
            let report = Report {
                digest: format!("{:032x}", entry.digest.unwrap_or_default()),
                pods: pod.map(|pod| full_name(pod)).into_iter().collect(),
                uid: pod.map(|pod| uid(pod).to_owned()),
                error: refusal.or_else(|| entry.error.clone()),
                ignored: copy,
            };
            (path.display().to_string(), report)
        };
        self.entries.iter().map(report).collect()
    }
}

/// A file, as far as one may go.
pub fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MANIFEST_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong with a file of this much or more: of a longer one no more is read.
pub fn too_long(bytes: &[u8]) -> Option<String> {
    (bytes.len() >= MANIFEST_BYTES_MAX)
        .then(|| format!("the file has {MANIFEST_BYTES_MAX} bytes or more: a manifest must be smaller"))
}

fn parse(bytes: &[u8], path: &Path, source: &FileSource) -> Result<(Pod, Vec<LocalObject>), String> {
    if let Some(reason) = too_long(bytes) {
        return Err(reason);
    }
    let origin = StaticOrigin {
        node_name: source.node_name.clone(),
        source: manifest::Source::File(path.to_path_buf()),
    };
    if source.objects.is_some() {
        let bundle = manifest::bundle(bytes, &origin).map_err(|error| error.to_string())?;
        return Ok((received(bundle.examined.pod, Source::File), bundle.objects));
    }
    let pod = manifest::static_pod(bytes, &origin).map_err(|error| error.to_string())?;
    Ok((received(pod, Source::File), Vec::new()))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
