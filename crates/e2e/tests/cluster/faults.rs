//! Faults done to a cluster and taken back, under clients that keep its registers busy. Of each: service goes on where it
//! must, what is not hit keeps running, and everything is well again by itself afterwards.
use crate::schedule::Fault;
use crate::{printed, words};
use nix::sys::signal::Signal;
use orlop_e2e::registers::{Registers, RegistersOptions, Verdict, check};
use orlop_e2e::{Cluster, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Calls that are answered while a fault lasts, before it is taken back.
const ANSWERED_MEANWHILE: u64 = 60;
/// Calls that each API server answers afterwards.
const ANSWERED_AFTERWARDS: u64 = 10;
const CLIENTS_PER_SERVER: usize = 2;

/// The machines of a cluster by what they are.
#[derive(Clone)]
pub struct Machines<'a> {
    pub masters: Vec<&'a str>,
    pub workers: Vec<&'a str>,
}

impl<'a> Machines<'a> {
    pub fn of(names: &[&'a str]) -> Self {
        let (masters, workers) = names.iter().partition(|name| name.starts_with("master"));
        Self { masters, workers }
    }

    fn others(&self, master: &str) -> Vec<&'a str> {
        self.masters
            .iter()
            .copied()
            .filter(|name| *name != master)
            .collect()
    }

    fn all(&self) -> impl Iterator<Item = &'a str> {
        self.masters.iter().chain(&self.workers).copied()
    }
}

/// The seed of the run: `ORLOP_SEED`, or the usual one.
pub fn seed() -> u64 {
    let given = std::env::var("ORLOP_SEED").ok();
    given.map_or(1, |seed| seed.parse().expect("ORLOP_SEED is a number"))
}

/// Carries faults out one after another; then the history of the registers must be one that a working register could
/// have had.
pub fn suffer(cluster: &mut Cluster, machines: &Machines<'_>, faults: &[Fault], seed: u64) {
    cluster.kubectl.feed("apply", &Registers::objects().to_string());
    let server = |master: &&str| format!("https://{}:6443", cluster.lab.machine(master).unwrap().address);
    let registers = Registers::start(&RegistersOptions {
        kubeconfig: cluster.kubectl.kubeconfig.clone(),
        network: cluster.lab.network().unwrap(),
        servers: machines.masters.iter().map(server).collect(),
        clients_per_server: CLIENTS_PER_SERVER,
        seed,
    });
    let mut story = Story {
        cluster,
        machines,
        registers: &registers,
    };
    story.answered(&machines.masters, ANSWERED_AFTERWARDS);
    for fault in faults {
        let began = Instant::now();
        eprintln!("seed {seed}: {fault:?}");
        story.go_through(fault);
        eprintln!("seed {seed}: {fault:?} is over after {:.1?}", began.elapsed());
    }
    let history = registers.stop();
    eprintln!("seed {seed}: {} calls", history.len());
    assert_eq!(check(&history), Verdict::Linearizable, "seed {seed}: {faults:?}");
}

struct Story<'a, 'm> {
    cluster: &'a mut Cluster,
    machines: &'a Machines<'m>,
    registers: &'a Registers,
}

/// Containers by node and pod.
type Running = BTreeMap<(String, String), BTreeSet<String>>;

/// Whose containers may end by a fault.
enum Hit {
    /// All of a machine.
    Machine(String),
    /// Those of one pod.
    Pod(String),
}

impl Hit {
    /// A part of a master's control plane.
    fn of(component: &str, master: &str) -> Self {
        Self::Pod(format!("{component}-{master}"))
    }

    fn covers(&self, node: &str, pod: &str) -> bool {
        match self {
            Self::Machine(machine) => machine == node,
            Self::Pod(name) => name == pod,
        }
    }
}

impl Story<'_, '_> {
    fn go_through(&mut self, fault: &Fault) {
        let before = self.running();
        let hit = self.carry_out(fault);
        self.all_is_well();
        let after = self.running();
        for ((node, pod), containers) in before {
            if hit.iter().any(|hit| hit.covers(&node, &pod)) {
                continue;
            }
            let now = after.get(&(node.clone(), pod.clone()));
            assert_eq!(
                now,
                Some(&containers),
                "{pod} on {node} did not keep running: {fault:?}"
            );
        }
    }

