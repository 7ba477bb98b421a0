//! Variables from a file in an emptyDir, which an init container has written (contract, node agent §14.7).
use super::EnvError;
use k8s_openapi::api::core::v1::{FileKeySelector, Pod};
use orlop_api::pod::uid;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A file of variables that is longer than this is something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The value of a key, from the pod's volume below the agent's `root`; `None` when it is optional and not there.
pub fn value(root: &Path, pod: &Pod, selector: &FileKeySelector) -> Result<Option<String>, EnvError> {
    let volume = root
        .join("pods")
        .join(uid(pod))
        .join("volumes/kubernetes.io~empty-dir")
        .join(&selector.volume_name);
    let optional = selector.optional == Some(true);
    let text = match read(&volume, &selector.path) {
        Ok(text) => text,
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(EnvError::File {
                path: selector.path.clone(),
                volume: selector.volume_name.clone(),
                source,
            });
        }
    };
    let variables = parse(&text).map_err(|line| EnvError::FileSyntax {
        path: selector.path.clone(),
        line,
    })?;
    match variables.get(&selector.key) {
        Some(value) => Ok(Some(value.clone())),
        None if optional => Ok(None),
        None => Err(EnvError::FileKey {
            key: selector.key.clone(),
            path: selector.path.clone(),
        }),
    }
}

/// Containers write into the volume: no link of theirs leads the agent out of it.
fn read(volume: &Path, path: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let top = openat(CWD, volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // A pipe would be waited for.
    let file = File::from(openat2(
        &top,
        path,
        flags | OFlags::NONBLOCK,
        Mode::empty(),
        resolve,
    )?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is longer than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

/// `KEY='value'` lines, values in single or double quotes or bare, quoted ones over several lines; blank lines and
/// comments between them. The number of a line that is none of these.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut variables = BTreeMap::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (current, _) = rest.split_once('\n').unwrap_or((rest, ""));
        let content = current.trim();
        if content.is_empty() || content.starts_with('#') {
            rest = rest.get(current.len() + 1..).unwrap_or_default();
            line += 1;
            continue;
        }
        let (key, _) = current.split_once('=').ok_or(line)?;
        let value = &rest[key.len() + 1..];
        let key = key.trim();
        let key = key.strip_prefix("export ").map_or(key, str::trim);
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(line);
        }
        let (value, after) = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => value[1..].split_once(quote).ok_or(line)?,
            _ => {
                let end = value.find('\n').unwrap_or(value.len());
                let bare = value[..end].split(" #").next().unwrap_or_default();
                (bare.trim(), &value[end..])
            }
        };
        let (behind, next) = after.split_once('\n').unwrap_or((after, ""));
        let behind = behind.trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(line);
        }
        line += rest[..rest.len() - next.len()].matches('\n').count();
        variables.insert(key.to_owned(), value.to_owned());
        rest = next;
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_read_line_by_line() {
        let text = "# comment\n\nA='a b'\nexport B=\"two\nlines\" # more\nC=bare # comment\nD=\nE='last'";
        let parsed = parse(text).unwrap();
        let expected = [
            ("A", "a b"),
            ("B", "two\nlines"),
            ("C", "bare"),
            ("D", ""),
            ("E", "last"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(parsed, BTreeMap::from(expected));
        for (bad, line) in [
            ("no sign", 1),
            ("A='1'\nB='open", 2),
            ("A='1\n2'\n=x", 3),
            ("A='1' B", 1),
        ] {
            assert_eq!(parse(bad), Err(line), "{bad:?}");
        }
    }

    /// E18.
    #[test]
    fn e18_keys_of_a_file_in_the_volume_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("pods/u/volumes/kubernetes.io~empty-dir/v");
        std::fs::create_dir_all(&volume).unwrap();
        std::fs::write(volume.join("f.env"), "K='value'\n").unwrap();
        std::fs::write(root.path().join("secret"), "K='stolen'\n").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), volume.join("link")).unwrap();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}})).unwrap();
        let ask = |path: &str, key: &str, optional: bool| {
            let selector = FileKeySelector {
                volume_name: "v".into(),
                path: path.into(),
                key: key.into(),
                optional: Some(optional),
            };
            value(root.path(), &pod, &selector).map_err(|error| error.to_string())
        };
        assert_eq!(ask("f.env", "K", false), Ok(Some("value".into())));
        assert_eq!(ask("f.env", "L", true), Ok(None));
        assert_eq!(ask("none", "K", true), Ok(None));
        assert_eq!(
            ask("f.env", "L", false).unwrap_err(),
            "environment variable key \"L\" not found in file \"f.env\""
        );
        for path in ["link", "../../../../../secret"] {
            let error = ask(path, "K", true).unwrap_err();
            assert!(error.contains("cannot read"), "{error}");
        }
    }
}
