//! What a containerd is configured with that somebody else started: its program is asked for the configuration it runs
//! with. From 2.0 on its CRI half doesn't say which sandbox image it wants.

use super::process::Listener;
use crate::Endpoint;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A program that takes longer to print its configuration isn't what it seems.
const PATIENCE: Duration = Duration::from_secs(10);
/// Part of the table that names images which are kept.
const PINNED: &str = ".pinned_images]";

/// The sandbox image of the containerd on a socket of this machine; `None`: it can't be found out.
pub(crate) async fn sandbox_image(endpoint: &Endpoint) -> Option<String> {
    let listener = Listener::of(endpoint.socket()).await?;
    let mut command = Command::new(format!("/proc/{}/exe", listener.pid));
    if let Some(file) = listener.config_file() {
        command.arg("--config").arg(OsStr::from_bytes(file));
    }
    command
        .args(["config", "dump"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .ok()?
        .ok()?;
    sandbox_image_of(&String::from_utf8_lossy(&output.stdout))
}

/// Out of TOML as containerd prints it: one key a line, strings in either kind of quotes.
fn sandbox_image_of(dump: &str) -> Option<String> {
    let table = dump
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.ends_with(PINNED));
    let keys = table.skip(1).take_while(|line| !line.starts_with('['));
    let (_, value) = keys
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "sandbox")?;
    let name = value.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_image_is_the_pinned_one_of_that_name() {
        let table = "    [plugins.'io.containerd.cri.v1.images'.pinned_images]\n";
        for (text, expected) in [
            (
                format!("{table}      sandbox = 'r.io/pause:3'\n"),
                Some("r.io/pause:3"),
            ),
            (
                format!(
                    "[a]\nsandbox = 'x'\n{table}      other = \"y\"\n      sandbox = \"r.io/pause:3\"\n\n[b]\n"
                ),
                Some("r.io/pause:3"),
            ),
            (format!("{table}\n[b]\nsandbox = 'x'\n"), None),
            (format!("{table}sandbox = ''\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(sandbox_image_of(&text).as_deref(), expected, "{text}");
        }
    }
}
