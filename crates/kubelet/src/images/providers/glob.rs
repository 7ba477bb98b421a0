//! Patterns of registries: globs in the parts of a domain, a port, the beginning of a path. Pure.

/// Whether a text is a pattern: `HOST[:PORT][/PATH]`.
pub fn is_pattern(text: &str) -> bool {
    let (host, port) = split_port(text.split('/').next().unwrap_or_default());
    let port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    !host.is_empty() && port && !host.contains(':') && !text.contains("://") && !text.contains([' ', '@'])
}

/// Whether an image's repository (`docker.io/library/busybox`) is one of a pattern's: each glob stands within one part of
/// the domain; ports are the same; what the pattern says of the path is how the path begins.
pub fn fits(pattern: &str, repository: &str) -> bool {
    let (pattern_host, pattern_path) = pattern.split_once('/').unwrap_or((pattern, ""));
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    path.starts_with(pattern_path) && host_fits(pattern_host, host)
}

/// The same for `HOST[:PORT]`.
pub fn host_fits(pattern: &str, host: &str) -> bool {
    let ((pattern, pattern_port), (host, port)) = (split_port(pattern), split_port(host));
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    let fits = |(pattern, part): (&&str, &&str)| part_fits(pattern.as_bytes(), part.as_bytes());
    pattern_port == port && patterns.len() == parts.len() && patterns.iter().zip(&parts).all(fits)
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (host, None),
    }
}

fn part_fits(pattern: &[u8], part: &[u8]) -> bool {
    match (pattern.split_first(), part.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=part.len()).any(|taken| part_fits(rest, &part[taken..])),
        (Some((b'?', rest)), Some((_, others))) => part_fits(rest, others),
        (Some((own, rest)), Some((other, others))) => own == other && part_fits(rest, others),
        _ => false,
    }
}

/// An image's repository with its registry and without tag and digest.
pub fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((front, tag)) if !tag.contains('/') => front,
        _ => name,
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("docker.io", name),
    };
    match host {
        "docker.io" | "index.docker.io" if !path.contains('/') => format!("docker.io/library/{path}"),
        "index.docker.io" => format!("docker.io/{path}"),
        _ => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_repositories_of_their_registries() {
        for (pattern, image, fitting) in [
            ("*.k8s.io", "a.k8s.io/x", true),
            ("*.k8s.io", "k8s.io/x", false),
            ("*.k8s.io", "a.b.k8s.io/x", false),
            ("*.*.k8s.io", "a.b.k8s.io/x", true),
            ("k8s.*", "k8s.io/x", true),
            ("k8s.*", "k8s.io:5000/x", false),
            ("k8s.*:5000", "k8s.io:5000/x", true),
            ("app*.k8s.io", "app7.k8s.io/x", true),
            ("app*.k8s.io", "web7.k8s.io/x", false),
            ("registry.io:8080/path", "registry.io:8080/path/x:1", true),
            ("registry.io/path", "registry.io/other/path:1", false),
            ("docker.io", "busybox", true),
            ("docker.io/library", "busybox:1", true),
            (
                "123.dkr.ecr.*.amazonaws.com",
                "123.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:ab",
                true,
            ),
        ] {
            assert_eq!(fits(pattern, &repository(image)), fitting, "{pattern} {image}");
        }
    }

    #[test]
    fn repositories_are_named_in_full() {
        for (image, full) in [
            ("busybox", "docker.io/library/busybox"),
            ("team/app:1", "docker.io/team/app"),
            ("index.docker.io/team/app", "docker.io/team/app"),
            ("localhost/app", "localhost/app"),
            ("r.example:5000/a/b:1@sha256:ab", "r.example:5000/a/b"),
        ] {
            assert_eq!(repository(image), full);
        }
    }

    #[test]
    fn texts_that_are_no_patterns_are_told() {
        for good in ["a.io", "*.a.io:5000/x", "localhost"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "/x", "https://a.io", "a.io:x", "a b"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
