//! Image names in the full form under which runtimes store them.

use crate::OciError;

/// The full name of an image: registry and tag filled in as the CRI runtimes do.
///
/// ```
/// assert_eq!(orlop_oci::reference::full("busybox")?, "docker.io/library/busybox:latest");
/// assert_eq!(orlop_oci::reference::full("orlop.local/pause:1")?, "orlop.local/pause:1");
/// # Ok::<(), orlop_oci::OciError>(())
/// ```
pub fn full(name: &str) -> Result<String, OciError> {
    let refuse = |reason| OciError::Reference {
        name: name.to_owned(),
        reason,
    };
    if name.is_empty() {
        return Err(refuse("it is empty"));
    }
    if name
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii())
    {
        return Err(refuse("only ASCII letters, digits and ._-/:@ may stand in it"));
    }
    let (before_digest, digest) = match name.split_once('@') {
        Some((before, digest)) => (before, Some(digest)),
        None => (name, None),
    };
    let (domain, rest) = match before_digest.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", before_digest),
    };
    if domain.ends_with(':') {
        return Err(refuse("the registry's port is missing"));
    }
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let path_is_valid = !path.is_empty()
        && path.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        });
    if !path_is_valid {
        return Err(refuse(
            "the repository must be lower-case letters, digits, '.', '_' and '-', in parts separated by '/'",
        ));
    }
    if let Some(tag) = tag {
        let tag_is_valid = !tag.is_empty()
            && tag.len() <= 128
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !tag.starts_with(['.', '-']);
        if !tag_is_valid {
            return Err(refuse(
                "the tag must be at most 128 letters, digits, '.', '_' and '-'",
            ));
        }
    }
    let path = if domain == "docker.io" && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => format!("{domain}/{path}:{tag}@{digest}"),
        (None, Some(digest)) => format!("{domain}/{path}@{digest}"),
        (Some(tag), None) => format!("{domain}/{path}:{tag}"),
        (None, None) => format!("{domain}/{path}:latest"),
    })
}

/// The name without tag and digest: what a digest is appended to.
pub fn repository(full_name: &str) -> &str {
    let name = full_name.split_once('@').map_or(full_name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The tag, if the name has one.
pub fn tag(full_name: &str) -> Option<&str> {
    let name = full_name.split_once('@').map_or(full_name, |(name, _)| name);
    name.rsplit_once(':')
        .map(|(_, tag)| tag)
        .filter(|tag| !tag.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_get_registry_and_tag() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/app:1", "localhost/app:1"),
            ("host:5000/app", "host:5000/app:latest"),
            ("registry.k8s.io/etcd:3.4.23", "registry.k8s.io/etcd:3.4.23"),
            ("a.b/c@sha256:00", "a.b/c@sha256:00"),
        ];
        for (name, want) in cases {
            assert_eq!(full(name).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in ["", "Upper/Case", "a b", "x:/y", "a.b/", "busybox:", "a//b"] {
            assert!(full(name).is_err(), "{name}");
        }
    }

    #[test]
    fn repository_drops_tag_and_digest_but_not_the_port() {
        assert_eq!(repository("host:5000/app:1"), "host:5000/app");
        assert_eq!(repository("host:5000/app"), "host:5000/app");
        assert_eq!(repository("a.b/c:1@sha256:00"), "a.b/c");
        assert_eq!(tag("a.b:1/c"), None);
        assert_eq!(tag("a.b/c:2"), Some("2"));
    }
}
