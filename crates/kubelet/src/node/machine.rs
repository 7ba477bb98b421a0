//! What the machine is and how it is doing: read from /proc, /sys, /etc and the disk.
use orlop_api::quantity::{Amount, parse};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

/// What stays as it is while the machine is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Logical processors.
    pub cores: i64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Of the firmware.
    pub system_uuid: String,
    /// New with each boot.
    pub boot_id: String,
    /// `6.1.0-18-amd64`.
    pub kernel: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// Bytes of each huge page size, by the API's name (`2Mi`).
    pub huge_pages: BTreeMap<String, i64>,
}

/// Memory and disk, which change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Bytes.
    pub memory: i64,
    /// Bytes that could be used without swapping.
    pub memory_available: i64,
    /// Bytes.
    pub swap: i64,
    /// The file system of the agent's directory.
    pub disk: Disk,
}

/// A file system; of one without inodes of its own, or one that can't be read, nothing is ever short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Size, bytes.
    pub bytes: i64,
    /// Free for users, bytes.
    pub available: i64,
    /// Inodes.
    pub inodes: i64,
    /// Free ones.
    pub inodes_free: i64,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            bytes: 0,
            available: i64::MAX,
            inodes: 0,
            inodes_free: i64::MAX,
        }
    }
}

impl Machine {
    /// Reads it.
    pub fn read() -> Self {
        Self {
            cores: std::thread::available_parallelism()
                .ok()
                .and_then(|cores| i64::try_from(cores.get()).ok())
                .unwrap_or(1),
            machine_id: word_of("/etc/machine-id"),
            system_uuid: word_of("/sys/class/dmi/id/product_uuid"),
            boot_id: word_of("/proc/sys/kernel/random/boot_id"),
            kernel: word_of("/proc/sys/kernel/osrelease"),
            os_image: os_image(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()),
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
        }
    }
}

impl Measures {
    /// Takes them; the disk's at `root`.
    pub fn take(root: &Path) -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = meminfo(&text);
        let of = |name: &str| memory.get(name).copied();
        Self {
            memory: of("MemTotal").unwrap_or(0),
            memory_available: of("MemAvailable").unwrap_or(i64::MAX),
            swap: of("SwapTotal").unwrap_or(0),
            disk: disk(root),
        }
    }
}

/// The machine's memory, bytes.
pub fn memory_capacity() -> i64 {
    of_meminfo("MemTotal")
}

/// The machine's swap, bytes.
pub fn swap_capacity() -> i64 {
    of_meminfo("SwapTotal")
}

fn of_meminfo(name: &str) -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    meminfo(&text).get(name).copied().unwrap_or(0)
}

/// Addresses of nobody that lie behind the default route.
const BEHIND_THE_ROUTE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The node's addresses: those given, else its name if that is one, else that of the default route, else loopback. One
/// given that is not specified asks for any of its family.
pub fn addresses(given: &[IpAddr], node_name: &str) -> Vec<IpAddr> {
    chosen(given, node_name, routed)
}

fn chosen(given: &[IpAddr], node_name: &str, routed: impl Fn(IpAddr) -> Option<IpAddr>) -> Vec<IpAddr> {
    let (any, given): (Vec<IpAddr>, Vec<IpAddr>) = given.iter().copied().partition(|ip| ip.is_unspecified());
    if !given.is_empty() {
        return given;
    }
    if let Ok(ip) = node_name.parse() {
        return vec![ip];
    }
    let [four, six] = BEHIND_THE_ROUTE.map(routed);
    let wants_six = any.first().is_some_and(IpAddr::is_ipv6);
    let found = if wants_six { six.or(four) } else { four.or(six) };
    vec![found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))]
}

/// The address that this machine is known by to another.
fn routed(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Nothing is sent: connecting a datagram socket only makes the kernel choose a route.
    socket.connect((to, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    let is_of_link = matches!(own, IpAddr::V6(six) if six.is_unicast_link_local());
    (!own.is_unspecified() && !is_of_link).then_some(own)
}

/// The first of each family, which is all that a pod's status may tell of its node.
pub fn one_of_each_family(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut picked: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if picked.iter().all(|other| other.is_ipv4() != address.is_ipv4()) {
            picked.push(*address);
        }
    }
    picked
}

/// A threshold such as `100Mi` or `10%` in units of the whole; 0 for what is neither.
pub fn threshold(text: &str, whole: i64) -> i64 {
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.parse().unwrap_or(0.0);
            (whole as f64 * percent / 100.0) as i64
        }
        None => parse(text).map_or(0, Amount::value),
    }
}

