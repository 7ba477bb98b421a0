//! What a container used, in containerd's messages.

use super::place::{Cgroup, V1};
use crate::proto::Any;
use crate::proto::stats::{v1, v2};
use std::path::Path;

impl Cgroup {
    /// As `io.containerd.cgroups.v1.Metrics` or `…v2.Metrics`.
    pub fn stats(&self) -> Any {
        match self {
            Self::V1(groups) => Any::of(v1::METRICS, &of_v1(groups)),
            Self::V2(directory) => Any::of(v2::METRICS, &of_v2(directory)),
        }
    }
}

/// Lines of a key and a number each.
pub(super) struct Keyed(String);

impl Keyed {
    pub(super) fn read(path: &Path) -> Option<Self> {
        std::fs::read_to_string(path).ok().map(Self)
    }

    pub(super) fn get(&self, key: &str) -> u64 {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
            .map_or(0, number)
    }
}

/// A number; `max` is the largest there is.
fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

fn number_in(directory: &Path, file: &str) -> u64 {
    std::fs::read_to_string(directory.join(file)).map_or(0, |text| number(&text))
}

fn of_v1(groups: &V1) -> v1::Metrics {
    v1::Metrics {
        pids: groups.pids.as_ref().map(|directory| v1::Pids {
            current: number_in(directory, "pids.current"),
            // No limit is written as none.
            limit: match number_in(directory, "pids.max") {
                u64::MAX => 0,
                limit => limit,
            },
        }),
        cpu: Some(v1::Cpu {
            usage: groups.cpuacct.as_deref().map(cpu_usage_v1),
            throttling: groups
                .cpu
                .as_ref()
                .and_then(|directory| Keyed::read(&directory.join("cpu.stat")))
                .map(|stat| v1::Throttle {
                    periods: stat.get("nr_periods"),
                    throttled_periods: stat.get("nr_throttled"),
                    throttled_time: stat.get("throttled_time"),
                }),
        }),
        memory: groups.memory.as_deref().map(memory_v1),
        memory_oom_control: groups
            .memory
            .as_ref()
            .and_then(|directory| Keyed::read(&directory.join("memory.oom_control")))
            .map(|control| v1::OomControl {
                oom_kill_disable: control.get("oom_kill_disable"),
                under_oom: control.get("under_oom"),
                oom_kill: control.get("oom_kill"),
            }),
    }
}

fn cpu_usage_v1(directory: &Path) -> v1::CpuUsage {
    /// cpuacct.stat counts in these: 100 a second in every Linux there is.
    const TICK_NANOSECONDS: u64 = 10_000_000;
    let ticks = Keyed::read(&directory.join("cpuacct.stat"));
    let nanoseconds = |key| {
        ticks
            .as_ref()
            .map_or(0, |ticks| ticks.get(key) * TICK_NANOSECONDS)
    };
    let of_each = std::fs::read_to_string(directory.join("cpuacct.usage_percpu")).unwrap_or_default();
    v1::CpuUsage {
        total: number_in(directory, "cpuacct.usage"),
        kernel: nanoseconds("system"),
        user: nanoseconds("user"),
        per_cpu: of_each.split_whitespace().map(number).collect(),
    }
}

