//! What etcdctl prints of the face, compared line by line with what it prints of a real etcd.
#![allow(clippy::unwrap_used)]
mod servers;

use servers::{Etcd, Face, Server};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// One call of etcdctl. `LEASE` stands for the lease that was granted last.
struct Step {
    arguments: &'static str,
    input: &'static str,
    /// Ends it after a moment, for commands that don't end.
    watches: bool,
}

const fn step(arguments: &'static str) -> Step {
    Step {
        arguments,
        input: "",
        watches: false,
    }
}

const fn with_input(arguments: &'static str, input: &'static str) -> Step {
    Step {
        arguments,
        input,
        watches: false,
    }
}

const fn watch(arguments: &'static str) -> Step {
    Step {
        arguments,
        input: "",
        watches: true,
    }
}

/// How long a watch is listened to: what it has to tell is there when it begins.
const WATCH_TIME: Duration = Duration::from_millis(700);

const KEYS: &[Step] = &[
    step("put a 1"),
    step("put a 2 --prev-kv"),
    step("put b 3"),
    step("put c 0"),
    step("get a"),
    step("get nothing"),
    step("get a -w json"),
    step("get a --rev=2 -w json"),
    step("get a --rev=99"),
    step("get --prefix --keys-only EMPTY"),
    step("get a z --limit=2 -w json"),
    step("get --prefix --sort-by=VALUE --order=DESCEND EMPTY"),
    step("get --prefix --sort-by=MODIFY --order=ASCEND EMPTY"),
    step("get --from-key b"),
    step("get --prefix --count-only -w json EMPTY"),
    step("get a --print-value-only"),
    step("get a -w fields"),
    step("put x --ignore-value"),
    step("put a --ignore-value"),
    step("put a 5 --ignore-value"),
    step("put a 5 --ignore-lease --lease=1"),
    step("put EMPTY v"),
    step("put a 5 --lease=123"),
    step("del a --prev-kv"),
    step("del nothing"),
    step("del --prefix --prev-kv EMPTY"),
    step("del EMPTY"),
];

const TRANSACTIONS: &[Step] = &[
    step("put a 2"),
    with_input("txn", "value(\"a\") = \"2\"\n\nput a 9\nget a\n\nput a 0\n\n"),
    with_input(
        "txn",
        "value(\"a\") = \"2\"\n\nput a 9\n\nget a\ndel a --prev-kv\n\n",
    ),
    with_input("txn", "mod(\"zz\") = \"0\"\n\nput zz 1\ndel b\n\nget a\n\n"),
    with_input(
        "txn -w json",
        "version(\"zz\") > \"0\"\ncreate(\"zz\") < \"100\"\n\nget zz\n\n\n",
    ),
    with_input("txn", "\nput a 1\nput a 2\n\n\n"),
    with_input("txn", "\nput a 1\ndel a\n\n\n"),
    with_input("txn", "\n\n\n"),
    step("get --prefix -w json EMPTY"),
];

const HISTORY: &[Step] = &[
    step("put p 1"),
    step("put p 2"),
    step("put q 3"),
    step("del p"),
    step("compact 1"),
    step("compact 1"),
    watch("watch p --rev=2"),
    watch("watch --prefix --rev=3 --prev-kv EMPTY"),
    watch("watch p r --rev=3 -w json"),
    step("compact 4"),
    step("compact 4"),
    step("compact 2"),
    step("compact 99"),
    step("get p --rev=3"),
    step("get q --rev=4"),
    watch("watch p --rev=2"),
    step("compact 5 --physical"),
];

const LEASES: &[Step] = &[
    step("lease grant 1000"),
    step("put k v --lease=LEASE"),
    step("get k"),
    step("lease timetolive LEASE"),
    step("lease timetolive LEASE --keys"),
    step("lease keep-alive --once LEASE"),
    step("lease list"),
    step("lease revoke LEASE"),
    step("get k"),
    step("lease revoke LEASE"),
    step("lease timetolive LEASE"),
    step("lease keep-alive --once LEASE"),
    step("lease list"),
    step("lease grant 10000000000"),
    step("lease grant 0"),
];

const MEMBERS: &[Step] = &[
    step("member list"),
    step("member list -w json"),
    step("endpoint health"),
    step("put a 1"),
    step("endpoint status"),
    step("endpoint hashkv"),
    step("defrag"),
    step("get a"),
    step("alarm list"),
    step("auth enable"),
    step("auth disable"),
    step("user list"),
    step("user get nobody"),
    step("user delete nobody"),
    step("role list"),
    step("role get nothing"),
];

