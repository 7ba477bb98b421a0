use crate::ConnectError;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a runtime listens: a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    socket: PathBuf,
}

impl Endpoint {
    /// Reads `unix:///run/containerd/containerd.sock` or the bare path.
    pub fn parse(text: &str) -> Result<Self, ConnectError> {
        let path = match text.split_once("://") {
            Some(("unix", path)) => path,
            Some((scheme, _)) => {
                return Err(ConnectError::Endpoint {
                    endpoint: text.to_owned(),
                    reason: format!("scheme {scheme:?} is not supported, only unix"),
                });
            }
            None => text.strip_prefix("unix:").unwrap_or(text),
        };
        if !path.starts_with('/') {
            return Err(ConnectError::Endpoint {
                endpoint: text.to_owned(),
                reason: "the socket's path must be absolute".to_owned(),
            });
        }
        Ok(Self {
            socket: PathBuf::from(path),
        })
    }

    /// The endpoint of a socket path.
    pub fn of_socket(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.socket.display())
    }
}

impl std::str::FromStr for Endpoint {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_and_bare_path_mean_the_same() {
        for text in ["unix:///run/c.sock", "unix:/run/c.sock", "/run/c.sock"] {
            assert_eq!(Endpoint::parse(text).unwrap().socket(), Path::new("/run/c.sock"));
        }
        assert_eq!(
            Endpoint::of_socket("/run/c.sock").to_string(),
            "unix:///run/c.sock"
        );
    }

    #[test]
    fn other_schemes_and_relative_paths_are_refused() {
        for text in ["tcp://127.0.0.1:1", "run/c.sock", "unix://run/c.sock", ""] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
