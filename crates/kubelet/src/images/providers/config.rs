//! `CredentialProviderConfig`: which programs are asked about which images. Read strictly, as upstream does: a login that
//! is not asked for is noticed only when a pull fails.
use super::glob;
use crate::config::GoDuration;
use orlop_api::names::is_qualified_name;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const GROUP: &str = "kubelet.config.k8s.io/";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const KIND: &str = "CredentialProviderConfig";
/// Versions of the protocol that a program may speak.
const PROTOCOLS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
/// Endings of the files of a directory that are read.
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// Why providers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A file, a directory or a program is not there or not readable.
    #[error("{what} {}: {source}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A program that nobody may run.
    #[error("credential provider {} is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    /// A file that says something else than it should.
    #[error("credential provider configuration {}: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    providers: Vec<Entry>,
}

/// One provider, `providers[]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The program's file name.
    pub name: String,
    /// Images that it knows of.
    #[serde(default)]
    pub match_images: Vec<String>,
    /// How long an answer counts that does not say so.
    pub default_cache_duration: Option<GoDuration>,
    /// The version of the protocol.
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<Variable>,
    /// What it is told of the pod's account.
    pub token_attributes: Option<TokenAttributes>,
}

/// `providers[].env[]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    #[serde(default)]
    pub value: String,
}

/// `providers[].tokenAttributes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAttributes {
    /// Whom the token is for.
    #[serde(default)]
    pub service_account_token_audience: String,
    /// What an answer counts for: `Token` or `ServiceAccount`.
    #[serde(default)]
    pub cache_type: String,
    /// It is not asked about pods without an account.
    pub require_service_account: Option<bool>,
    #[serde(default)]
    pub required_service_account_annotation_keys: Vec<String>,
    #[serde(default)]
    pub optional_service_account_annotation_keys: Vec<String>,
}

/// The providers that a file names, or those of a directory together.
pub fn read(path: &Path) -> Result<Vec<Entry>, ProviderError> {
    let failed = |source| ProviderError::Read {
        what: "credential provider configuration",
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            let ending = file.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && !file.is_dir() {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let mut entries = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|source| ProviderError::Read {
            what: "credential provider configuration",
            path: file.clone(),
            source,
        })?;
        entries.extend(parse(&text).map_err(|reason| ProviderError::Invalid {
            path: file.clone(),
            reason,
        })?);
    }
    check(&entries).map_err(|reason| ProviderError::Invalid {
        path: path.to_owned(),
        reason,
    })?;
    Ok(entries)
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let version = file.api_version.strip_prefix(GROUP).unwrap_or_default();
    if file.kind != KIND || !VERSIONS.contains(&version) {
        return Err(format!(
            "apiVersion {:?}, kind {:?}: expected {GROUP}v1 and {KIND}",
            file.api_version, file.kind
        ));
    }
    Ok(file.providers)
}

fn check(entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() {
        return Err("providers: at least one is needed".into());
    }
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = &entry.name;
        if name.is_empty() || [".", ".."].contains(&name.as_str()) || name.contains(['/', ' ']) {
            return Err(format!("providers[].name: {name:?} is no file name"));
        }
        if !names.insert(name) {
            return Err(format!("providers[].name: {name:?} is there twice"));
        }
        let wrong = |field: &str, what: String| Err(format!("provider {name:?}: {field}: {what}"));
        if !PROTOCOLS.contains(&entry.api_version.as_str()) {
            let what = format!("{:?} is none of {}", entry.api_version, PROTOCOLS.join(", "));
            return wrong("apiVersion", what);
        }
        if entry.match_images.is_empty() {
            return wrong("matchImages", "at least one is needed".into());
        }
        if let Some(pattern) = entry
            .match_images
            .iter()
            .find(|pattern| !glob::is_pattern(pattern))
        {
            return wrong("matchImages", format!("{pattern:?} is not HOST[:PORT][/PATH]"));
        }
        if entry.default_cache_duration.is_none() {
            return wrong("defaultCacheDuration", "is needed".into());
        }
        if let Some(attributes) = &entry.token_attributes {
            check_token(entry, attributes)
                .map_err(|reason| format!("provider {name:?}: tokenAttributes.{reason}"))?;
        }
    }
    Ok(())
}