/// What cannot be the same: ids, times, addresses, and lines of etcdctl's own log.
fn normalised(output: &str, lease: &str, port: u16, peer: u16) -> Vec<String> {
    let mut text = output.replace(&format!(":{port}"), ":CLIENT");
    text = text.replace(&format!(":{peer}"), ":PEER");
    if !lease.is_empty() {
        text = text.replace(lease, "LEASE");
    }
    for key in [
        "\"cluster_id\":",
        "\"member_id\":",
        "\"raft_term\":",
        "\"ID\":",
        "took = ",
        "remaining(",
    ] {
        text = masked(&text, key);
    }
    for key in ["\"ClusterID\" : ", "\"MemberID\" : ", "\"RaftTerm\" : "] {
        text = masked(&text, key);
    }
    text.lines()
        .filter(|line| !line.starts_with("{\"level\":"))
        .map(without_what_is_a_servers)
        .collect()
}

/// Of lines about a server: its id, release, size, term, place in its log, hash.
fn without_what_is_a_servers(line: &str) -> String {
    let fields: Vec<_> = line.split(", ").collect();
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match fields.as_slice() {
        [_, "started", rest @ ..] => format!("ID, started, {}", rest.join(", ")),
        [url, _, _, _, leader, learner, _, _, _, errors] => {
            format!("{url}, leader {leader}, learner {learner}, errors {errors}")
        }
        [url, hash] if url.starts_with("http") && is_number(hash) => format!("{url}, HASH"),
        _ => line.to_owned(),
    }
}

/// Replaces the number behind each `key`.
fn masked(text: &str, key: &str) -> String {
    let mut parts = text.split(key);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(key);
        out.push('N');
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        // How long it took may be any number of any unit.
        let units: &[&str] = if key == "took = " {
            &["µs", "ms", "s"]
        } else {
            &[]
        };
        let unit = units.iter().find_map(|unit| rest.strip_prefix(unit));
        out.push_str(unit.unwrap_or(rest));
    }
    out
}

fn run(server: &dyn Server, step: &Step, lease: &mut String) -> (Vec<String>, bool) {
    let arguments = step.arguments.replace("LEASE", lease);
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=http://127.0.0.1:{}", server.port()))
        .args(
            arguments
                .split(' ')
                .map(|word| if word == "EMPTY" { "" } else { word }),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .expect("etcdctl runs: is the package etcd-client installed?");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(step.input.as_bytes())
        .unwrap();
    if step.watches {
        // A watch has no end to wait for; what it should say is in the store before it starts.
        std::thread::sleep(WATCH_TIME);
        let _ = child.kill();
    }
    let done = child.wait_with_output().unwrap();
    let output = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    if let Some(granted) = output
        .strip_prefix("lease ")
        .and_then(|rest| rest.split(" granted").next())
        && output.contains("granted")
    {
        *lease = granted.to_owned();
    }
    (
        normalised(&output, lease, server.port(), server.peer_port()),
        done.status.success(),
    )
}

fn compare(steps: &[Step]) {
    let (etcd, face) = (Etcd::start(), Face::start());
    let (mut etcds_lease, mut our_lease) = (String::new(), String::new());
    for step in steps {
        let expected = run(&etcd, step, &mut etcds_lease);
        let found = run(&face, step, &mut our_lease);
        assert_eq!(
            found, expected,
            "etcdctl {} (left: the face, right: etcd)",
            step.arguments
        );
    }
}

#[test]
fn keys_are_put_read_and_deleted_as_with_etcd() {
    compare(KEYS);
}

#[test]
fn transactions_answer_as_with_etcd() {
    compare(TRANSACTIONS);
}

#[test]
fn history_is_watched_and_compacted_as_with_etcd() {
    compare(HISTORY);
}

#[test]
fn leases_live_and_end_as_with_etcd() {
    compare(LEASES);
}

#[test]
fn a_saved_snapshot_is_one_of_etcd() {
    let face = Face::start();
    for step in [step("put a 1"), step("put a 2"), step("put b 3")] {
        assert!(run(&face, &step, &mut String::new()).1);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snapshot.db");
    let etcdctl = |arguments: &[&str]| {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", face.url()))
            .args(arguments);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    etcdctl(&["snapshot", "save", file.to_str().unwrap()]);
    let status = etcdctl(&["snapshot", "status", file.to_str().unwrap(), "-w", "json"]);
    assert!(status.contains("\"revision\":4"), "{status}");
}

#[test]
fn the_member_shows_itself_as_with_etcd() {
    compare(MEMBERS);
}
