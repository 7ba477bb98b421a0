//! The kernel's numbers for requests and limits, and the files they go into (contract, node agent §11.5, §17.1). Pure.
use orlop_api::pod::QosClass;
use std::collections::BTreeMap;
use std::time::Duration;

const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
/// Microseconds; the kernel takes no less.
const QUOTA_MIN: i64 = 1_000;

/// CPU shares of a request in thousandths of a core.
pub fn shares(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// The v2 weight of v1 shares.
pub fn weight(shares: i64) -> i64 {
    1 + ((shares - SHARES_MIN) * 9999) / 262_142
}

/// The shares that a weight stands for.
pub fn shares_of_weight(weight: u64) -> u64 {
    SHARES_MIN.unsigned_abs() + weight.saturating_sub(1) * 262_142 / 9999
}

/// Microseconds of a scheduling period.
pub fn period_us(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(100_000)
}

/// CPU time per period of a limit in thousandths of a core, microseconds.
pub fn quota_us(milli_cpu: i64, period: Duration) -> i64 {
    (milli_cpu.saturating_mul(period_us(period)) / 1000).max(QUOTA_MIN)
}

/// Limits of a cgroup that holds others; what is `None` stays unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU shares, v1 style.
    pub shares: Option<i64>,
    /// Microseconds of CPU time per period, and the period.
    pub quota: Option<(i64, i64)>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Processes.
    pub pids: Option<i64>,
}

/// The files of a cgroup and what to write into them; on v1 with the hierarchy that has them.
pub fn files(limits: &Limits, unified: bool) -> Vec<(&'static str, &'static str, String)> {
    let mut files = Vec::new();
    let mut add = |controller, v1: &'static str, v2: &'static str, value: String| {
        files.push((controller, if unified { v2 } else { v1 }, value));
    };
    if let Some(shares) = limits.shares {
        let value = if unified { weight(shares) } else { shares };
        add("cpu", "cpu.shares", "cpu.weight", value.to_string());
    }
    if let Some((quota, period)) = limits.quota {
        if unified {
            add("cpu", "", "cpu.max", format!("{quota} {period}"));
        } else {
            add("cpu", "cpu.cfs_period_us", "", period.to_string());
            add("cpu", "cpu.cfs_quota_us", "", quota.to_string());
        }
    }
    if let Some(memory) = limits.memory {
        add(
            "memory",
            "memory.limit_in_bytes",
            "memory.max",
            memory.to_string(),
        );
    }
    if let Some(pids) = limits.pids {
        add("pids", "pids.max", "pids.max", pids.to_string());
    }
    files
}

/// The files for huge pages of a size; the second, for what is set aside without being used, is not on every kernel.
pub fn huge_page_files(size: &str, unified: bool) -> [String; 2] {
    let limit = if unified { "max" } else { "limit_in_bytes" };
    [
        format!("hugetlb.{size}.{limit}"),
        format!("hugetlb.{size}.rsvd.{limit}"),
    ]
}

/// The time and memory that a cgroup is limited to now, from its files.
pub fn current(unified: bool, read: &dyn Fn(&str, &str) -> Option<String>) -> Limits {
    let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| *number > 0);
    let quota = if unified {
        let text = read("cpu", "cpu.max").unwrap_or_default();
        let mut words = text.split_whitespace();
        words.next().and_then(number).zip(words.next().and_then(number))
    } else {
        let file = |file: &str| read("cpu", file).as_deref().and_then(number);
        file("cpu.cfs_quota_us").zip(file("cpu.cfs_period_us"))
    };
    let file = if unified {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    Limits {
        quota,
        memory: read("memory", file).as_deref().and_then(number),
        ..Limits::default()
    }
}

/// What of `wanted` allows more than `current`. Where there is no limit now, there is nothing to widen.
pub fn wider(wanted: Limits, current: &Limits) -> Limits {
    let share = |(quota, period): (i64, i64)| i128::from(quota) * 1_000_000 / i128::from(period.max(1));
    Limits {
        shares: wanted.shares,
        quota: wanted
            .quota
            .filter(|new| current.quota.is_some_and(|old| share(*new) > share(old))),
        memory: wanted
            .memory
            .filter(|new| current.memory.is_some_and(|old| *new > old)),
        pids: None,
    }
}

