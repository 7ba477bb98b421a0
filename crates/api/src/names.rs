//! Which texts may name things: DNS labels and subdomains, label keys and values, port names, config keys.
//!
//! `is_*` answer yes or no; `check_*` list what is wrong in upstream's words (empty list = fine).

/// Longest DNS label.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest generateName base kept; the rest is cut before the five random characters.
pub const GENERATE_NAME_BASE_BYTES_MAX: usize = 58;
/// What follows [`BOOTSTRAP_GROUPS`] in a group's name, at most.
const BOOTSTRAP_GROUP_BYTES_MAX: usize = 256;
/// How groups begin that a bootstrap token may bring who uses it into.
const BOOTSTRAP_GROUPS: &str = "system:bootstrappers:";
/// Characters of generated suffixes: no vowels, so no words appear by accident.
pub const GENERATE_NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

const LABEL_1035_FORM: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_FORM: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_FORM: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_PART_FORM: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_FORM: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY_FORM: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Upstream's text for "longer than `limit` bytes".
pub fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn alnum_ends(text: &str, inner: impl Fn(u8) -> bool, end: impl Fn(u8) -> bool) -> bool {
    let b = text.as_bytes();
    match (b.first(), b.last()) {
        (Some(first), Some(last)) => end(*first) && end(*last) && b.iter().all(|c| inner(*c)),
        _ => false,
    }
}

fn lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Whether a bootstrap token may bring who uses it into a group.
pub fn is_bootstrap_group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(BOOTSTRAP_GROUPS) else {
        return false;
    };
    rest.len() <= BOOTSTRAP_GROUP_BYTES_MAX
        && rest.bytes().all(|c| lower_alnum(c) || c == b':' || c == b'-')
        && rest.bytes().last().is_some_and(lower_alnum)
}

fn label_shape(text: &str) -> bool {
    alnum_ends(text, |c| lower_alnum(c) || c == b'-', lower_alnum)
}

fn qualified_shape(text: &str) -> bool {
    alnum_ends(
        text,
        |c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'),
        |c| c.is_ascii_alphanumeric(),
    )
}

/// RFC 1123 label, at most 63 bytes.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && label_shape(text)
}

/// RFC 1123 subdomain, at most 253 bytes.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_BYTES_MAX && text.split('.').all(label_shape)
}

/// RFC 1035 label: like a DNS label, but begins with a letter.
pub fn is_dns_1035_label(text: &str) -> bool {
    is_dns_label(text) && text.as_bytes()[0].is_ascii_lowercase()
}

/// `[prefix/]name` as used by label keys, annotation keys and resource names.
pub fn is_qualified_name(text: &str) -> bool {
    check_qualified_name(text).is_empty()
}

/// A legal label value (may be empty).
pub fn is_label_value(text: &str) -> bool {
    check_label_value(text).is_empty()
}

/// What is wrong with a DNS label of the older kind.
pub fn check_dns_1035_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        out.push(too_long(LABEL_BYTES_MAX));
    }
    if !label_shape(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(LABEL_1035_FORM.to_owned());
    }
    out
}

/// What is wrong with a DNS label.
pub fn check_dns_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        out.push(too_long(LABEL_BYTES_MAX));
    }
    if !label_shape(text) {
        out.push(
            if text.split('.').count() > 1 && text.split('.').all(label_shape) {
                "must not contain dots".to_owned()
            } else {
                LABEL_FORM.to_owned()
            },
        );
    }
    out
}

/// What is wrong with a DNS subdomain.
pub fn check_dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > SUBDOMAIN_BYTES_MAX {
        out.push(too_long(SUBDOMAIN_BYTES_MAX));
    }
    if !text.split('.').all(label_shape) {
        out.push(SUBDOMAIN_FORM.to_owned());
    }
    out
}

