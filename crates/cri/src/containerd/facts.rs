//! What this machine allows.

/// `CAP_SYS_RESOURCE` in the kernel's numbering.
const CAP_SYS_RESOURCE: u32 = 24;

/// Facts about the machine that shape the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// `oom_score_adj` may be lowered and limits raised (`CAP_SYS_RESOURCE`). Missing in many containers and sandboxes.
    pub has_sys_resource: bool,
}

impl Facts {
    /// Asks the kernel.
    pub fn gather() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            has_sys_resource: has_capability(&status, CAP_SYS_RESOURCE),
        }
    }
}

fn has_capability(status: &str, capability: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << capability) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_set_decides() {
        let status = |mask: &str| format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{mask}\n");
        assert!(has_capability(&status("000001ffffffffff"), 24));
        assert!(!has_capability(&status("000001fffeffffff"), 24));
        assert!(!has_capability("", 24));
    }
}
