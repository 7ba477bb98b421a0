//! What a join refuses, and what it takes back when it fails.
use crate::{printed, traces, words};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_e2e::{Cluster, FAKETIME, eventually};
use serde_json::json;
use std::process::{Output, Stdio};

const MASTER: &str = "master-01";
const WORKER: &str = "worker-01";

/// What a command says at last, which must fail, and leave the machine as it was.
pub fn fails(cluster: &Cluster, machine: &str, line: &str) -> String {
    let before = traces::of(cluster, machine);
    let output = cluster.orlop(machine, line);
    traces::assert_none(cluster, machine, &before, line);
    sentence(&output, line)
}

/// The one sentence of a failure, beside what is logged.
fn sentence(output: &Output, line: &str) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{line}");
    let said: Vec<&str> = error.lines().filter(|line| line.starts_with("orlop: ")).collect();
    assert_eq!(said.len(), 1, "{line}: {error}");
    said[0].to_owned()
}

/// With what a worker joins.
fn join_line(cluster: &Cluster) -> String {
    let line = cluster.ok(MASTER, "token create --print-join-command");
    line.trim().trim_start_matches("orlop ").to_owned()
}

/// Runs a script on the worker, which must succeed.
fn sh(cluster: &Cluster, script: &str) {
    let mut command = cluster.lab.command(WORKER, "sh").unwrap();
    assert!(
        command.args(["-c", script]).status().unwrap().success(),
        "{script}"
    );
}

/// Each ends in one sentence, before anything is changed.
pub fn refusals(cluster: &Cluster) {
    let before = traces::of(cluster, WORKER);
    let line = join_line(cluster);
    let front = line.rsplit_once(' ').unwrap().0;
    let token = words(&line)[3];
    let old = cluster.ok(MASTER, "token create --ttl 1s --usages authentication");
    eventually("the token expires", || {
        let listed = cluster.ok(MASTER, "token list");
        (!listed.contains(old.trim())).then_some(()).ok_or(listed)
    });
    let unknown = "aaaaaa.0123456789abcdef";
    for (line, want) in [
        (
            format!("{front} sha256:{}", "0".repeat(64)),
            "this is another cluster",
        ),
        (line.replace(token, unknown), "does not know the token aaaaaa"),
        (line.replace(token, old.trim()), "or it has expired"),
        (
            format!("{line} --node-name master-01"),
            "is in the cluster already",
        ),
        (format!("{line} --node-name Not_A_Name"), "is no name for a node"),
        (
            front.rsplit_once(' ').unwrap().0.to_owned(),
            "--discovery-token-ca-cert-hash",
        ),
        (line.replace("10.77.0.1:6443", "10.77.0.1:6444"), "10.77.0.1:6444"),
        (
            format!("{line} --apiserver-advertise-address 10.77.0.99"),
            "is no address of this machine",
        ),
    ] {
        let error = sentence(&cluster.orlop(WORKER, &line), &line);
        assert!(error.contains(want), "{line}: {error}");
    }
    for (by, want) in [("+2h", "ahead of the cluster's"), ("-2h", "behind the cluster's")] {
        let mut join = cluster.lab.command(WORKER, "orlop").unwrap();
        join.args(words(&line))
            .env("LD_PRELOAD", format!("{FAKETIME}/libfaketime.so.1"))
            .env("FAKETIME", by)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let error = sentence(&join.output().unwrap(), by);
        assert!(error.contains("this machine's clock is 1"), "{error}");
        assert!(error.contains(want), "{error}");
    }
    let mut listener = cluster.lab.command(WORKER, "busybox").unwrap();
    let listener = listener.args(["nc", "-l", "-p", "10250"]).stdin(Stdio::null());
    let mut listener = listener.spawn().unwrap();
    eventually("the port is refused", || {
        let error = printed(&cluster.orlop(WORKER, &line));
        error.contains("port 10250 is in use").then_some(()).ok_or(error)
    });
    // It ends with its first visitor.
    cluster
        .lab
        .run(WORKER, "busybox nc -w 1 127.0.0.1 10250")
        .unwrap();
    listener.wait().unwrap();
    let explained = cluster.ok(WORKER, &format!("{line} --explain"));
    assert!(
        explained.contains("All checks passed; nothing was changed"),
        "{explained}"
    );
    traces::assert_none(cluster, WORKER, &before, "every check");
}

