//! What a node agent wants of the kernel, and of its own process (contract, node agent §2.4).
use anyhow::{Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use orlop_kubelet::config::KubeletConfiguration;
use std::path::Path;

/// Where the kernel's settings are.
const SETTINGS: &str = "/proc/sys";
/// Memory is given out freely, since pods are limited by their own limits; a kernel that has lost its way starts anew.
const WANTED: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Puts the machine's kernel right, or, with `protectKernelDefaults`, only checks it. Not for a node beside others: the
/// kernel is everybody's.
pub fn settle(configuration: &KubeletConfiguration) -> Result<()> {
    let protects = configuration.other.get("protectKernelDefaults") == Some(&true.into());
    settle_below(Path::new(SETTINGS), protects)
}

fn settle_below(settings: &Path, protects: bool) -> Result<()> {
    let mut wrong = Vec::new();
    for (name, wanted) in WANTED {
        let path = settings.join(name);
        // A kernel without a setting has nothing to put right.
        let Ok(current) = std::fs::read_to_string(&path) else {
            continue;
        };
        let current = current.trim();
        if current == wanted {
            continue;
        }
        let name = name.replace('/', ".");
        if protects {
            wrong.push(format!("{name} is {current}, {wanted} is wanted"));
        } else if let Err(error) = std::fs::write(&path, wanted) {
            tracing::warn!(setting = name, current, wanted, %error, "cannot put a kernel setting right");
        } else {
            tracing::info!(
                setting = name,
                before = current,
                now = wanted,
                "kernel setting put right"
            );
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "protectKernelDefaults: {}; set them with sysctl, or leave it to the node agent without protectKernelDefaults",
        wrong.join("; ")
    )
}

/// The agent is the last to be killed for memory, and may have files enough for all its pods.
pub fn settle_process(configuration: &KubeletConfiguration) {
    let score = configuration.oom_score_adj.to_string();
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", &score) {
        tracing::debug!(score, %error, "cannot set the agent's own oom_score_adj");
    }
    let wanted = u64::try_from(configuration.max_open_files).unwrap_or(0);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < wanted
        && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_err()
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)
    {
        tracing::debug!(wanted, hard, %error, "cannot raise the agent's limit of open files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_put_right_or_only_looked_at() {
        let settings = tempfile::tempdir().unwrap();
        let file = |name: &str| settings.path().join(name);
        std::fs::create_dir_all(file("vm")).unwrap();
        std::fs::write(file("vm/overcommit_memory"), "0\n").unwrap();
        std::fs::write(file("vm/panic_on_oom"), "0\n").unwrap();
        let refused = settle_below(settings.path(), true).unwrap_err().to_string();
        assert!(
            refused.contains("vm.overcommit_memory is 0, 1 is wanted"),
            "{refused}"
        );
        assert!(!refused.contains("panic_on_oom"), "{refused}");
        settle_below(settings.path(), false).unwrap();
        assert_eq!(
            std::fs::read_to_string(file("vm/overcommit_memory")).unwrap(),
            "1"
        );
        assert!(!file("kernel").exists(), "what the kernel lacks is not made");
        settle_below(settings.path(), true).unwrap();
    }
}
