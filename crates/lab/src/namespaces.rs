//! Entering the namespaces of a process, by `nsenter`.
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// A command on the machine whose process 1 is `pid`.
pub fn on_machine(pid: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg("--target")
        .arg(pid.to_string())
        .args([
            "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
        ])
        .arg(program)
        .env_clear()
        .env(
            "PATH",
            format!(
                "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
                crate::machine::BIN
            ),
        )
        .env("HOME", "/root");
    command
}

/// A command in the network of a process.
pub fn in_network(pid: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg("--target")
        .arg(pid.to_string())
        .args(["--net", "--"])
        .arg(program);
    command
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