/// What is wrong with a qualified name (label key).
pub fn check_qualified_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut parts = text.splitn(3, '/');
    let (first, second, third) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    let name = match (second, third) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(
                    check_dns_subdomain(first)
                        .into_iter()
                        .map(|m| format!("prefix part {m}")),
                );
            }
            name
        }
        (Some(_), Some(_)) => {
            out.push(format!("a qualified name {QUALIFIED_PART_FORM} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
            return out;
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_BYTES_MAX {
        out.push(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    if !qualified_shape(name) {
        out.push(format!("name part {QUALIFIED_PART_FORM}"));
    }
    out
}

/// What is wrong with a label value.
pub fn check_label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        out.push(too_long(LABEL_BYTES_MAX));
    }
    if !text.is_empty() && !qualified_shape(text) {
        out.push(LABEL_VALUE_FORM.to_owned());
    }
    out
}

/// What is wrong with a ConfigMap or Secret key.
pub fn check_config_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > SUBDOMAIN_BYTES_MAX {
        out.push(too_long(SUBDOMAIN_BYTES_MAX));
    }
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(legal) {
        out.push(CONFIG_KEY_FORM.to_owned());
    } else if text == "." {
        out.push("must not be '.'".to_owned());
    } else if text == ".." {
        out.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        out.push("must not start with '..'".to_owned());
    }
    out
}

/// What is wrong with a container port name (IANA service name).
pub fn check_port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push(too_long(15));
    }
    if !text.bytes().all(|c| lower_alnum(c) || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// What is wrong with an environment variable's name (relaxed rule since 1.34: printable ASCII but `=`).
pub fn check_env_name(text: &str) -> Vec<String> {
    if text.bytes().all(|c| (0x20..=0x7e).contains(&c) && c != b'=') && !text.is_empty() {
        Vec::new()
    } else {
        vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
    }
}

/// A text in quotes, as upstream shows what it refuses.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{7f}' if c.is_control() => out.push_str(&format!("\\x{code:02x}")),
            // What has no shape of its own.
            _ if c.escape_debug().count() > 1 && code > 0xffff => out.push_str(&format!("\\U{code:08x}")),
            _ if c.escape_debug().count() > 1 && code > 0x7f => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What is wrong with a name used as one path segment (RBAC kinds).
pub fn check_path_segment(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text == "." || text == ".." {
        out.push(format!("may not be '{text}'"));
    }
    for bad in ["/", "%"] {
        if text.contains(bad) {
            out.push(format!("may not contain '{bad}'"));
        }
    }
    out
}

/// Cuts a generateName so that five characters can follow (contract: 58 bytes, at a character boundary).
pub fn generate_name_base(prefix: &str) -> &str {
    cut(prefix, GENERATE_NAME_BASE_BYTES_MAX)
}

/// The beginning of a text: no more than so many bytes, and whole characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Replaces one trailing dash: a prefix like `web-` becomes a checkable name by upstream's rule.
pub fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => format!("{stem}a"),
        _ => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_bring_nobody_into_groups_of_others() {
        for (name, may) in [
            ("system:bootstrappers:kubeadm:default-node-token", true),
            ("system:bootstrappers:a", true),
            ("system:bootstrappers:-:a", true),
            ("system:bootstrappers:", false),
            ("system:bootstrappers:a:", false),
            ("system:bootstrappers:A", false),
            ("system:bootstrappers", false),
            ("system:masters", false),
            ("", false),
        ] {
            assert_eq!(is_bootstrap_group(name), may, "{name:?}");
        }
        let long = |length: usize| format!("{BOOTSTRAP_GROUPS}{}", "a".repeat(length));
        assert!(is_bootstrap_group(&long(256)) && !is_bootstrap_group(&long(257)));
    }

    #[test]
    fn quoted_texts_hide_nothing() {
        for (text, want) in [
            ("a\"b\\", r#""a\"b\\""#),
            ("\n\t\u{1}\u{7f}", r#""\n\t\x01\x7f""#),
            ("é\u{a0}'", r#""é\u00a0'""#),
        ] {
            assert_eq!(quoted(text), want);
        }
    }

    #[test]
    fn labels_and_subdomains() {
        for (text, label, subdomain) in [
            ("a", true, true),
            ("a-b", true, true),
            ("1a", true, true),
            ("a.b", false, true),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("A", false, false),
            ("a..b", false, false),
            ("a.-b", false, false),
            ("a_b", false, false),
            ("é", false, false),
        ] {
            assert_eq!(is_dns_label(text), label, "{text}");
            assert_eq!(is_dns_subdomain(text), subdomain, "{text}");
        }
        assert!(is_dns_label(&"a".repeat(63)) && !is_dns_label(&"a".repeat(64)));
        assert!(is_dns_subdomain(&"a".repeat(253)) && !is_dns_subdomain(&"a".repeat(254)));
        assert!(!is_dns_1035_label("1a") && is_dns_1035_label("a1"));
    }

    #[test]
    fn dots_in_a_label_are_named() {
        assert_eq!(check_dns_label("a.b"), ["must not contain dots"]);
    }

    #[test]
    fn qualified_names() {
        for ok in ["a", "a/b", "example.com/My_Name.x", "1"] {
            assert!(is_qualified_name(ok), "{ok}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "A.b/", "UPPER/a", "a b"] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
        assert!(check_qualified_name("x/")[0].starts_with("name part must be non-empty"));
    }

    #[test]
    fn port_and_env_and_config_keys() {
        assert!(check_port_name("http").is_empty());
        for bad in ["", "123", "a--b", "-a", "a-", "Http", "abcdefghijklmnop"] {
            assert!(!check_port_name(bad).is_empty(), "{bad}");
        }
        assert!(check_env_name("my.var-1 x").is_empty());
        assert!(!check_env_name("a=b").is_empty());
        assert!(check_config_key(".dockerconfigjson").is_empty());
        for bad in ["", "a b", ".", "..", "..a"] {
            assert!(!check_config_key(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn generated_bases_are_cut_on_a_boundary() {
        assert_eq!(generate_name_base(&"a".repeat(80)).len(), 58);
        assert_eq!(generate_name_base(&"é".repeat(40)).len(), 58);
        assert_eq!(generate_name_base("web-"), "web-");
        assert_eq!(mask_trailing_dash("web-"), "weba");
    }
}
