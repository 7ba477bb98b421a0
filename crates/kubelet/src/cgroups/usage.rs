//! What a cgroup has used, from the kernel's files. Pure: files are read through a function.
use std::collections::HashMap;
use std::time::Duration;

/// A cgroup v1 limit at or above this means none: the kernel writes the largest number of pages, in bytes.
const NO_LIMIT: u64 = 1 << 62;
/// Ticks of `cpuacct.stat` in a second, on every machine that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// What a cgroup and all below it have used, as far as the kernel tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Used {
    pub cpu: Option<CpuUsed>,
    pub memory: Option<MemoryUsed>,
    pub processes: Option<u64>,
}

/// Processor time since the cgroup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuUsed {
    pub total: Duration,
    pub user: Duration,
    pub system: Duration,
    /// Periods in which a quota counted, and those in which it held processes back, for so long.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: Duration,
    /// Cgroup v2 only.
    pub pressure: Option<Pressure>,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryUsed {
    pub usage: u64,
    /// What could not be given up at once.
    pub working_set: u64,
    pub rss: u64,
    pub cache: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub limit: Option<u64>,
    pub swap: Option<u64>,
    /// Cgroup v2 only.
    pub pressure: Option<Pressure>,
}

/// Pressure stall information: how long some, or all, processes waited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Parts of the last seconds in percent, and the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: Duration,
}

/// Reads a file of a controller, by controller and name.
pub type Read<'a> = dyn Fn(&str, &str) -> Option<String> + 'a;

/// What the cgroup behind `read` has used.
pub fn used(unified: bool, read: &Read<'_>) -> Used {
    Used {
        cpu: if unified { cpu_v2(read) } else { cpu_v1(read) },
        memory: if unified { memory_v2(read) } else { memory_v1(read) },
        processes: number(read("pids", "pids.current")),
    }
}

fn number(text: Option<String>) -> Option<u64> {
    text?.trim().parse().ok()
}