fn check_token(entry: &Entry, attributes: &TokenAttributes) -> Result<(), String> {
    if entry.api_version != PROTOCOLS[0] {
        return Err(format!(
            "serviceAccountTokenAudience: needs apiVersion {}",
            PROTOCOLS[0]
        ));
    }
    if attributes.service_account_token_audience.is_empty() {
        return Err("serviceAccountTokenAudience: is needed".into());
    }
    if !["ServiceAccount", "Token"].contains(&attributes.cache_type.as_str()) {
        return Err(format!(
            "cacheType: {:?} is neither ServiceAccount nor Token",
            attributes.cache_type
        ));
    }
    let required = &attributes.required_service_account_annotation_keys;
    match attributes.require_service_account {
        None => return Err("requireServiceAccount: is needed".into()),
        Some(false) if !required.is_empty() => {
            return Err("requiredServiceAccountAnnotationKeys: needs requireServiceAccount: true".into());
        }
        Some(_) => {}
    }
    let mut keys = BTreeSet::new();
    for key in required
        .iter()
        .chain(&attributes.optional_service_account_annotation_keys)
    {
        if !is_qualified_name(&key.to_lowercase()) || !keys.insert(key) {
            return Err(format!(
                "…AnnotationKeys: {key:?} is no annotation's key, or there twice"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n";

    fn provider(name: &str, more: &str) -> String {
        format!(
            "- {{name: {name}, matchImages: ['*.example.com'], defaultCacheDuration: 12h, \
             apiVersion: credentialprovider.kubelet.k8s.io/v1{more}}}\n"
        )
    }

    #[test]
    fn files_of_a_directory_are_read_in_order_and_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.yaml", format!("{HEAD}{}", provider("b", "")));
        write(
            "a.yml",
            format!(
                "{HEAD}{}",
                provider("a", ", args: [get], env: [{name: X, value: y}]")
            ),
        );
        write("notes.txt", "nothing".into());
        let entries = read(dir.path()).unwrap();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(entries[0].args, ["get"]);
        write("c.json", format!("{HEAD}{}", provider("a", "")));
        assert!(read(dir.path()).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_field() {
        let token = |fields: &str| {
            let all = "serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: false";
            format!(", tokenAttributes: {{{all}{fields}}}")
        };
        let read = |text: &str| parse(text).and_then(|entries| check(&entries));
        assert_eq!(read(&format!("{HEAD}{}", provider("a", &token("")))), Ok(()));
        for (text, named) in [
            (format!("{HEAD}  []"), "providers"),
            (format!("{HEAD}{}", provider("../a", "")), "name"),
            (format!("{HEAD}{}", provider("a", ", colour: blue")), "colour"),
            (HEAD.replace("v1", "v9") + "  []", "apiVersion"),
            (
                format!("{HEAD}{}", provider("a", "").replace("12h", "soon")),
                "duration",
            ),
            (
                format!("{HEAD}{}", provider("a", "").replace("k8s.io/v1", "k8s.io/v7")),
                "apiVersion",
            ),
            (
                format!("{HEAD}{}", provider("a", "").replace("'*.example.com'", "")),
                "matchImages",
            ),
            (
                format!(
                    "{HEAD}{}",
                    provider("a", "").replace("'*.example.com'", "'https://x'")
                ),
                "matchImages",
            ),
            (
                format!(
                    "{HEAD}{}",
                    provider("a", &token(", requiredServiceAccountAnnotationKeys: [x]"))
                ),
                "requireServiceAccount",
            ),
            (
                format!("{HEAD}{}", provider("a", ", tokenAttributes: {}")),
                "serviceAccountTokenAudience",
            ),
            (
                format!(
                    "{HEAD}{}",
                    provider("a", &token("").replace("cacheType: Token", "cacheType: Pod"))
                ),
                "cacheType",
            ),
        ] {
            let refused = read(&text).unwrap_err();
            assert!(refused.contains(named), "{named}: {refused}");
        }
    }
}
