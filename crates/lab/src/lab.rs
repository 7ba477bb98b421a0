//! The handle on a lab: its switch, its machines, and what is done to them.
use crate::namespaces::{in_network, on_machine, run};
use crate::processes::{child_of, signal_tree, start_of, tree};
use crate::record::{self, Record};
use crate::switch::BRIDGE;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The bridge's address: the machines' way out, and that of the API in front of all masters.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PREFIX_LENGTH: u8 = 24;
const FIRST_HOST: u8 = 11;
const API_PORT: u16 = 6443;
/// The disk is that of the machine underneath, which may be as full as it likes: neither pods nor images go for it.
const DISK: &str = "evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}\n\
                    imageGCHighThresholdPercent: 100\n";
/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Kept files of the machines. Must not be on an overlay: the runtime makes its own.
    pub directory: PathBuf,
    /// This crate's program.
    pub program: PathBuf,
    /// The binary under test.
    pub orlop: PathBuf,
    /// Names of the machines; those that begin with `master` are behind the API's address.
    pub machines: Vec<String>,
    /// A port on the host's loopback that leads to the API.
    pub api_port: Option<u16>,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub name: String,
    pub address: Ipv4Addr,
    directory: PathBuf,
    /// Process 1, while it runs.
    pid: Option<i32>,
}

impl Machine {
    /// Process 1.
    pub(crate) fn pid(&self) -> Result<i32> {
        self.pid.with_context(|| format!("{} does not run", self.name))
    }
}

/// A running lab; stopped when dropped, unless it is [left](Lab::leave).
pub struct Lab {
    options: LabOptions,
    /// Its process, while it runs.
    switch: Option<i32>,
    machines: Vec<Machine>,
    children: Vec<Child>,
    left: bool,
}

