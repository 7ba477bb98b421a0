//! Flags of upstream's programs that are accepted without effect, so that a kubeadm command line
//! runs unchanged. What each asks for is either always so here or not yet built; which of the two
//! is said in the log at start.
mod flags;

use crate::logging;
use clap::{Arg, ArgAction, ArgMatches, Command};
use flags::PARTS;
use std::sync::OnceLock;

/// Why a flag has no effect.
#[derive(Clone, Copy)]
enum Why {
    /// What it asks for is how this program always behaves.
    Always,
    /// The feature behind it is not built yet.
    NotYet,
}

/// Adds the inert flags to each part's subcommand, hidden from help.
pub fn accept(command: Command) -> Command {
    PARTS.iter().fold(command, |command, (part, flags)| {
        command.mut_subcommand(*part, |part| {
            // What is said last counts, as upstream has it: unit files lay one line of flags over another.
            part.args_override_self(true)
                .args(flags.iter().copied().flatten().map(|(flag, _)| {
                    Arg::new(*flag)
                        .long(*flag)
                        .hide(true)
                        .action(ArgAction::Append)
                        .num_args(0..=1)
                        .default_missing_value("true")
                }))
        })
    })
}

/// The line to log about inert flags that were given, if any asks for something not built yet.
pub fn notice(matches: &ArgMatches) -> Option<String> {
    let (part, given) = matches.subcommand()?;
    let (_, flags) = PARTS.iter().find(|(name, _)| *name == part)?;
    let ignored: Vec<String> = flags
        .iter()
        .copied()
        .flatten()
        .filter(|(flag, why)| matches!(why, Why::NotYet) && given.contains_id(flag))
        .map(|(flag, _)| format!("--{flag}"))
        .collect();
    (!ignored.is_empty()).then(|| format!("accepted without effect in this version: {}", ignored.join(", ")))
}

/// What is to be said of them, once the log is set up.
static NOTICE: OnceLock<String> = OnceLock::new();

/// Keeps the notice for [`mention`]: the log isn't set up before the flags are known.
pub fn note(matches: &ArgMatches) {
    if let Some(notice) = notice(matches) {
        // The command line is read once.
        let _ = NOTICE.set(notice);
    }
}

/// Tells the notice, if there is one.
pub fn mention() {
    if let Some(notice) = NOTICE.get() {
        logging::tell(notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flag_without_effect_is_named_in_the_notice() {
        let command = accept(crate::cli::Cli::command());
        let matches = command
            .try_get_matches_from(["orlop", "scheduler", "--kubeconfig=/x", "--feature-gates=A=true"])
            .unwrap();
        assert_eq!(
            notice(&matches).as_deref(),
            Some("accepted without effect in this version: --feature-gates")
        );
    }
}