/// Each is found out when much has been done, which is taken back, in the cluster too.
pub fn failures(cluster: &Cluster) {
    let line = join_line(cluster);
    // A master that has no image of an API server: its etcd has learnt and votes by then.
    let key = cluster.ok(MASTER, "certs upload");
    let key = words(&key).pop().unwrap().to_owned();
    sh(cluster, "mv /var/lib/orlop/images/control-plane-* /root/");
    let address = cluster.lab.machine(WORKER).unwrap().address;
    let line_of_master =
        format!("{line} --control-plane --certificate-key {key} --apiserver-advertise-address {address}");
    let before = traces::of(cluster, WORKER);
    // As a machine leaves it that was lost while it joined.
    cluster.etcdctl(
        MASTER,
        &format!("member add ghost --learner --peer-urls=https://{address}:2380"),
    );
    let failed = cluster.orlop(WORKER, &format!("{line_of_master} --timeout 20s"));
    traces::assert_none(cluster, WORKER, &before, &line_of_master);
    let error = sentence(&failed, &line_of_master);
    assert!(error.contains("kube-apiserver is not healthy"), "{error}");
    assert!(error.contains("is as it was"), "{error}");
    let told = printed(&failed);
    assert!(
        told.contains("which an earlier life of this machine left behind"),
        "{told}"
    );
    let members = cluster.etcdctl(MASTER, "member list");
    assert_eq!(members.lines().count(), 1, "{members}");
    interrupted(cluster, &line_of_master);
    cluster.kubectl.patiently("create configmap alone -n default");
    sh(cluster, "mv /root/control-plane-* /var/lib/orlop/images/");

    // A worker whose certificate nobody signs.
    let controllers = "kube-controller-manager";
    cluster.lab.signal(MASTER, controllers, Signal::SIGSTOP).unwrap();
    let error = fails(cluster, WORKER, &format!("{line} --timeout 10s"));
    assert!(
        error.contains("the cluster has signed no certificate for this node"),
        "{error}"
    );
    assert!(error.contains("is as it was"), "{error}");
    // It has lost its lease meanwhile, ends, and is started again.
    cluster.lab.signal(MASTER, controllers, Signal::SIGCONT).unwrap();
}

/// Somebody gives up while its etcd is among the others'.
fn interrupted(cluster: &Cluster, line: &str) {
    let before = traces::of(cluster, WORKER);
    let output = signalled(cluster, line, Signal::SIGINT);
    traces::assert_none(cluster, WORKER, &before, line);
    let error = sentence(&output, line);
    assert!(
        error.contains("it was interrupted") && error.contains("is as it was"),
        "{error}"
    );
    let members = cluster.etcdctl(MASTER, "member list");
    assert_eq!(members.lines().count(), 1, "{members}");
}

/// Sends a join a signal as soon as its etcd is among the others'.
fn signalled(cluster: &Cluster, line: &str, signal: Signal) -> Output {
    let mut join = cluster.lab.command(WORKER, "orlop").unwrap();
    let join = join.args(words(line)).stdin(Stdio::null());
    let join = join
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let members = || cluster.etcdctl(MASTER, "member list");
    eventually("the new member is listed", || {
        let listed = members();
        (listed.lines().count() == 2).then_some(()).ok_or(listed)
    });
    // What entered the machine waits for it outside.
    let outside = join.id();
    let children = std::fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).unwrap();
    let pid = Pid::from_raw(children.trim().parse().unwrap());
    kill(pid, signal).unwrap();
    join.wait_with_output().unwrap()
}

/// A worker with a pod in the pod network and a port of its own, which goes as it came.
pub fn comes_and_goes(cluster: &Cluster) {
    let before = traces::of(cluster, WORKER);
    let address = cluster.lab.machine(WORKER).unwrap().address;
    let line = join_line(cluster);
    // As an `init` leaves it that was killed at once: it must not be finished on a member.
    sh(
        cluster,
        "mkdir -p /var/lib/orlop && touch /var/lib/orlop/init-begun",
    );
    cluster.ok(WORKER, &format!("{line} --apiserver-advertise-address {address}"));
    let init = printed(&cluster.orlop(WORKER, "init"));
    assert!(init.contains("is a member of a cluster already"), "{init}");
    let kubectl = &cluster.kubectl;
    kubectl.ok(&format!("wait --for=condition=Ready --timeout=90s node/{WORKER}"));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "guest", "namespace": "default"},
        "spec": {
            "nodeName": WORKER,
            "containers": [{
                "name": "c",
                "image": "orlop.local/busybox:debian",
                "command": ["sleep", "3600"],
                "ports": [{"containerPort": 80, "hostPort": 8080}],
            }],
        },
    });
    kubectl.feed("apply", &pod.to_string());
    kubectl.ok("wait --for=condition=Ready --timeout=90s pod/guest");
    let during = traces::of(cluster, WORKER);
    for trace in ["interface orlop0:", "process containerd"] {
        assert!(during.contains(trace), "{trace} is not in {during:#?}");
    }
    cluster.ok(WORKER, "reset --force");
    traces::assert_none(cluster, WORKER, &before, "reset");
    kubectl.ok(&format!("delete node {WORKER}"));
}