impl Lab {
    /// Starts the switch and all machines; nothing runs on them yet.
    pub fn start(options: LabOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.directory)
            .with_context(|| format!("making {}", options.directory.display()))?;
        let before = options.directory.join(record::FILE);
        if let Ok(text) = std::fs::read_to_string(&before) {
            // Its machines would run on, on the same files, and nobody would know of them.
            ensure!(
                !Record::read(&text, &record::boot()?, start_of)
                    .with_context(|| format!("{} is not a lab's record", before.display()))?
                    .runs(),
                "a lab runs in {}: stop it with `orlop-lab down --directory {0}`",
                options.directory.display()
            );
        }
        let machines: Vec<Machine> = options
            .machines
            .iter()
            .zip(FIRST_HOST..)
            .map(|(name, host)| Machine {
                name: name.clone(),
                address: Ipv4Addr::new(
                    GATEWAY.octets()[0],
                    GATEWAY.octets()[1],
                    GATEWAY.octets()[2],
                    host,
                ),
                directory: options.directory.join(name),
                pid: None,
            })
            .collect();
        let mut command = Command::new(&options.program);
        command
            .args(["switch", "--gateway", &format!("{GATEWAY}/{PREFIX_LENGTH}")])
            .args(["--inside", &SocketAddr::from((GATEWAY, API_PORT)).to_string()]);
        if let Some(port) = options.api_port {
            command.args(["--outside", &format!("127.0.0.1:{port}")]);
        }
        for master in machines
            .iter()
            .filter(|machine| machine.name.starts_with("master"))
        {
            command.args([
                "--master",
                &SocketAddr::from((master.address, API_PORT)).to_string(),
            ]);
        }
        let switch = ready(command, &options.directory.join("switch.log"))?;
        let mut lab = Self {
            switch: Some(pid_of(&switch)?),
            children: vec![switch],
            machines,
            options,
            left: false,
        };
        for name in lab.options.machines.clone() {
            lab.boot(&name)?;
        }
        lab.record()?;
        Ok(lab)
    }

    /// The handle on a lab that an earlier process left.
    pub fn open(options: LabOptions) -> Result<Self> {
        let path = options.directory.join(record::FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no lab runs in {}", options.directory.display()))?;
        let record = Record::read(&text, &record::boot()?, start_of)
            .with_context(|| format!("{} is not a lab's record", path.display()))?;
        let machines = record.machines.into_iter().map(|(name, address, pid)| Machine {
            directory: options.directory.join(&name),
            name,
            address,
            pid,
        });
        Ok(Self {
            switch: record.switch,
            machines: machines.collect(),
            children: Vec::new(),
            options,
            left: true,
        })
    }

    fn record(&self) -> Result<()> {
        let machines = self.machines.iter();
        let record = Record {
            switch: self.switch,
            machines: machines
                .map(|machine| (machine.name.clone(), machine.address, machine.pid))
                .collect(),
        };
        let text = record.write(&record::boot()?, start_of);
        Ok(std::fs::write(self.options.directory.join(record::FILE), text)?)
    }

    /// The switch's process.
    pub(crate) fn switch(&self) -> Result<i32> {
        self.switch.context("the lab's switch does not run")
    }

    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines
            .iter()
            .find(|machine| machine.name == name)
            .with_context(|| format!("there is no machine {name}"))
    }

    fn machine_mut(&mut self, name: &str) -> Result<&mut Machine> {
        self.machines
            .iter_mut()
            .find(|machine| machine.name == name)
            .with_context(|| format!("there is no machine {name}"))
    }

    /// Switches a machine on: its files are those it had.
    pub fn boot(&mut self, name: &str) -> Result<()> {
        let hosts = self.hosts();
        let machine = self.machine(name)?.clone();
        ensure!(machine.pid.is_none(), "{name} runs");
        self.switch()?;
        std::fs::create_dir_all(&machine.directory)?;
        // Cgroups are the machine's underneath: each machine has its own below them.
        let kubelet = machine.directory.join("var/lib/kubelet");
        std::fs::create_dir_all(&kubelet)?;
        std::fs::write(
            kubelet.join("instance-config.yaml"),
            format!("cgroupRoot: {}\n{DISK}", self.cgroup(name)),
        )?;
        let mut command = Command::new("unshare");
        command
            .args([
                "--fork",
                "--kill-child",
                "--pid",
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--",
            ])
            .arg(&self.options.program)
            .args(["machine", "--name", name, "--hosts", &hosts])
            .arg("--directory")
            .arg(&machine.directory)
            .arg("--orlop")
            .arg(&self.options.orlop);
        let child = ready(command, &machine.directory.join("console.log"))?;
        let pid = child_of(pid_of(&child)?).with_context(|| format!("{name} ended at once"))?;
        self.children.push(child);
        self.machine_mut(name)?.pid = Some(pid);
        if let Err(error) = self.plug_in(&machine, pid) {
            // One without a network is none that runs.
            self.kill(name)?;
            return Err(error);
        }
        self.record()
    }

    /// Joins a machine to the switch.
    fn plug_in(&self, machine: &Machine, pid: i32) -> Result<()> {
        let port = port(&machine.name);
        let bridge = self.switch()?;
        // One of a machine that was killed goes with its network, a little later than the process.
        let _ = in_network(bridge, "ip").args(["link", "delete", &port]).output();
        let switch = |words: String| run(in_network(bridge, "ip").args(words.split_whitespace()));
        switch(format!(
            "link add name {port} type veth peer name eth0 netns {pid}"
        ))?;
        switch(format!("link set {port} master {BRIDGE} up"))?;
        let own = |words: String| run(in_network(pid, "ip").args(words.split_whitespace()));
        own("link set lo up".to_owned())?;
        own(format!("addr add {}/{PREFIX_LENGTH} dev eth0", machine.address))?;
        own("link set eth0 up".to_owned())?;
        own(format!("route add default via {GATEWAY}"))
    }

    fn hosts(&self) -> String {
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for machine in &self.machines {
            text.push_str(&format!("{} {}\n", machine.address, machine.name));
        }
        text
    }

    fn cgroup(&self, name: &str) -> String {
        let tag: u32 = self
            .options
            .directory
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(2_166_136_261, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(16_777_619)
            });
        format!("/orlop-lab-{tag:08x}/{name}")
    }

    /// A command on a machine.
    pub fn command(&self, name: &str, program: &str) -> Result<Command> {
        Ok(on_machine(self.machine(name)?.pid()?, program))
    }

    /// Runs a line of words on a machine; whatever comes of it.
    pub fn run(&self, name: &str, line: &str) -> Result<Output> {
        let mut words = line.split_whitespace();
        let program = words.next().context("nothing to run")?;
        Ok(self
            .command(name, program)?
            .args(words)
            .stdin(Stdio::null())
            .output()?)
    }

    /// Where a file of a machine's own lies on this one: below `/var`, `/root` or `/etc/kubernetes`.
    pub fn path(&self, name: &str, path: &str) -> Result<PathBuf> {
        let directory = &self.machine(name)?.directory;
        Ok(match path.strip_prefix("/etc/kubernetes") {
            Some(rest) => directory
                .join("fresh/etc-kubernetes")
                .join(rest.trim_start_matches('/')),
            None => directory.join(path.trim_start_matches('/')),
        })
    }

    /// As if its power were cut: every process is killed at once.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let machine = self.machine_mut(name)?;
        if let Some(pid) = machine.pid.take() {
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
            // Process 1 takes all others with it.
            wait_gone(pid);
        }
        self.reap();
        self.record()
    }

    /// Stops every process where it is; the network stays.
    pub fn freeze(&self, name: &str) -> Result<()> {
        self.signal_all(name, Signal::SIGSTOP)
    }

    pub fn thaw(&self, name: &str) -> Result<()> {
        self.signal_all(name, Signal::SIGCONT)
    }

    fn signal_all(&self, name: &str, signal: Signal) -> Result<()> {
        signal_tree(self.machine(name)?.pid()?, signal);
        Ok(())
    }

    /// Pulls its plug out of the switch.
    pub fn cut_off(&self, name: &str) -> Result<()> {
        run(in_network(self.switch()?, "ip").args(["link", "set", &port(name), "down"]))
    }

    pub fn reconnect(&self, name: &str) -> Result<()> {
        run(in_network(self.switch()?, "ip").args(["link", "set", &port(name), "up"]))
    }

    /// Resident memory of all processes of a machine, in bytes.
    pub fn memory(&self, name: &str) -> Result<u64> {
        let pid = self.machine(name)?.pid()?;
        let of = |pid: i32| -> Option<u64> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Ok(tree(pid).into_iter().filter_map(of).sum::<u64>() * 1024)
    }

    /// Lets the lab run on when this process ends.
    pub fn leave(mut self) {
        self.left = true;
    }

    /// Ends everything; files stay.
    pub fn stop(&mut self) {
        for machine in &mut self.machines {
            if let Some(pid) = machine.pid.take() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                wait_gone(pid);
            }
        }
        if let Some(pid) = self.switch.take() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            wait_gone(pid);
        }
        self.reap();
        let _ = std::fs::remove_file(self.options.directory.join(record::FILE));
        for machine in &self.machines {
            remove_cgroups(&self.cgroup(&machine.name));
        }
        if let Some((lab, _)) = self.cgroup("x").rsplit_once('/') {
            remove_cgroups(lab);
        }
    }

    /// Children that have ended.
    fn reap(&mut self) {
        self.children
            .retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.left {
            self.stop();
        }
    }
}