    /// Does it and takes it back; whose containers may have ended by it.
    fn carry_out(&mut self, fault: &Fault) -> Vec<Hit> {
        let machines = self.machines;
        match fault {
            Fault::Kill(machine) => {
                self.cluster.lab.kill(machine).unwrap();
                self.answered(&machines.others(machine), ANSWERED_MEANWHILE);
                self.cluster.boot(machine);
                vec![Hit::Machine(machine.clone())]
            }
            Fault::KillProgram { machine, program } => {
                self.cluster
                    .lab
                    .signal(machine, program, Signal::SIGKILL)
                    .unwrap();
                self.answered(&machines.others(machine), ANSWERED_MEANWHILE);
                vec![Hit::of(program, machine)]
            }
            Fault::Part(master) => {
                let others = machines.others(master);
                self.cluster.lab.part(master, &others).unwrap();
                self.answered(&others, ANSWERED_MEANWHILE);
                self.cluster.lab.unite(master, &others).unwrap();
                Vec::new()
            }
            Fault::CutOff(machine) => {
                self.cluster.lab.cut_off(machine).unwrap();
                self.answered(&machines.others(machine), ANSWERED_MEANWHILE);
                // For so long that the others give it up.
                self.cluster.kubectl.patiently(&format!(
                    "wait --for=condition=Ready=Unknown --timeout=90s node/{machine}"
                ));
                self.cluster.lab.reconnect(machine).unwrap();
                Vec::new()
            }
            Fault::FreezeLeader => {
                let leader = self.cluster.etcd_leader(machines.masters[0]);
                self.cluster.lab.signal(&leader, "etcd", Signal::SIGSTOP).unwrap();
                self.answered(&machines.others(&leader), ANSWERED_MEANWHILE);
                let next = self.cluster.etcd_leader(machines.others(&leader)[0]);
                assert_ne!(next, leader, "nobody else leads");
                self.thaw(&leader);
                vec![Hit::of("etcd", &leader)]
            }
            Fault::LoseQuorum => self.lose_quorum(),
            Fault::KillAll => {
                let all: Vec<&str> = machines.all().collect();
                for machine in &all {
                    self.cluster.lab.kill(machine).unwrap();
                }
                for machine in &all {
                    self.cluster.lab.boot(machine).unwrap();
                }
                for machine in &all {
                    self.cluster.ok(machine, "up --detach");
                }
                all.into_iter()
                    .map(|machine| Hit::Machine(machine.to_owned()))
                    .collect()
            }
            Fault::FillQuota => self.fill_quota(),
            Fault::SkewClock(master) => self.skew_clock(master),
            Fault::BrokenUpgrade(master) => {
                self.cluster.break_version(master, "v1.36.9");
                let broken = self.cluster.orlop(master, "upgrade apply v1.36.9 --timeout 15s");
                let said = printed(&broken);
                assert!(
                    !broken.status.success() && said.contains("the old one is back"),
                    "{said}"
                );
                vec![Hit::of("kube-apiserver", master)]
            }
        }
    }

    /// Waits until API servers have answered so many more calls, each of them.
    fn answered(&self, masters: &[&str], calls: u64) {
        let all = &self.machines.masters;
        let before = self.registers.acknowledged();
        eventually(&format!("{masters:?} answer"), || {
            let now = self.registers.acknowledged();
            let short = all
                .iter()
                .enumerate()
                .find(|(index, master)| masters.contains(*master) && now[*index] < before[*index] + calls);
            match short {
                None => Ok(()),
                Some((index, master)) => Err(format!("{master}: {} of {calls}", now[index] - before[index])),
            }
        });
    }

    /// Every node ready, every static pod ready, every API server at work.
    fn all_is_well(&self) {
        for machine in self.machines.all() {
            self.cluster.kubectl.patiently(&format!(
                "wait --for=condition=Ready --timeout=60s node/{machine}"
            ));
        }
        for master in &self.machines.masters {
            self.cluster.wait_control_plane(master);
        }
        self.answered(&self.machines.masters, ANSWERED_AFTERWARDS);
    }

    /// What runs on the machines, as their runtimes tell it, which can be asked without an API. But for controllers and
    /// schedulers, which end by themselves when they lose their lease.
    fn running(&self) -> Running {
        let mut running = Running::new();
        for machine in self.machines.all() {
            let listed = self.cluster.ok(machine, "ps --no-trunc");
            for row in listed.lines().skip(1).map(words) {
                let [container, .., pod, _namespace] = row.as_slice() else {
                    panic!("{listed}");
                };
                let ends_by_itself =
                    ["kube-controller-manager-", "kube-scheduler-"].map(|name| pod.starts_with(name));
                if ends_by_itself == [false, false] {
                    let containers = running.entry((machine.to_owned(), pod.to_string()));
                    containers.or_default().insert(container.to_string());
                }
            }
        }
        running
    }

