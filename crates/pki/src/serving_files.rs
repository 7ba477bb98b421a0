//! TLS settings of a server that follow its files: what was replaced on the disk is offered on the next connection.
use crate::files::read;
use crate::seen::{Seen, look};
use crate::{PkiError, TlsLimits, tls};
use parking_lot::Mutex;
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::Arc;

/// A certificate and its key; both may be in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// Both files.
    pub(crate) fn paths(&self) -> [&PathBuf; 2] {
        [&self.certificate, &self.key]
    }
}

/// Settings that follow their files. Looking costs a `stat` of each for a connection, and nothing in between.
pub struct ServingFiles {
    paths: Vec<PathBuf>,
    load: Box<Load>,
    state: Mutex<State>,
}

/// Makes settings of what the files hold now.
type Load = dyn Fn() -> Result<Arc<ServerConfig>, PkiError> + Send + Sync;

struct State {
    seen: Seen,
    config: Arc<ServerConfig>,
}

impl ServingFiles {
    /// The first of `pairs` that is there is offered, within limits; clients are known by any of `client_cas`.
    pub fn open_within(
        pairs: Vec<Pair>,
        client_cas: Vec<PathBuf>,
        limits: TlsLimits,
    ) -> Result<Self, PkiError> {
        let of_pairs = pairs.iter().flat_map(Pair::paths);
        let paths = of_pairs.chain(&client_cas).cloned().collect();
        Self::following(paths, move || load(&pairs, &client_cas, &limits))
    }

    /// What `load` makes of these files, now and whenever one of them has changed.
    pub fn following(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<Arc<ServerConfig>, PkiError> + Send + Sync + 'static,
    ) -> Result<Self, PkiError> {
        let seen = look(&paths);
        let config = load()?;
        Ok(Self {
            paths,
            load: Box::new(load),
            state: Mutex::new(State { seen, config }),
        })
    }

    /// Settings that stay as they are.
    pub fn fixed(config: Arc<ServerConfig>) -> Self {
        let same = config.clone();
        Self {
            paths: Vec::new(),
            load: Box::new(move || Ok(same.clone())),
            state: Mutex::new(State {
                seen: Vec::new(),
                config,
            }),
        }
    }

    /// What a connection that begins now is offered. Files that can't be used leave the settings as they were: the
    /// error is there once for each change.
    pub fn current(&self) -> (Arc<ServerConfig>, Result<(), PkiError>) {
        let mut state = self.state.lock();
        let seen = look(&self.paths);
        if seen == state.seen {
            return (state.config.clone(), Ok(()));
        }
        state.seen = seen;
        match (self.load)() {
            Ok(config) => {
                state.config = config;
                (state.config.clone(), Ok(()))
            }
            Err(error) => (state.config.clone(), Err(error)),
        }
    }
}

fn load(pairs: &[Pair], client_cas: &[PathBuf], limits: &TlsLimits) -> Result<Arc<ServerConfig>, PkiError> {
    let is_there = |pair: &&Pair| pair.certificate.exists() && pair.key.exists();
    // None is there: the last one's name tells what is missing.
    let pair = pairs.iter().find(is_there).or(pairs.last());
    let Some(pair) = pair else {
        return Err(PkiError::Tls {
            what: "the serving certificate",
            reason: "none is configured".to_owned(),
        });
    };
    let mut authorities = String::new();
    for path in client_cas {
        authorities.push_str(&read(path)?);
        authorities.push('\n');
    }
    let (certificate, key) = (read(&pair.certificate)?, read(&pair.key)?);
    tls::server_config_within(&certificate, &key, &authorities, limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, LeafRequest, Usage};
    use std::path::Path;

    fn write_pair(authority: &Authority, directory: &Path, name: &str) -> Pair {
        let leaf = authority
            .sign(&LeafRequest {
                identity: Identity::new(name, &[]),
                usage: Usage::Server,
                dns_names: vec![name.to_owned()],
                addresses: vec![],
            })
            .unwrap();
        let pair = Pair {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        std::fs::write(&pair.key, leaf.key).unwrap();
        std::fs::write(&pair.certificate, leaf.certificate).unwrap();
        pair
    }

    #[test]
    fn n12_replaced_files_are_offered_and_bad_ones_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let preferred = Pair {
            certificate: dir.path().join("better.crt"),
            key: dir.path().join("better.key"),
        };
        let usual = write_pair(&authority, dir.path(), "usual");
        let client_ca = dir.path().join("clients.crt");
        std::fs::write(&client_ca, authority.certificate()).unwrap();
        let client_cas = vec![client_ca.clone()];
        let pairs = vec![preferred, usual.clone()];
        let files = ServingFiles::open_within(pairs, client_cas, TlsLimits::default()).unwrap();
        let (first, told) = files.current();
        told.unwrap();
        assert!(Arc::ptr_eq(&first, &files.current().0), "read once");

        std::fs::write(&usual.certificate, "nonsense").unwrap();
        let (kept, told) = files.current();
        assert!(Arc::ptr_eq(&first, &kept) && told.is_err());
        assert!(files.current().1.is_ok(), "told once");

        write_pair(&authority, dir.path(), "better");
        let (better, told) = files.current();
        told.unwrap();
        assert!(!Arc::ptr_eq(&first, &better));

        let another = Authority::ephemeral("clients").unwrap();
        std::fs::write(
            &client_ca,
            [authority.certificate(), another.certificate()].concat(),
        )
        .unwrap();
        let (rotated, told) = files.current();
        told.unwrap();
        assert!(!Arc::ptr_eq(&better, &rotated), "clients of another authority");
    }
}
