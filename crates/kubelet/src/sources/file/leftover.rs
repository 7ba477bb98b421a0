//! Copies that editors and package managers leave beside a file: not what anybody wants to run twice, or after the
//! original is gone. Pure.
use std::path::{Path, PathBuf};

/// Endings of such copies.
const ENDINGS: [&str; 12] = [
    "~",
    ".swp",
    ".swo",
    ".bak",
    ".orig",
    ".save",
    ".tmp",
    ".old",
    ".dpkg-old",
    ".dpkg-dist",
    ".dpkg-new",
    ".rpmsave",
];

/// The file that this one would be a copy of, beside it.
pub fn original_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(original(name)?))
}

/// The name of the file that one with this name would be a copy of.
fn original(name: &str) -> Option<&str> {
    let bare = name.strip_prefix('#').and_then(|name| name.strip_suffix('#'));
    let cut = || ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    bare.or_else(cut).filter(|original| !original.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_known_by_their_names() {
        for (name, of) in [
            ("web.yaml~", Some("web.yaml")),
            ("web.yaml.bak", Some("web.yaml")),
            ("web.yaml.swp", Some("web.yaml")),
            ("#web.yaml#", Some("web.yaml")),
            ("web.yaml", None),
            ("~", None),
            ("bak", None),
        ] {
            assert_eq!(original(name), of, "{name}");
        }
    }
}
