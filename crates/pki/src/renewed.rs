//! A certificate that is renewed while it is used: files `<name>-<time>.pem`, certificate and key in one, and a link
//! `<name>-current.pem` to the one in use, as upstream's agent keeps them.
use crate::files::{self, Secrecy};
use crate::{Leaf, PkiError};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// The files of one such certificate.
#[derive(Clone, Debug)]
pub struct RenewedLeaf {
    directory: PathBuf,
    name: String,
}

impl RenewedLeaf {
    /// `<directory>/<name>-current.pem`.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_path_buf(),
            name: name.to_owned(),
        }
    }

    /// The link to the file in use.
    pub fn current(&self) -> PathBuf {
        self.directory.join(format!("{}-current.pem", self.name))
    }

    /// The file in use; `None`: there is none, or it holds no certificate and key.
    pub fn read(&self) -> Result<Option<Leaf>, PkiError> {
        let text = files::read_optional(&self.current())?;
        Ok(text.and_then(|text| split(&text)))
    }

    /// Puts a new one in the place of the one in use, in one step. The one before it is kept, older ones go.
    pub fn save(&self, leaf: &Leaf, now: Timestamp) -> Result<PathBuf, PkiError> {
        let stamp = now.to_zoned(TimeZone::system()).strftime("%Y-%m-%d-%H-%M-%S");
        let file = format!("{}-{stamp}.pem", self.name);
        let path = self.directory.join(&file);
        let text = format!("{}\n{}", leaf.certificate.trim_end(), leaf.key);
        files::write(&path, text.as_bytes(), Secrecy::Private)?;
        let current = self.current();
        let before = std::fs::read_link(&current).ok();
        let fresh = self.directory.join(format!("{}-current.pem.new", self.name));
        let fail = |action: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |source| PkiError::File { action, path, source }
        };
        // A leftover of an interrupted save.
        let _ = std::fs::remove_file(&fresh);
        // Absolute, as upstream's are: tools read where the link leads.
        std::os::unix::fs::symlink(&path, &fresh).map_err(fail("create", &fresh))?;
        std::fs::rename(&fresh, &current).map_err(fail("replace", &current))?;
        self.remove_older(&[Some(path.clone()), before]);
        Ok(path)
    }

    fn remove_older(&self, kept: &[Option<PathBuf>]) {
        let kept: Vec<_> = kept
            .iter()
            .flatten()
            .filter_map(|path| path.file_name())
            .collect();
        let prefix = format!("{}-", self.name);
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_stamped = name.to_str().is_some_and(|name| {
                name.strip_prefix(&prefix)
                    .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
            });
            if is_stamped && !kept.contains(&name.as_os_str()) {
                // What can't be removed is in nobody's way.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The certificates of a PEM text and its key.
fn split(text: &str) -> Option<Leaf> {
    let blocks = pem::parse_many(text).ok()?;
    let (certificates, keys): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| block.tag() == "CERTIFICATE");
    let key = keys
        .into_iter()
        .find(|block| block.tag().ends_with("PRIVATE KEY"))?;
    let encode = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    (!certificates.is_empty()).then(|| Leaf {
        certificate: pem::encode_many_config(&certificates, encode),
        key: pem::encode_config(&key, encode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, LeafRequest, Usage};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_link_leads_to_the_newest_and_only_the_one_before_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let files = RenewedLeaf::new(dir.path(), "kubelet-client");
        assert!(files.read().unwrap().is_none());
        let mut saved = Vec::new();
        for second in [0, 60, 120] {
            let leaf = authority
                .sign(&LeafRequest {
                    identity: Identity::new("system:node:n1", &["system:nodes"]),
                    usage: Usage::Client,
                    dns_names: vec![],
                    addresses: vec![],
                })
                .unwrap();
            saved.push(
                files
                    .save(&leaf, Timestamp::from_second(second).unwrap())
                    .unwrap(),
            );
            let read = files.read().unwrap().unwrap();
            assert_eq!(read.key.trim(), leaf.key.trim());
            assert_eq!(read.certificate.trim(), leaf.certificate.trim());
        }
        assert_eq!(std::fs::read_link(files.current()).unwrap(), saved[2]);
        let there: Vec<bool> = saved.iter().map(|path| path.exists()).collect();
        assert_eq!(there, [false, true, true]);
        let mode = std::fs::metadata(files.current()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
