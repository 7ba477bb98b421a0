//! Reads a KubeletConfiguration: strictly, and when only unknown or repeated fields are in the way, leniently with a
//! warning that names them (contract, node agent §2.1).
use super::KubeletConfiguration;
use super::decode::{decode, drop_zeros};
use serde_json::{Map, Value};
use std::path::{Component, Path, PathBuf};

pub(super) const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
pub(super) const KIND: &str = "KubeletConfiguration";

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the kubelet configuration {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("kubelet configuration {} is empty: it needs at least apiVersion: {API_VERSION} and kind: {KIND}", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// Not YAML, not JSON, or not of the form the fields have.
    #[error("kubelet configuration {}: {reason}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What is wrong where.
        reason: String,
    },
}

/// A configuration and what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// With defaults.
    pub configuration: KubeletConfiguration,
    /// For the log: unknown fields by path.
    pub warnings: Vec<String>,
}

/// Reads the file and the drop-ins below `drop_ins` (only `*.conf`, in lexical order of path).
pub fn load(file: Option<&Path>, drop_ins: Option<&Path>) -> Result<Loaded, ConfigError> {
    load_with(file, drop_ins, &Value::Null)
}

/// The same, with what the command line says over it (`given`, fields by name).
pub fn load_with(file: Option<&Path>, drop_ins: Option<&Path>, given: &Value) -> Result<Loaded, ConfigError> {
    let mut merged = Value::Object(Map::new());
    let mut warnings = Vec::new();
    let mut files: Vec<PathBuf> = file.map(Path::to_path_buf).into_iter().collect();
    if let Some(directory) = drop_ins {
        conf_files(directory, &mut files)?;
    }
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read {
            file: file.clone(),
            source,
        })?;
        let mut value = parse(file, &text, &mut warnings)?;
        make_paths_absolute(&mut value, file);
        orlop_api::patch::merge(&mut merged, &value);
    }
    drop_zeros(&mut merged);
    let mut name = files.last().cloned().unwrap_or_default();
    if given.as_object().is_some_and(|given| !given.is_empty()) {
        orlop_api::patch::merge(&mut merged, given);
        name = PathBuf::from("with the flags of the command line");
    }
    let configuration = decode(&name, merged, &mut warnings)?;
    Ok(Loaded {
        configuration,
        warnings,
    })
}

/// Reads a document that lies in no file of its own; `name`: what errors and warnings call it.
pub fn of_document(name: &Path, document: &Value) -> Result<Loaded, ConfigError> {
    let mut document = document.clone();
    drop_zeros(&mut document);
    let mut warnings = Vec::new();
    let configuration = decode(name, document, &mut warnings)?;
    Ok(Loaded {
        configuration,
        warnings,
    })
}

fn conf_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let read = |source| ConfigError::Read {
        file: directory.to_path_buf(),
        source,
    };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(read)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            conf_files(&entry, files)?;
        } else if entry.extension().is_some_and(|extension| extension == "conf") {
            files.push(entry);
        }
    }
    Ok(())
}

fn parse(file: &Path, text: &str, warnings: &mut Vec<String>) -> Result<Value, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        file: file.to_path_buf(),
        reason,
    };
    if text.trim().is_empty() {
        return Err(ConfigError::Empty {
            file: file.to_path_buf(),
        });
    }
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error };
    let value: Value = match serde_saphyr::from_str_with_options(text, options) {
        Ok(value) => value,
        Err(strict) => {
            let lenient =
                serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
            let value = serde_saphyr::from_str_with_options(text, lenient)
                .map_err(|error| invalid(error.to_string()))?;
            warnings.push(format!("kubelet configuration {}: {strict}", file.display()));
            value
        }
    };
    if value.is_null() {
        return Err(ConfigError::Empty {
            file: file.to_path_buf(),
        });
    }
    let text_of = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    if text_of("apiVersion") != API_VERSION || text_of("kind") != KIND {
        let (version, kind) = (text_of("apiVersion"), text_of("kind"));
        return Err(invalid(format!(
            "apiVersion {version:?}, kind {kind:?}: expected {API_VERSION:?} and {KIND:?}"
        )));
    }
    Ok(value)
}

/// Relative paths mean: beside the file that names them.
fn make_paths_absolute(value: &mut Value, file: &Path) {
    // Where there is no working directory, the file would not have been found.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let directory = file.parent().unwrap_or(Path::new("/"));
    for pointer in [
        "/staticPodPath",
        "/orlop.dev~1staticObjectsPath",
        "/authentication/x509/clientCAFile",
        "/tlsCertFile",
        "/tlsPrivateKeyFile",
        "/resolvConf",
        "/volumePluginDir",
        "/podLogsDir",
    ] {
        if let Some(Value::String(path)) = value.pointer_mut(pointer)
            && !path.is_empty()
            && !path.starts_with('/')
        {
            *path = plain(&directory.join(&*path)).display().to_string();
        }
    }
}

/// The path without detours: no `.`, no doubled or trailing slashes, and `..` taken back by its letters.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                // Above the root is the root.
                plain.pop();
            }
            part => plain.push(part),
        }
        plain
    })
}

#[cfg(test)]
mod tests;
