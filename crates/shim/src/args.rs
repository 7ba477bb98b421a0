//! The command line containerd calls shims with: Go's flags, then an action.

use std::path::PathBuf;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answer calls; no action is named.
    Serve,
    /// Start what answers calls for the container in the working directory, and print its address.
    Start,
    /// Clear away what a shim that died left of a container.
    Delete,
    /// Print what the runtime below can do, for the options on the standard input.
    Info,
    /// Print the version.
    Version,
}

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub action: Action,
    /// containerd's namespace.
    pub namespace: String,
    /// The container.
    pub id: String,
    /// containerd's socket.
    pub address: PathBuf,
    /// The container's directory, where it isn't the working directory.
    pub bundle: Option<PathBuf>,
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgumentError {
    #[error("flag -{0} needs a value")]
    NoValue(String),
    #[error("unknown flag -{0}: this program is called by containerd, as a runtime_type")]
    UnknownFlag(String),
    #[error("unknown action {0}: start, delete, or none")]
    UnknownAction(String),
    #[error(
        "-namespace, -id and -address must be given: this program is called by containerd, as a runtime_type"
    )]
    Missing,
}

impl Arguments {
    /// Reads what follows the program's name.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgumentError> {
        let mut words = words.into_iter();
        let mut parsed = Self {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: PathBuf::new(),
            bundle: None,
        };
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                parsed.action = match &*word {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    _ => return Err(ArgumentError::UnknownAction(word)),
                };
                break;
            };
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            match name {
                "debug" => continue,
                "info" => {
                    parsed.action = Action::Info;
                    return Ok(parsed);
                }
                "v" | "version" => {
                    parsed.action = Action::Version;
                    return Ok(parsed);
                }
                _ => {}
            }
            let mut value = || {
                given
                    .clone()
                    .or_else(|| words.next())
                    .ok_or_else(|| ArgumentError::NoValue(name.to_owned()))
            };
            match name {
                "namespace" => parsed.namespace = value()?,
                "id" => parsed.id = value()?,
                "address" => parsed.address = value()?.into(),
                "bundle" => parsed.bundle = Some(value()?.into()),
                // How events were published before containerd had a socket for them, and where the caller would have the socket.
                "publish-binary" | "socket" => drop(value()?),
                _ => return Err(ArgumentError::UnknownFlag(name.to_owned())),
            }
        }
        let is_whole =
            !parsed.namespace.is_empty() && !parsed.id.is_empty() && !parsed.address.as_os_str().is_empty();
        if is_whole {
            Ok(parsed)
        } else {
            Err(ArgumentError::Missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn containerds_calls_are_understood() {
        let expected = |action, bundle: Option<&str>| Arguments {
            action,
            namespace: "k8s.io".to_owned(),
            id: "abc".to_owned(),
            address: "/run/c.sock".into(),
            bundle: bundle.map(PathBuf::from),
        };
        let common = "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd";
        for (line, wanted) in [
            (format!("{common} -id abc start"), expected(Action::Start, None)),
            (
                format!("{common} -id abc -debug start"),
                expected(Action::Start, None),
            ),
            (
                format!("{common} -id abc -bundle /b delete"),
                expected(Action::Delete, Some("/b")),
            ),
            (format!("{common} -id=abc"), expected(Action::Serve, None)),
            (format!("{common} --id=abc"), expected(Action::Serve, None)),
        ] {
            assert_eq!(parse(&line).as_ref(), Ok(&wanted), "{line}");
        }
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn other_calls_are_refused_with_what_is_wrong() {
        assert_eq!(parse("-id"), Err(ArgumentError::NoValue("id".to_owned())));
        assert_eq!(parse("-x 1"), Err(ArgumentError::UnknownFlag("x".to_owned())));
        assert_eq!(
            parse("restart"),
            Err(ArgumentError::UnknownAction("restart".to_owned()))
        );
        assert_eq!(parse("-id abc start"), Err(ArgumentError::Missing));
    }
}
