//! What there is of an authority on disk: looked at before one is made or used.
use crate::authority::Authority;
use crate::{PkiError, error, files};
use std::path::Path;

impl Authority {
    /// Changes nothing.
    ///
    /// # Errors
    /// For what is there, [`Self::ensure`] would fail: one of the two files without the other, or files that are no authority's.
    pub fn check(directory: &Path, name: &str) -> Result<(), PkiError> {
        let certificate_path = directory.join(format!("{name}.crt"));
        let key_path = directory.join(format!("{name}.key"));
        let certificate = files::read_optional(&certificate_path)?;
        match (certificate, files::read_optional(&key_path)?) {
            (None, None) => Ok(()),
            (Some(certificate), Some(key)) => {
                Self::from_pem(certificate, &certificate_path, &key, &key_path).map(drop)
            }
            (Some(_), None) => Err(error::half(&key_path, &certificate_path)),
            (None, Some(key)) => Self::begun(&certificate_path, &key, &key_path).map(drop),
        }
    }

    /// The certificate that was made with a key, and was kept from being put in its place.
    pub(crate) fn begun(certificate_path: &Path, key: &str, key_path: &Path) -> Result<String, PkiError> {
        let beside = files::half_written(certificate_path);
        let is_of =
            |certificate: &String| Self::from_pem(certificate.clone(), &beside, key, key_path).is_ok();
        files::read_optional(&beside)?
            .filter(is_of)
            .ok_or_else(|| error::half(certificate_path, key_path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_authority_is_told_of_and_one_that_can_be_completed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let check = || Authority::check(dir.path(), "ca").map_err(|error| error.to_string());
        assert_eq!(check(), Ok(()));
        Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        assert_eq!(check(), Ok(()));
        std::fs::rename(at("ca.key"), at("kept")).unwrap();
        assert!(check().unwrap_err().contains("ca.key is missing"));
        std::fs::rename(at("kept"), at("ca.key")).unwrap();
        std::fs::rename(at("ca.crt"), at("ca.crt.new")).unwrap();
        assert_eq!(check(), Ok(()));
        assert!(at("ca.crt.new").exists() && !at("ca.crt").exists());
        std::fs::remove_file(at("ca.crt.new")).unwrap();
        assert!(check().unwrap_err().contains("ca.crt is missing"));
        std::fs::write(at("ca.crt"), "none").unwrap();
        assert!(check().unwrap_err().contains("ca.crt is not a usable"));
    }
}