/// `/proc/meminfo` in bytes.
fn meminfo(text: &str) -> BTreeMap<&str, i64> {
    let number = |line| {
        let (name, rest): (&str, &str) = str::split_once(line, ':')?;
        let kib: i64 = rest.split_whitespace().next()?.parse().ok()?;
        Some((name, kib.saturating_mul(1024)))
    };
    text.lines().filter_map(number).collect()
}

fn disk(path: &Path) -> Disk {
    let Ok(found) = rustix::fs::statvfs(path) else {
        return Disk::default();
    };
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let bytes = |blocks: u64| number(blocks.saturating_mul(found.f_frsize));
    Disk {
        bytes: bytes(found.f_blocks),
        available: bytes(found.f_bavail),
        inodes: number(found.f_files),
        inodes_free: match found.f_files {
            0 => i64::MAX,
            _ => number(found.f_favail),
        },
    }
}

/// `hugepages-2048kB/nr_hugepages` and so on.
fn huge_pages(directory: &Path) -> BTreeMap<String, i64> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    let size = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: i64 = name
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let pages: i64 = std::fs::read_to_string(entry.path().join("nr_hugepages"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let size = kib.checked_mul(1024)?;
        Some((Amount::from_bytes(size).to_quantity().0, pages.checked_mul(size)?))
    };
    entries.flatten().filter_map(size).collect()
}

fn word_of(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches(['"', '\'']))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_pods_have_one_address_of_each_family() {
        let parsed = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
        let given = parsed(&["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]);
        assert_eq!(one_of_each_family(&given), parsed(&["10.0.0.1", "fd00::1"]));
        assert!(one_of_each_family(&[]).is_empty());
    }

    #[test]
    fn memory_and_release_are_read_as_the_kernel_and_debian_write_them() {
        let memory =
            meminfo("MemTotal:       8000000 kB\nMemAvailable:   4000000 kB\nHugePages_Total:       0\n");
        assert_eq!(memory["MemTotal"], 8_192_000_000);
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_image(""), "Linux");
    }

    #[test]
    fn thresholds_are_amounts_or_parts() {
        for (text, expected) in [("100Mi", 100 << 20), ("10%", 50), ("2.5%", 12), ("nonsense", 0)] {
            assert_eq!(threshold(text, 500), expected, "{text}");
        }
    }

    #[test]
    fn given_addresses_come_before_the_name_and_the_route() {
        let ip: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(addresses(&[ip], "10.0.0.8"), [ip]);
        assert_eq!(addresses(&["0.0.0.0".parse().unwrap()], "10.0.0.7"), [ip]);
        assert_eq!(addresses(&[], "node").len(), 1);
    }

    #[test]
    fn node_without_ipv4_is_known_by_its_other_address() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (four, six) = (ip("10.0.0.7"), ip("fd00::7"));
        for (given, has, expected) in [
            ("", vec![four, six], four),
            ("", vec![six], six),
            ("0.0.0.0", vec![four, six], four),
            ("::", vec![four, six], six),
            ("::", vec![four], four),
            ("", vec![], ip("127.0.0.1")),
        ] {
            let given: Vec<IpAddr> = given.split_whitespace().map(ip).collect();
            let routed = |to: IpAddr| has.iter().copied().find(|own| own.is_ipv6() == to.is_ipv6());
            assert_eq!(chosen(&given, "node", routed), [expected], "{given:?} {has:?}");
        }
    }

    #[test]
    fn huge_pages_are_counted_by_size() {
        let dir = tempfile::tempdir().unwrap();
        for (size, pages) in [("hugepages-2048kB", "4\n"), ("hugepages-1048576kB", "0\n")] {
            std::fs::create_dir(dir.path().join(size)).unwrap();
            std::fs::write(dir.path().join(size).join("nr_hugepages"), pages).unwrap();
        }
        let expected = BTreeMap::from([("1Gi".to_owned(), 0), ("2Mi".to_owned(), 8 << 20)]);
        assert_eq!(huge_pages(dir.path()), expected);
    }
}