fn memory_v1(directory: &Path) -> v1::Memory {
    let stat = Keyed::read(&directory.join("memory.stat"));
    let get = |key| stat.as_ref().map_or(0, |stat| stat.get(key));
    let entry = |prefix: &str| {
        let file = |what: &str| number_in(directory, &format!("{prefix}.{what}"));
        directory
            .join(format!("{prefix}.usage_in_bytes"))
            .exists()
            .then(|| v1::MemoryEntry {
                limit: file("limit_in_bytes"),
                usage: file("usage_in_bytes"),
                max: file("max_usage_in_bytes"),
                failcnt: file("failcnt"),
            })
    };
    v1::Memory {
        cache: get("cache"),
        rss: get("rss"),
        rss_huge: get("rss_huge"),
        mapped_file: get("mapped_file"),
        dirty: get("dirty"),
        writeback: get("writeback"),
        pg_pg_in: get("pgpgin"),
        pg_pg_out: get("pgpgout"),
        pg_fault: get("pgfault"),
        pg_maj_fault: get("pgmajfault"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        hierarchical_memory_limit: get("hierarchical_memory_limit"),
        hierarchical_swap_limit: get("hierarchical_memsw_limit"),
        total_cache: get("total_cache"),
        total_rss: get("total_rss"),
        total_rss_huge: get("total_rss_huge"),
        total_mapped_file: get("total_mapped_file"),
        total_dirty: get("total_dirty"),
        total_writeback: get("total_writeback"),
        total_pg_pg_in: get("total_pgpgin"),
        total_pg_pg_out: get("total_pgpgout"),
        total_pg_fault: get("total_pgfault"),
        total_pg_maj_fault: get("total_pgmajfault"),
        total_inactive_anon: get("total_inactive_anon"),
        total_active_anon: get("total_active_anon"),
        total_inactive_file: get("total_inactive_file"),
        total_active_file: get("total_active_file"),
        total_unevictable: get("total_unevictable"),
        usage: entry("memory"),
        swap: entry("memory.memsw"),
        kernel: entry("memory.kmem"),
        kernel_tcp: entry("memory.kmem.tcp"),
    }
}

fn of_v2(directory: &Path) -> v2::Metrics {
    let keyed = |file: &str| Keyed::read(&directory.join(file));
    let has = |file: &str| directory.join(file).exists();
    v2::Metrics {
        pids: has("pids.current").then(|| v2::Pids {
            current: number_in(directory, "pids.current"),
            limit: number_in(directory, "pids.max"),
        }),
        cpu: keyed("cpu.stat").map(|stat| v2::Cpu {
            usage_usec: stat.get("usage_usec"),
            user_usec: stat.get("user_usec"),
            system_usec: stat.get("system_usec"),
            nr_periods: stat.get("nr_periods"),
            nr_throttled: stat.get("nr_throttled"),
            throttled_usec: stat.get("throttled_usec"),
        }),
        memory: keyed("memory.stat").map(|stat| memory_v2(directory, &stat)),
        io: std::fs::read_to_string(directory.join("io.stat"))
            .ok()
            .map(|text| v2::Io {
                usage: text.lines().filter_map(io_entry).collect(),
            }),
        memory_events: keyed("memory.events").map(|events| v2::MemoryEvents {
            low: events.get("low"),
            high: events.get("high"),
            max: events.get("max"),
            oom: events.get("oom"),
            oom_kill: events.get("oom_kill"),
        }),
    }
}

fn memory_v2(directory: &Path, stat: &Keyed) -> v2::Memory {
    v2::Memory {
        anon: stat.get("anon"),
        file: stat.get("file"),
        kernel_stack: stat.get("kernel_stack"),
        slab: stat.get("slab"),
        sock: stat.get("sock"),
        shmem: stat.get("shmem"),
        file_mapped: stat.get("file_mapped"),
        file_dirty: stat.get("file_dirty"),
        file_writeback: stat.get("file_writeback"),
        anon_thp: stat.get("anon_thp"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        slab_reclaimable: stat.get("slab_reclaimable"),
        slab_unreclaimable: stat.get("slab_unreclaimable"),
        pgfault: stat.get("pgfault"),
        pgmajfault: stat.get("pgmajfault"),
        usage: number_in(directory, "memory.current"),
        usage_limit: number_in(directory, "memory.max"),
        swap_usage: number_in(directory, "memory.swap.current"),
        swap_limit: number_in(directory, "memory.swap.max"),
        max_usage: number_in(directory, "memory.peak"),
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=…`.
fn io_entry(line: &str) -> Option<v2::IoEntry> {
    let mut words = line.split(' ');
    let (major, minor) = words.next()?.split_once(':')?;
    let mut entry = v2::IoEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        ..v2::IoEntry::default()
    };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        match key {
            "rbytes" => entry.rbytes = number(value),
            "wbytes" => entry.wbytes = number(value),
            "rios" => entry.rios = number(value),
            "wios" => entry.wios = number(value),
            _ => {}
        }
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn v2_files_become_metrics() {
        let directory = directory(&[
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("cpu.stat", "usage_usec 10\nuser_usec 7\nsystem_usec 3\n"),
            ("memory.stat", "anon 100\nfile 5\nanon_thp 1\ninactive_file 4\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "8192\n"),
            ("memory.events", "low 0\noom 2\noom_kill 1\noom_group_kill 9\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5\n"),
        ]);
        let metrics = of_v2(directory.path());
        let pids = metrics.pids.unwrap();
        assert_eq!((pids.current, pids.limit), (3, u64::MAX));
        assert_eq!(metrics.cpu.unwrap().usage_usec, 10);
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.anon, memory.anon_thp, memory.inactive_file), (100, 1, 4));
        assert_eq!((memory.usage, memory.usage_limit), (4096, 8192));
        let events = metrics.memory_events.unwrap();
        assert_eq!((events.oom, events.oom_kill), (2, 1));
        let io = metrics.io.unwrap().usage[0];
        assert_eq!(
            (io.major, io.minor, io.rbytes, io.wbytes, io.rios, io.wios),
            (8, 0, 1, 2, 3, 4)
        );
    }

    #[test]
    fn v1_files_become_metrics() {
        let directory = directory(&[
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
            ("cpuacct.usage", "5000\n"),
            ("cpuacct.usage_percpu", "2000 3000 \n"),
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("memory.stat", "cache 1\nrss 2\ntotal_inactive_file 3\n"),
            ("memory.usage_in_bytes", "700\n"),
            ("memory.limit_in_bytes", "900\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
            ),
        ]);
        let here = Some(directory.path().to_owned());
        let metrics = of_v1(&V1 {
            cpu: None,
            cpuacct: here.clone(),
            memory: here.clone(),
            pids: here,
            devices: None,
        });
        assert_eq!(metrics.pids.unwrap().limit, 0);
        let usage = metrics.cpu.unwrap().usage.unwrap();
        assert_eq!(
            (usage.total, usage.user, usage.kernel),
            (5000, 20_000_000, 10_000_000)
        );
        assert_eq!(usage.per_cpu, [2000, 3000]);
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.rss, memory.total_inactive_file), (2, 3));
        let entry = memory.usage.unwrap();
        assert_eq!((entry.usage, entry.limit), (700, 900));
        assert!(memory.swap.is_none());
        assert_eq!(metrics.memory_oom_control.unwrap().oom_kill, 4);
    }
}
