//! What a cgroup has used, from the kernel's files. Pure: files are read through a function.
use super::limits;
use std::collections::{BTreeMap, HashMap};
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
    /// How many there may be, if that is limited.
    pub processes_max: Option<u64>,
    /// What went to and from disks, by device.
    pub disks: Vec<DiskUsed>,
    /// How long its processes waited for disks. Cgroup v2 only.
    pub io_pressure: Option<Pressure>,
}

/// What was read from and written to one device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskUsed {
    /// `8:0`
    pub device: String,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
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
    /// Its part of the processors when they are short, in the numbers of v1.
    pub shares: Option<u64>,
    /// Microseconds that it may use of each period of so many.
    pub quota: Option<u64>,
    pub period: Option<u64>,
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
    pub mapped: u64,
    /// The most it ever was, where the kernel remembers.
    pub peak: u64,
    /// How often the limit was in the way (v1), and how often somebody was killed for it.
    pub refusals: u64,
    pub kills: u64,
    pub reservation: u64,
    /// None where it may swap as much as it likes.
    pub swap_limit: Option<u64>,
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
        processes_max: number(read("pids", "pids.max")),
        disks: if unified { disks_v2(read) } else { disks_v1(read) },
        io_pressure: unified
            .then(|| read("io", "io.pressure"))
            .flatten()
            .as_deref()
            .and_then(pressure),
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn disks_v2(read: &Read<'_>) -> Vec<DiskUsed> {
    let text = read("io", "io.stat").unwrap_or_default();
    let disk = |line: &str| {
        let (device, words) = line.split_once(' ')?;
        let of = |name: &str| {
            let mut pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        Some(DiskUsed {
            device: device.to_owned(),
            read_bytes: of("rbytes"),
            written_bytes: of("wbytes"),
            reads: of("rios"),
            writes: of("wios"),
        })
    };
    text.lines().filter_map(disk).collect()
}

/// `8:0 Read 1`, one operation a line.
fn disks_v1(read: &Read<'_>) -> Vec<DiskUsed> {
    let mut disks: BTreeMap<String, DiskUsed> = BTreeMap::new();
    let mut take = |file: &str, field: fn(&mut DiskUsed, bool) -> &mut u64| {
        for line in read("blkio", file).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[device, operation @ ("Read" | "Write"), value] = &words[..] else {
                continue;
            };
            let disk = disks.entry(device.to_owned()).or_insert_with(|| DiskUsed {
                device: device.to_owned(),
                ..DiskUsed::default()
            });
            *field(disk, operation == "Read") = value.parse().unwrap_or(0);
        }
    };
    take("blkio.throttle.io_service_bytes_recursive", |disk, is_read| {
        if is_read {
            &mut disk.read_bytes
        } else {
            &mut disk.written_bytes
        }
    });
    take("blkio.throttle.io_serviced_recursive", |disk, is_read| {
        if is_read {
            &mut disk.reads
        } else {
            &mut disk.writes
        }
    });
    disks.into_values().collect()
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
        shares: number(read("cpu", "cpu.shares")),
        // -1 is no quota.
        quota: number(read("cpu", "cpu.cfs_quota_us")),
        period: number(read("cpu", "cpu.cfs_period_us")),
        pressure: None,
    })
}

fn cpu_v2(read: &Read<'_>) -> Option<CpuUsed> {
    let text = read("cpu", "cpu.stat")?;
    let stat = table(&text);
    let of = |name| stat.get(name).copied().unwrap_or(0);
    let limit = read("cpu", "cpu.max").unwrap_or_default();
    let mut limit = limit.split_whitespace();
    let weight = number(read("cpu", "cpu.weight"));
    Some(CpuUsed {
        shares: weight.map(limits::shares_of_weight),
        quota: limit.next().and_then(|quota| quota.parse().ok()),
        period: limit.next().and_then(|period| period.parse().ok()),
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
        mapped: of("total_mapped_file"),
        peak: number(read("memory", "memory.max_usage_in_bytes")).unwrap_or(0),
        refusals: number(read("memory", "memory.failcnt")).unwrap_or(0),
        kills: table(&read("memory", "memory.oom_control").unwrap_or_default())
            .get("oom_kill")
            .copied()
            .unwrap_or(0),
        reservation: limit_v1(read, "memory.soft_limit_in_bytes").unwrap_or(0),
        swap_limit: limit_v1(read, "memory.memsw.limit_in_bytes"),
        pressure: None,
    })
}

/// Bytes.
fn limit_v1(read: &Read<'_>, file: &str) -> Option<u64> {
    number(read("memory", file)).filter(|limit| *limit < NO_LIMIT)
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
        mapped: of("file_mapped"),
        peak: number(read("memory", "memory.peak")).unwrap_or(usage),
        refusals: 0,
        kills: table(&read("memory", "memory.events").unwrap_or_default())
            .get("oom_kill")
            .copied()
            .unwrap_or(0),
        reservation: number(read("memory", "memory.low")).unwrap_or(0),
        swap_limit: number(read("memory", "memory.swap.max")),
        pressure: read("memory", "memory.pressure").as_deref().and_then(pressure),
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and a line `full …` alike.
pub fn pressure(text: &str) -> Option<Pressure> {
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
            ("pids.max", "max\n"),
            ("cpu.shares", "512\n"),
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "100000\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 1\nTotal 4608\n",
            ),
            (
                "blkio.throttle.io_serviced_recursive",
                "8:0 Read 3\n8:0 Write 1\n",
            ),
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
        assert_eq!((memory.limit, memory.page_faults, memory.kills), (None, 7, 2));
        assert_eq!((used.processes, used.processes_max), (Some(4), None));
        assert_eq!(
            (cpu.shares, cpu.quota, cpu.period),
            (Some(512), None, Some(100_000))
        );
        let disk = DiskUsed {
            device: "8:0".into(),
            read_bytes: 4096,
            written_bytes: 512,
            reads: 3,
            writes: 1,
        };
        assert_eq!(used.disks, [disk]);
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
            ("memory.swap.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n"),
            ("cpu.weight", "1\n"),
            ("cpu.max", "max 100000\n"),
            (
                "io.stat",
                "8:0 rbytes=4096 wbytes=512 rios=3 wios=1 dbytes=0 dios=0\n",
            ),
            (
                "io.pressure",
                "some avg10=2.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=5\n",
            ),
        ]);
        let used = used(true, &read);
        let io = used.io_pressure.unwrap();
        assert_eq!((io.some.avg10, io.full.total), (2.0, Duration::from_micros(5)));
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
        assert_eq!((memory.kills, memory.swap_limit, memory.peak), (1, None, 1000));
        assert_eq!(used.processes, None);
        assert_eq!(
            (cpu.shares, cpu.quota, cpu.period),
            (Some(2), None, Some(100_000))
        );
        assert_eq!((used.disks[0].reads, used.disks[0].written_bytes), (3, 512));
    }

    #[test]
    fn what_a_cgroup_does_not_tell_is_not_made_up() {
        assert_eq!(used(true, &files(&[("memory.max", "max\n")])), Used::default());
        assert_eq!(used(false, &files(&[])), Used::default());
    }
}