/// `name value` lines.
fn table(text: &str) -> HashMap<&str, u64> {
    let pair = |line| {
        let (name, value): (&str, &str) = str::split_once(line, ' ')?;
        Some((name, value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn cpu_v1(read: &Read<'_>) -> Option<CpuUsed> {
    let total = Duration::from_nanos(number(read("cpuacct", "cpuacct.usage"))?);
    let split = read("cpuacct", "cpuacct.stat").unwrap_or_default();
    let split = table(&split);
    let ticks =
        |name| Duration::from_millis(split.get(name).copied().unwrap_or(0) * (1000 / TICKS_PER_SECOND));
    let quota = read("cpu", "cpu.stat").unwrap_or_default();
    let quota = table(&quota);
    let of = |name| quota.get(name).copied().unwrap_or(0);
    Some(CpuUsed {
        total,
        user: ticks("user"),
        system: ticks("system"),
        periods: of("nr_periods"),
        throttled_periods: of("nr_throttled"),
        throttled: Duration::from_nanos(of("throttled_time")),
        pressure: None,
    })
}

fn cpu_v2(read: &Read<'_>) -> Option<CpuUsed> {
    let text = read("cpu", "cpu.stat")?;
    let stat = table(&text);
    let of = |name| stat.get(name).copied().unwrap_or(0);
    Some(CpuUsed {
        total: Duration::from_micros(*stat.get("usage_usec")?),
        user: Duration::from_micros(of("user_usec")),
        system: Duration::from_micros(of("system_usec")),
        periods: of("nr_periods"),
        throttled_periods: of("nr_throttled"),
        throttled: Duration::from_micros(of("throttled_usec")),
        pressure: read("cpu", "cpu.pressure").as_deref().and_then(pressure),
    })
}

fn memory_v1(read: &Read<'_>) -> Option<MemoryUsed> {
    let usage = number(read("memory", "memory.usage_in_bytes"))?;
    let text = read("memory", "memory.stat").unwrap_or_default();
    let stat = table(&text);
    let of = |name| stat.get(name).copied().unwrap_or(0);
    let limit = number(read("memory", "memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT);
    Some(MemoryUsed {
        usage,
        working_set: usage.saturating_sub(of("total_inactive_file")),
        rss: of("total_rss"),
        cache: of("total_cache"),
        page_faults: of("total_pgfault"),
        major_page_faults: of("total_pgmajfault"),
        limit,
        swap: stat.get("total_swap").copied(),
        pressure: None,
    })
}

fn memory_v2(read: &Read<'_>) -> Option<MemoryUsed> {
    let usage = number(read("memory", "memory.current"))?;
    let text = read("memory", "memory.stat").unwrap_or_default();
    let stat = table(&text);
    let of = |name| stat.get(name).copied().unwrap_or(0);
    Some(MemoryUsed {
        usage,
        working_set: usage.saturating_sub(of("inactive_file")),
        rss: of("anon"),
        cache: of("file"),
        page_faults: of("pgfault"),
        major_page_faults: of("pgmajfault"),
        limit: number(read("memory", "memory.max")),
        swap: number(read("memory", "memory.swap.current")),
        pressure: read("memory", "memory.pressure").as_deref().and_then(pressure),
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and a line `full …` alike.
fn pressure(text: &str) -> Option<Pressure> {
    let stall = |kind: &str| {
        let words = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let of = |name: &str| {
            let mut words = words.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let share = |name| of(name)?.parse().ok();
        Some(Stall {
            avg10: share("avg10")?,
            avg60: share("avg60")?,
            avg300: share("avg300")?,
            total: Duration::from_micros(of("total")?.parse().ok()?),
        })
    };
    Some(Pressure {
        some: stall("some")?,
        // Of the processor, older kernels have no such line.
        full: stall("full").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&str, &str) -> Option<String> + 'a {
        move |_, wanted| {
            let found = files.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, text)| (*text).to_owned())
        }
    }

    #[test]
    fn n11_v1_files_tell_time_and_memory() {
        let read = files(&[
            ("cpuacct.usage", "1500000000\n"),
            ("cpuacct.stat", "user 100\nsystem 50\n"),
            ("cpu.stat", "nr_periods 10\nnr_throttled 2\nthrottled_time 5000\n"),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.stat",
                "cache 1\ntotal_cache 600\ntotal_rss 300\ntotal_inactive_file 250\ntotal_pgfault 7\ntotal_pgmajfault 1\n",
            ),
            ("pids.current", "4\n"),
        ]);
        let used = used(false, &read);
        let cpu = used.cpu.unwrap();
        assert_eq!(cpu.total, Duration::from_millis(1500));
        assert_eq!(
            (cpu.user, cpu.system),
            (Duration::from_secs(1), Duration::from_millis(500))
        );
        assert_eq!(
            (cpu.periods, cpu.throttled_periods, cpu.throttled),
            (10, 2, Duration::from_nanos(5000))
        );
        let memory = used.memory.unwrap();
        assert_eq!(
            (memory.usage, memory.working_set, memory.rss, memory.cache),
            (1000, 750, 300, 600)
        );
        assert_eq!((memory.limit, memory.page_faults), (None, 7));
        assert_eq!(used.processes, Some(4));
    }

    #[test]
    fn n11_v2_files_tell_the_same_and_pressure() {
        let read = files(&[
            (
                "cpu.stat",
                "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=42\n",
            ),
            ("memory.current", "1000\n"),
            ("memory.max", "2000\n"),
            (
                "memory.stat",
                "anon 300\nfile 600\ninactive_file 250\npgfault 7\npgmajfault 1\n",
            ),
            ("memory.swap.current", "0\n"),
        ]);
        let used = used(true, &read);
        let cpu = used.cpu.unwrap();
        assert_eq!(cpu.total, Duration::from_millis(1500));
        let some = cpu.pressure.unwrap().some;
        assert_eq!((some.avg10, some.total), (1.5, Duration::from_micros(42)));
        let memory = used.memory.unwrap();
        assert_eq!(
            (memory.working_set, memory.rss, memory.limit),
            (750, 300, Some(2000))
        );
        assert_eq!((memory.swap, memory.pressure), (Some(0), None));
        assert_eq!(used.processes, None);
    }

    #[test]
    fn what_a_cgroup_does_not_tell_is_not_made_up() {
        assert_eq!(used(true, &files(&[("memory.max", "max\n")])), Used::default());
        assert_eq!(used(false, &files(&[])), Used::default());
    }
}
