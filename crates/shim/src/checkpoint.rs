//! How runc is asked for a checkpoint: what a container is at, written to a directory by CRIU.

use crate::proto::options::CheckpointOptions;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The flags of `runc checkpoint`. The files go to `images`, CRIU's own notes to `work`.
pub fn flags(images: &Path, work: &Path, options: &CheckpointOptions) -> Vec<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    let mut with = |flag: &str, value: &OsStr| flags.extend([OsString::from(flag), value.to_owned()]);
    with("--image-path", images.as_os_str());
    with("--work-path", work.as_os_str());
    if !options.parent_path.is_empty() {
        with("--parent-path", options.parent_path.as_ref());
    }
    if !options.cgroups_mode.is_empty() {
        with("--manage-cgroups-mode", options.cgroups_mode.as_ref());
    }
    for namespace in &options.empty_namespaces {
        with("--empty-ns", namespace.as_ref());
    }
    let switches = [
        (!options.exit, "--leave-running"),
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ];
    let on = switches.into_iter().filter(|(is_on, _)| *is_on);
    flags.extend(on.map(|(_, flag)| OsString::from(flag)));
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &CheckpointOptions) -> String {
        let flags = flags(Path::new("/i"), Path::new("/w"), options);
        let words: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn a_container_goes_on_unless_it_is_to_end_with_its_checkpoint() {
        assert_eq!(
            words(&CheckpointOptions::default()),
            "--image-path /i --work-path /w --leave-running"
        );
        let ending = CheckpointOptions {
            exit: true,
            open_tcp: true,
            terminal: true,
            empty_namespaces: vec!["network".to_owned()],
            cgroups_mode: "soft".to_owned(),
            ..CheckpointOptions::default()
        };
        assert_eq!(
            words(&ending),
            "--image-path /i --work-path /w --manage-cgroups-mode soft --empty-ns network --tcp-established --shell-job"
        );
    }
}
