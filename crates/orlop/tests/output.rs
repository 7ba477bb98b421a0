//! What becomes of a command whose output cannot be written.
#![allow(clippy::unwrap_used)]
use std::fs::File;
use std::process::{Command, Output, Stdio};

/// A command that prints much, and asks nobody.
fn completions(stdout: impl Into<Stdio>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_orlop"))
        .args(["completions", "bash"])
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

/// As in `orlop … | head`.
#[test]
fn a_command_ends_quietly_where_nobody_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = completions(writer);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn a_full_disk_is_told_of() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = completions(full);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("the output cannot be written"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}
