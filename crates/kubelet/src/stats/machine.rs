//! The node's own numbers: from the root cgroup, or /proc where that has none.
use super::{Interface, Packets};
use crate::cgroups::usage::{self, CpuUsed, MemoryUsed, Used};
use crate::cgroups::{Cgroups, MOUNT_POINT};
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Ticks of processor time in a second, and bytes of a page, on every machine that we run on.
const TICKS_PER_SECOND: u64 = 100;
const PAGE_BYTES: u64 = 4096;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What the machine has used.
pub fn used(cgroups: &Cgroups) -> Used {
    let root = cgroups.used("/");
    let memory = memory(&read("/proc/meminfo"), &read("/proc/vmstat"));
    Used {
        cpu: root.cpu.or_else(|| cpu(&read("/proc/stat"))),
        // The root of cgroup v2 doesn't count memory; that of v1 does, and doesn't know the machine's size.
        memory: match (root.memory, memory) {
            (Some(counted), Some(machine)) => Some(MemoryUsed {
                limit: machine.limit,
                swap: machine.swap,
                ..counted
            }),
            (counted, machine) => counted.or_else(|| {
                Some(MemoryUsed {
                    pressure: usage::pressure(&read("/proc/pressure/memory")),
                    ..machine?
                })
            }),
        },
        processes: processes(&read("/proc/loadavg")),
        ..root
    }
}

/// What one process has used, and with cgroup v2 the pressure on its cgroup.
pub fn process(id: u32, unified: bool) -> Used {
    let stat = read(&format!("/proc/{id}/stat"));
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let fields: Vec<u64> = after
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let ticks = |index: usize| {
        Duration::from_millis(fields.get(index).copied().unwrap_or(0) * (1000 / TICKS_PER_SECOND))
    };
    let statm = read(&format!("/proc/{id}/statm"));
    let pressure = |what: &str| unified.then(|| pressure_on(id, what)).flatten();
    let pages = |index| {
        let mut fields = statm.split_whitespace();
        fields.nth(index).and_then(|field| field.parse::<u64>().ok())
    };
    Used {
        cpu: (!fields.is_empty()).then(|| CpuUsed {
            total: ticks(11) + ticks(12),
            user: ticks(11),
            system: ticks(12),
            pressure: pressure("cpu"),
            ..CpuUsed::default()
        }),
        memory: pages(1).map(|resident| MemoryUsed {
            usage: resident * PAGE_BYTES,
            working_set: resident * PAGE_BYTES,
            rss: resident.saturating_sub(pages(2).unwrap_or(0)) * PAGE_BYTES,
            page_faults: fields.get(7).copied().unwrap_or(0),
            major_page_faults: fields.get(9).copied().unwrap_or(0),
            pressure: pressure("memory"),
            ..MemoryUsed::default()
        }),
        io_pressure: pressure("io"),
        ..Used::default()
    }
}

/// The pressure on the cgroup that a process is in.
fn pressure_on(process: u32, what: &str) -> Option<usage::Pressure> {
    let cgroup = read(&format!("/proc/{process}/cgroup"));
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    usage::pressure(&read(&format!("{MOUNT_POINT}{path}/{what}.pressure")))
}

fn cpu(stat: &str) -> Option<CpuUsed> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let time = |indices: &[usize]| {
        let sum: u64 = indices.iter().filter_map(|index| ticks.get(*index)).sum();
        Duration::from_millis(sum * (1000 / TICKS_PER_SECOND))
    };
    // user, nice, system, idle, iowait, irq, softirq
    let (user, system) = (time(&[0, 1]), time(&[2, 5, 6]));
    Some(CpuUsed {
        total: user + system,
        user,
        system,
        ..CpuUsed::default()
    })
}

fn memory(meminfo: &str, vmstat: &str) -> Option<MemoryUsed> {
    let number = |line| {
        let (name, rest): (&str, &str) = str::split_once(line, ':')?;
        let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
        Some((name, kib.saturating_mul(1024)))
    };
    let all: HashMap<&str, u64> = meminfo.lines().filter_map(number).collect();
    let of = |name| all.get(name).copied().unwrap_or(0);
    let total = *all.get("MemTotal")?;
    let usage = total.saturating_sub(of("MemFree"));
    Some(MemoryUsed {
        usage,
        working_set: usage.saturating_sub(of("Inactive(file)")),
        rss: of("AnonPages"),
        cache: of("Cached"),
        limit: Some(total),
        swap: Some(of("SwapTotal").saturating_sub(of("SwapFree"))),
        page_faults: events(vmstat, "pgfault "),
        major_page_faults: events(vmstat, "pgmajfault "),
        ..MemoryUsed::default()
    })
}