/// Shares of all pods of a class together; that of guaranteed pods is the one of all pods, which is not this.
pub fn class_shares(class: QosClass, milli_cpu_of_pods: &BTreeMap<String, i64>) -> i64 {
    match class {
        QosClass::Burstable => {
            let asked = milli_cpu_of_pods.values();
            shares(asked.fold(0, |sum, own| sum.saturating_add(*own)))
        }
        QosClass::BestEffort | QosClass::Guaranteed => SHARES_MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    #[test]
    fn s07_shares_weight_and_quota() {
        for (milli, expected_shares, expected_weight) in [
            (0, 2, 1),
            (1, 2, 1),
            (2, 2, 1),
            (100, 102, 4),
            (250, 256, 10),
            (1000, 1024, 39),
            (2000, 2048, 79),
            (1_000_000, 262_144, 10_000),
        ] {
            assert_eq!(shares(milli), expected_shares, "{milli}");
            assert_eq!(weight(shares(milli)), expected_weight, "{milli}");
        }
        for (milli, period, expected) in [
            (500, PERIOD, 50_000),
            (2000, PERIOD, 200_000),
            (1, PERIOD, 1_000),
            (500, Duration::from_millis(10), 5_000),
        ] {
            assert_eq!(quota_us(milli, period), expected, "{milli} in {period:?}");
        }
    }

    #[test]
    fn s07_s08_files_of_both_versions() {
        let limits = Limits {
            shares: Some(1024),
            quota: Some((50_000, 100_000)),
            memory: Some(64 << 20),
            pids: Some(1024),
        };
        let text = |unified| {
            let files = files(&limits, unified);
            let lines = files
                .iter()
                .map(|(controller, file, value)| format!("{controller} {file}={value}"));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            text(false),
            [
                "cpu cpu.shares=1024",
                "cpu cpu.cfs_period_us=100000",
                "cpu cpu.cfs_quota_us=50000",
                "memory memory.limit_in_bytes=67108864",
                "pids pids.max=1024",
            ]
        );
        assert_eq!(
            text(true),
            [
                "cpu cpu.weight=39",
                "cpu cpu.max=50000 100000",
                "memory memory.max=67108864",
                "pids pids.max=1024"
            ]
        );
        assert!(files(&Limits::default(), true).is_empty());
    }

    #[test]
    fn cgroup_is_widened_only_where_it_gets_more() {
        let files = |v2: bool| {
            move |_: &str, file: &str| {
                let text = match (v2, file) {
                    (true, "cpu.max") => "50000 100000\n",
                    (true, "memory.max") => "max\n",
                    (false, "cpu.cfs_quota_us") => "-1\n",
                    (false, "cpu.cfs_period_us") => "100000\n",
                    (false, "memory.limit_in_bytes") => "67108864\n",
                    _ => return None,
                };
                Some(text.to_owned())
            }
        };
        let v2 = current(true, &files(true));
        assert_eq!((v2.quota, v2.memory), (Some((50_000, 100_000)), None));
        let v1 = current(false, &files(false));
        assert_eq!((v1.quota, v1.memory), (None, Some(64 << 20)));
        let wanted = |quota: i64, memory: i64| Limits {
            quota: Some((quota, 100_000)),
            memory: Some(memory),
            ..Limits::default()
        };
        assert_eq!(wider(wanted(60_000, 1 << 20), &v2).quota, Some((60_000, 100_000)));
        assert_eq!(wider(wanted(40_000, 1 << 20), &v2), Limits::default());
        assert_eq!(wider(wanted(40_000, 65 << 20), &v1).memory, Some(65 << 20));
        assert_eq!(wider(wanted(40_000, 63 << 20), &v1), Limits::default());
    }

    #[test]
    fn burstable_pods_share_what_they_asked_for_together() {
        let pods = BTreeMap::from([("a".to_owned(), 250), ("b".to_owned(), 750)]);
        assert_eq!(class_shares(QosClass::Burstable, &pods), 1024);
        assert_eq!(class_shares(QosClass::Burstable, &BTreeMap::new()), 2);
        assert_eq!(class_shares(QosClass::BestEffort, &pods), 2);
    }
}