    /// Lets etcd of a machine go on. Its agent may have given that process up meanwhile.
    fn thaw(&self, machine: &str) {
        for pid in self.cluster.lab.processes(machine, "etcd").unwrap() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    /// Processes of a program on all masters.
    fn processes(&self, program: &str) -> Vec<i32> {
        let of = |master: &&str| self.cluster.lab.processes(master, program).unwrap();
        self.machines.masters.iter().flat_map(of).collect()
    }

    /// Two of three members freeze. There is no API then, and every container runs on; afterwards, whoever waited goes on.
    fn lose_quorum(&mut self) -> Vec<Hit> {
        // After an earlier fault it may be that nobody leads yet, and nobody would give up.
        for part in ["kube-controller-manager", "kube-scheduler"] {
            let query = format!("get lease -n kube-system {part} -o jsonpath={{.spec.renewTime}}");
            let first = self.cluster.kubectl.patiently(&query);
            eventually(&format!("somebody leads as {part}"), || {
                let renewed = self.cluster.kubectl.patiently(&query) != first;
                renewed.then_some(()).ok_or(format!("renewed at {first}"))
            });
        }
        let before = self.running();
        let frozen = &self.machines.masters[1..];
        for master in frozen {
            self.cluster.lab.signal(master, "etcd", Signal::SIGSTOP).unwrap();
        }
        // For as long as leases are waited for: who leads gives up, and nobody can follow.
        let leaders = ["kube-controller-manager", "kube-scheduler"].map(|part| (part, self.processes(part)));
        for (part, before) in leaders {
            eventually(&format!("the leading {part} gives up"), || {
                let now = self.processes(part);
                let ended = before.iter().any(|pid| !now.contains(pid));
                ended.then_some(()).ok_or(format!("{before:?} run"))
            });
        }
        let refused = self
            .cluster
            .kubectl
            .run("create configmap lost --request-timeout=5s");
        assert!(!refused.status.success(), "{}", printed(&refused));
        assert_eq!(self.running(), before, "without an API");
        for master in frozen {
            self.thaw(master);
        }
        Vec::new()
    }

    /// With little space left in its quota, values are written until etcd takes no more; then it is made room in as its
    /// own documentation says: compacted, each member defragmented, the alarm taken off.
    fn fill_quota(&mut self) -> Vec<Hit> {
        /// Values of this fault, beside what is there.
        const ROOM_BYTES: u64 = 8 << 20;
        let masters = self.machines.masters.clone();
        let sizes = masters.iter().map(|master| {
            let status = self.etcd_status(master);
            status["dbSize"].as_u64().unwrap_or_default()
        });
        let quota = sizes.max().unwrap_or_default() + ROOM_BYTES;
        for master in &masters {
            let line = format!("--quota-backend-bytes={quota}");
            self.cluster.add_flag(master, "etcd", &line);
        }
        let value = "x".repeat(900_000);
        let refusal = eventually("etcd is full", || {
            let map = serde_json::json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "filler"},
                "data": {"value": value, "again": format!("{:?}", Instant::now())},
            });
            let output = self.cluster.kubectl.fed("apply --server-side", &map.to_string());
            let said = printed(&output);
            if said.contains("space exceeded") {
                Ok(said)
            } else {
                Err(said)
            }
        });
        assert!(
            refusal.contains("etcdserver: mvcc: database space exceeded"),
            "{refusal}"
        );
        // What is there is read, and runs.
        self.cluster.kubectl.patiently("get configmap filler -o name");
        let first = masters[0];
        let revision = &self.etcd_status(first)["header"]["revision"];
        self.cluster.etcdctl(first, &format!("compact {revision}"));
        for master in &masters {
            self.cluster.etcdctl(master, "defrag --command-timeout=60s");
        }
        self.cluster.etcdctl(first, "alarm disarm");
        self.answered(&masters, ANSWERED_AFTERWARDS);
        self.cluster.kubectl.patiently("delete configmap filler");
        for master in &masters {
            self.cluster.remove_flag(master, "etcd", "--quota-backend-bytes");
        }
        masters.iter().map(|master| Hit::of("etcd", master)).collect()
    }

    /// What a member of etcd says of itself.
    fn etcd_status(&self, master: &str) -> Value {
        let status = self.cluster.etcdctl(master, "endpoint status -w json");
        let mut status: Value = serde_json::from_str(&status).unwrap();
        status[0]["Status"].take()
    }

    /// The clocks of a master's controllers and scheduler are wrong by an hour, one ahead, the other behind: elections and heartbeats go by what each has seen itself, not by what others' clocks say.
    fn skew_clock(&mut self, master: &str) -> Vec<Hit> {
        for (component, skew) in [("kube-controller-manager", "+1h"), ("kube-scheduler", "-1h")] {
            self.cluster.skew(master, component, skew);
        }
        self.cluster.kubectl.patiently("create configmap skewed");
        self.answered(&self.machines.masters, ANSWERED_MEANWHILE);
        for component in ["kube-controller-manager", "kube-scheduler"] {
            self.cluster.unskew(master, component);
        }
        let holders = self.cluster.kubectl.patiently("get leases -n kube-system");
        assert!(words(&holders).contains(&"kube-scheduler"), "{holders}");
        self.cluster.kubectl.patiently("delete configmap skewed");
        Vec::new()
    }
}