fn events(vmstat: &str, name: &str) -> u64 {
    let mut lines = vmstat.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or(0)
}

/// `0.00 0.01 0.05 1/123 4567`: the number behind the slash.
fn processes(loadavg: &str) -> Option<u64> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// How many processes there can be: there is a largest id, and a limit of their threads.
pub fn processes_max() -> Option<u64> {
    let limits = ["pid_max", "threads-max"].map(|name| read(&format!("/proc/sys/kernel/{name}")));
    let numbers = limits.iter().filter_map(|limit| limit.trim().parse().ok());
    numbers.min()
}

/// When the machine was started.
pub fn booted() -> Option<Timestamp> {
    let stat = read("/proc/stat");
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(line.trim().parse().ok()?).ok()
}

/// The machine's network interfaces, that of the default route first; loopback is nobody's traffic.
pub fn interfaces() -> Vec<Interface> {
    parse_interfaces(&read("/proc/net/dev"), &read("/proc/net/route"))
}

/// The packets of interfaces that a process sees, which runtimes do not tell.
pub fn count_packets(interfaces: &mut [Interface], process: u32) {
    let seen = parse_interfaces(&read(&format!("/proc/{process}/net/dev")), "");
    for interface in interfaces {
        let same = seen.iter().find(|seen| seen.name == interface.name);
        interface.packets = same.and_then(|same| same.packets);
    }
}

fn parse_interfaces(dev: &str, route: &str) -> Vec<Interface> {
    let default = route.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next()? == "00000000").then_some(name)
    });
    let interface = |line| {
        let (name, rest): (&str, &str) = str::split_once(line, ':')?;
        let numbers: Vec<u64> = rest
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        let [
            received_bytes,
            received,
            received_errors,
            received_dropped,
            _,
            _,
            _,
            _,
            sent_bytes,
            sent,
            sent_errors,
            sent_dropped,
            ..,
        ] = numbers[..]
        else {
            return None;
        };
        let name = name.trim();
        (name != "lo").then(|| Interface {
            name: name.to_owned(),
            received_bytes,
            received_errors,
            sent_bytes,
            sent_errors,
            packets: Some(Packets {
                received,
                received_dropped,
                sent,
                sent_dropped,
            }),
        })
    };
    let mut all: Vec<Interface> = dev.lines().filter_map(interface).collect();
    all.sort_by_key(|interface| Some(interface.name.as_str()) != default);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_stands_in_where_the_root_cgroup_does_not_count() {
        let memory = memory(
            "MemTotal: 100 kB\nMemFree: 40 kB\nInactive(file): 10 kB\nSwapTotal: 8 kB\nSwapFree: 6 kB\n",
            "pgfault 7\npgmajfault 3\n",
        )
        .unwrap();
        assert_eq!(
            (memory.usage, memory.working_set, memory.limit, memory.swap),
            (60 << 10, 50 << 10, Some(100 << 10), Some(2 << 10))
        );
        assert_eq!((memory.page_faults, memory.major_page_faults), (7, 3));
        let cpu = cpu("cpu  100 0 50 1000 0 1 2 0 0 0\ncpu0 1 1 1\n").unwrap();
        assert_eq!(cpu.total, Duration::from_millis(1530));
        assert_eq!(processes("0.0 0.0 0.0 3/421 99\n"), Some(421));
    }

    #[test]
    fn interface_of_the_default_route_comes_first() {
        let dev = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  br0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n\
                   eth0: 7 1 2 4 0 0 0 0 8 9 3 5 0 0 0 0\n";
        let route = "Iface\tDestination\tGateway\nbr0\t0000000A\t0\neth0\t00000000\t0102030A\n";
        let found = parse_interfaces(dev, route);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (
                found[0].name.as_str(),
                found[0].received_bytes,
                found[0].sent_errors
            ),
            ("eth0", 7, 3)
        );
        let packets = Packets {
            received: 1,
            received_dropped: 4,
            sent: 9,
            sent_dropped: 5,
        };
        assert_eq!(found[0].packets, Some(packets));
    }

    #[test]
    fn this_process_uses_memory_and_the_machine_has_booted() {
        assert!(process(std::process::id(), false).memory.unwrap().usage > 1 << 20);
        assert!(booted().unwrap() < Timestamp::now());
        assert!(processes_max().unwrap() > 1000);
    }
}
