//! What there is of each kind of number: its name and help in cAdvisor's words, and where a measurement has it.
use super::super::Family;
use crate::cgroups::usage::{CpuUsed, DiskUsed, MemoryUsed, Pressure, Stall, Used};
use crate::stats::Interface;
use crate::stats::open::Open;
use orlop_metrics::text::Kind;

macro_rules! cpu {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            value: |measured| {
                let value: fn(CpuUsed) -> f64 = $value;
                Some(value(measured.used.cpu?))
            },
        }
    };
}

macro_rules! memory {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            value: |measured| {
                let value: fn(MemoryUsed) -> u64 = $value;
                Some(value(measured.used.memory?) as f64)
            },
        }
    };
}

pub(super) const FAMILIES: &[Family] = &[
    cpu!(Counter "container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", |cpu| cpu.user.as_secs_f64()),
    cpu!(Counter "container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.",
        |cpu| cpu.system.as_secs_f64()),
    cpu!(Counter "container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |cpu| cpu.periods as f64),
    cpu!(Counter "container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.",
        |cpu| cpu.throttled_periods as f64),
    cpu!(Counter "container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.",
        |cpu| cpu.throttled.as_secs_f64()),
    memory!(Gauge "container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", |memory| memory.usage),
    memory!(Gauge "container_memory_working_set_bytes", "Current working set in bytes.", |memory| memory.working_set),
    memory!(Gauge "container_memory_rss", "Size of RSS in bytes.", |memory| memory.rss),
    memory!(Gauge "container_memory_cache", "Number of bytes of page cache memory.", |memory| memory.cache),
    memory!(Gauge "container_memory_swap", "Container swap usage in bytes.", |memory| memory.swap.unwrap_or(0)),
    memory!(Gauge "container_spec_memory_limit_bytes", "Memory limit for the container.", |memory| memory.limit.unwrap_or(0)),
    memory!(Gauge "container_memory_mapped_file", "Size of memory mapped files in bytes.", |memory| memory.mapped),
    memory!(Gauge "container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", |memory| memory.peak),
    memory!(Counter "container_memory_failcnt", "Number of memory usage hits limits", |memory| memory.refusals),
    memory!(Counter "container_oom_events_total", "Count of out of memory events observed for the container",
        |memory| memory.kills),
    memory!(Gauge "container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.",
        |memory| memory.reservation),
    memory!(Gauge "container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.",
        |memory| memory.swap_limit.unwrap_or(0)),
    Family {
        name: "container_spec_cpu_shares",
        help: "CPU share of the container.",
        kind: Kind::Gauge,
        value: |measured| Some(measured.used.cpu?.shares? as f64),
    },
    Family {
        name: "container_spec_cpu_period",
        help: "CPU period of the container.",
        kind: Kind::Gauge,
        value: |measured| Some(measured.used.cpu?.period? as f64),
    },
    Family {
        name: "container_spec_cpu_quota",
        help: "CPU quota of the container.",
        kind: Kind::Gauge,
        value: |measured| Some(measured.used.cpu?.quota? as f64),
    },
    Family {
        name: "container_processes",
        help: "Number of processes running inside the container.",
        kind: Kind::Gauge,
        value: |measured| Some(measured.used.processes? as f64),
    },
    Family {
        name: "container_threads",
        help: "Number of threads running inside the container",
        kind: Kind::Gauge,
        value: |measured| Some(measured.used.processes? as f64),
    },
    Family {
        name: "container_threads_max",
        help: "Maximum number of threads allowed inside the container, infinity if value is zero",
        kind: Kind::Gauge,
        value: |measured| {
            measured
                .used
                .processes
                .map(|_| measured.used.processes_max.unwrap_or(0) as f64)
        },
    },
    Family {
        name: "container_last_seen",
        help: "Last time a container was seen by the exporter",
        kind: Kind::Gauge,
        value: |measured| Some(measured.at.as_second() as f64),
    },
];

/// What processes waited for, and how to know how long.
type Congestion = (&'static str, &'static str, fn(&Used) -> Option<Pressure>);

pub(super) const PRESSURES: &[Congestion] = &[
    ("cpu", "CPU congestion", |used| used.cpu?.pressure),
    ("memory", "memory congestion", |used| used.memory?.pressure),
    ("io", "IO congestion", |used| used.io_pressure),
];

/// Whether some or all of them waited.
type Waiting = (&'static str, &'static str, fn(&Pressure) -> Stall);

pub(super) const WAITS: &[Waiting] = &[
    (
        "waiting",
        "Total time duration tasks in the container have waited",
        |pressure| pressure.some,
    ),
    (
        "stalled",
        "Total time duration no tasks in the container could make progress",
        |pressure| pressure.full,
    ),
];

/// What went to and from a disk, in cAdvisor's words.
type Traffic = (&'static str, &'static str, fn(&DiskUsed) -> u64);

pub(super) const DISKS: &[Traffic] = &[
    (
        "container_fs_reads_bytes_total",
        "Cumulative count of bytes read",
        |disk| disk.read_bytes,
    ),
    (
        "container_fs_reads_total",
        "Cumulative count of reads completed",
        |disk| disk.reads,
    ),
    (
        "container_fs_writes_bytes_total",
        "Cumulative count of bytes written",
        |disk| disk.written_bytes,
    ),
    (
        "container_fs_writes_total",
        "Cumulative count of writes completed",
        |disk| disk.writes,
    ),
];

/// What containers hold open, in cAdvisor's words.
type Held = (&'static str, &'static str, fn(&Open) -> u64);

pub(super) const OPEN: &[Held] = &[
    (
        "container_file_descriptors",
        "Number of open file descriptors for the container.",
        |open| open.files,
    ),
    (
        "container_sockets",
        "Number of open sockets for the container.",
        |open| open.sockets,
    ),
];

/// cAdvisor splits this one by processor; the sum is what is asked for.
pub(super) const CPU_TOTAL: Family = cpu!(Counter "container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.",
    |cpu| cpu.total.as_secs_f64());

/// A direction of a network, in cAdvisor's words.
type Direction = (&'static str, &'static str, fn(&Interface) -> Option<u64>);

pub(super) const NETWORK: &[Direction] = &[
    (
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        |of| Some(of.received_bytes),
    ),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |of| Some(of.received_errors),
    ),
    (
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        |of| Some(of.sent_bytes),
    ),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |of| Some(of.sent_errors),
    ),
    (
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        |of| Some(of.packets?.received),
    ),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |of| Some(of.packets?.received_dropped),
    ),
    (
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        |of| Some(of.packets?.sent),
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |of| Some(of.packets?.sent_dropped),
    ),
];
