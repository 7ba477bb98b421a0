//! The version every component reports.
use serde_json::{Value, json};

/// The Kubernetes version this server speaks, with our own behind the plus.
pub const GIT_VERSION: &str = concat!("v1.36.0+orlop.", env!("CARGO_PKG_VERSION"));
/// No commit, as git writes it: upstream's suite looks for hexadecimal digits in what kubectl before 1.28 prints of this.
const GIT_COMMIT: &str = "0000000000000000000000000000000000000000";

pub fn version() -> Value {
    let platform = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        _ => "linux/unknown",
    };
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": GIT_COMMIT,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_in_hexadecimal_digits_and_not_empty() {
        let version = version();
        let commit = version["gitCommit"].as_str().unwrap();
        let digits = |c| matches!(c, '0'..='9' | 'a'..='f');
        assert!(!commit.is_empty() && commit.chars().all(digits), "{commit:?}");
    }
}