/// A machine's port of the switch; at most 15 bytes.
fn port(name: &str) -> String {
    let tail = name.len().saturating_sub(13);
    format!("p-{}", &name[tail..])
}

fn pid_of(child: &Child) -> Result<i32> {
    Ok(i32::try_from(child.id())?)
}

/// Starts a process and waits for its word that it is ready.
fn ready(mut command: Command, log: &Path) -> Result<Child> {
    let errors = std::fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
    // Out of the terminal's process group: what is left running outlives it.
    command.process_group(0);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.trim() != "ready" {
        let _ = child.kill();
        let _ = child.wait();
        bail!(
            "{command:?} did not start: {}",
            std::fs::read_to_string(log).unwrap_or_default().trim()
        );
    }
    Ok(child)
}

/// Waits for the end of a process that was killed and may be nobody's child here.
fn wait_gone(pid: i32) {
    let gone = |stat: std::io::Result<String>| match stat {
        Ok(stat) => stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    };
    while !gone(std::fs::read_to_string(format!("/proc/{pid}/stat"))) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Removes what containers left of a machine's cgroups, in every hierarchy.
fn remove_cgroups(below: &str) {
    let mut tops = vec![PathBuf::from(CGROUPS)];
    tops.extend(
        std::fs::read_dir(CGROUPS)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    for top in tops {
        remove_tree(&top.join(below.trim_start_matches('/')));
    }
}

fn remove_tree(path: &Path) {
    if !path.is_dir() {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names_that_fit() {
        assert_eq!(port("master-01"), "p-master-01");
        assert!(port("a-machine-with-a-long-name-01").len() <= 15);
    }
}
