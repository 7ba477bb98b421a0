//! Command lines of upstream's programs in the form that our parser takes: theirs is more patient.
use super::kubelet_flags;
use clap::{ArgAction, Command};
use orlop_apiserver::GIT_VERSION;
use std::ffi::OsString;

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// To say what the program is.
    Version(String),
    /// To run with these words after the program's name.
    Run(Vec<OsString>),
}

/// `words`: what follows the program's name; `part`: the command they are for.
///
/// Names may have underscores for dashes, words of nothing count for nothing, and so do flags that are given nothing,
/// but for those of the node agent's configuration, where nothing is a value. Flags of etcd may have one dash.
pub fn read(part: &Command, words: impl IntoIterator<Item = OsString>) -> Asked {
    let is_kubelet = part.get_name() == "kubelet";
    let has_meaning = |flag: &str| is_kubelet && kubelet_flags::is_one(flag);
    let mut read: Vec<OsString> = Vec::new();
    // A flag that has its value in the next word.
    let mut open: Option<String> = None;
    for word in words {
        let Some(text) = word.to_str() else {
            open = None;
            read.push(word);
            continue;
        };
        if let Some(flag) = open.take() {
            match text {
                "" if has_meaning(&flag) => read.push(format!("--{flag}=").into()),
                "" => {}
                _ => read.extend([OsString::from(format!("--{flag}")), word]),
            }
            continue;
        }
        if text.is_empty() {
            continue;
        }
        let flag = text.strip_prefix("--").or_else(|| behind_one_dash(part, text));
        let Some(flag) = flag.filter(|flag| !flag.is_empty()) else {
            read.push(word);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value)),
            None => (flag.replace('_', "-"), None),
        };
        match (name.as_str(), value) {
            ("version", None | Some("true")) => return Asked::Version(version(part)),
            ("version", Some("raw")) => return Asked::Version(raw_version(part)),
            ("version", Some(_)) => {}
            (_, Some("")) if !has_meaning(&name) => {}
            (_, Some(value)) => read.push(format!("--{name}={value}").into()),
            (_, None) if needs_value(part, &name) => open = Some(name),
            (_, None) => read.push(format!("--{name}").into()),
        }
    }
    // The parser says what is missing.
    read.extend(open.map(|flag| OsString::from(format!("--{flag}"))));
    Asked::Run(read)
}

/// What stands behind the dash of a word that is a flag of etcd's: it takes one as well as two.
fn behind_one_dash<'w>(part: &Command, word: &'w str) -> Option<&'w str> {
    if part.get_name() != "etcd" {
        return None;
    }
    let flag = word.strip_prefix('-')?;
    let name = flag.split('=').next()?;
    let is_known = part.get_arguments().any(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    });
    (is_known || matches!(name, "version" | "help")).then_some(flag)
}

fn needs_value(part: &Command, name: &str) -> bool {
    let flag = part.get_arguments().find(|arg| arg.get_long() == Some(name));
    flag.is_some_and(|flag| {
        let takes = matches!(flag.get_action(), ArgAction::Set | ArgAction::Append);
        takes && flag.get_num_args().is_none_or(|count| count.min_values() > 0)
    })
}

fn version(part: &Command) -> String {
    match part.get_name() {
        "etcd" => format!("etcd Version: {}\n", orlop_etcd::ETCD_VERSION),
        _ => format!("Kubernetes {GIT_VERSION}\n"),
    }
}

fn raw_version(part: &Command) -> String {
    let mut minor = GIT_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (minor.next().unwrap_or_default(), minor.next().unwrap_or_default());
    match part.get_name() {
        "etcd" => version(part),
        _ => format!("version.Info{{Major:\"{major}\", Minor:\"{minor}\", GitVersion:\"{GIT_VERSION}\"}}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(part: &str, words: &[&str]) -> Asked {
        let command = crate::cli::command();
        let part = command.find_subcommand(part).unwrap();
        read(part, words.iter().map(OsString::from))
    }

    fn run(words: &[&str]) -> Asked {
        Asked::Run(words.iter().map(OsString::from).collect())
    }

    /// kubeadm reads the version of a node agent out of one line of this form.
    #[test]
    fn a_version_is_kubernetes() {
        for part in ["kubelet", "apiserver", "controller-manager", "scheduler"] {
            for word in ["--version", "--version=true"] {
                let Asked::Version(line) = asked(part, &["--v=2", word]) else {
                    panic!("{part} {word}");
                };
                let version = line
                    .strip_prefix("Kubernetes v")
                    .unwrap()
                    .strip_suffix('\n')
                    .unwrap();
                let numbers = version.split('+').next().unwrap().split('.');
                assert_eq!(
                    numbers.filter(|number| number.parse::<u32>().is_ok()).count(),
                    3,
                    "{line}"
                );
            }
        }
        assert_eq!(
            asked("etcd", &["--version"]),
            Asked::Version(format!("etcd Version: {}\n", orlop_etcd::ETCD_VERSION))
        );
        assert_eq!(asked("kubelet", &["--version=false"]), run(&[]));
    }

    #[test]
    fn words_of_nothing_and_flags_given_nothing_count_for_nothing() {
        let line = [
            "",
            "--feature-gates=",
            "",
            "--external-hostname",
            "--secure-port",
            "1",
            "--tls-cert-file=",
        ];
        assert_eq!(
            asked("apiserver", &line),
            run(&["--external-hostname", "--secure-port", "1"])
        );
        assert_eq!(
            asked(
                "controller-manager",
                &["--root-ca-file", "", "--kubeconfig", "/k"]
            ),
            run(&["--kubeconfig", "/k"])
        );
        assert_eq!(
            asked(
                "kubelet",
                &[
                    "--cloud-config=",
                    "--kubeconfig=",
                    "--enforce-node-allocatable=",
                    "--resolv-conf",
                    ""
                ]
            ),
            run(&["--enforce-node-allocatable=", "--resolv-conf="])
        );
    }

    #[test]
    fn flags_of_etcd_may_have_one_dash() {
        let line = ["-name", "one", "-data-dir=/d", "-client-cert-auth", "-v=4", "-x"];
        assert_eq!(
            asked("etcd", &line),
            run(&[
                "--name",
                "one",
                "--data-dir=/d",
                "--client-cert-auth",
                "--v=4",
                "-x"
            ])
        );
        assert!(matches!(asked("etcd", &["-version"]), Asked::Version(_)));
        assert_eq!(asked("scheduler", &["-kubeconfig=/k"]), run(&["-kubeconfig=/k"]));
    }

    #[test]
    fn names_may_have_underscores() {
        assert_eq!(
            asked(
                "controller-manager",
                &["--concurrent_rc_syncs=10", "--root_ca_file=/a_b"]
            ),
            run(&["--concurrent-rc-syncs=10", "--root-ca-file=/a_b"])
        );
    }

    #[test]
    fn what_the_parser_refuses_comes_to_it() {
        assert_eq!(asked("scheduler", &["--kubeconfig"]), run(&["--kubeconfig"]));
        assert_eq!(asked("scheduler", &["--", "-x"]), run(&["--", "-x"]));
    }
}
