//! `orlop store serve`, `stats` and `compact`, by what they print.
#![allow(clippy::unwrap_used)]
use base64::Engine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_e2e::{eventually, free_port, orlop};
use orlop_pki::{Authority, Identity, LeafRequest, Usage};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// `orlop store serve` of the store below a directory; it ends with the test.
struct Served {
    process: Child,
    url: String,
    log: PathBuf,
}

impl Served {
    fn start(root: &Path, scheme: &str, more: &[String]) -> Self {
        let url = format!("{scheme}://127.0.0.1:{}", free_port());
        let log = root.join("serve.log");
        let file = File::create(&log).unwrap();
        let process = Command::new(orlop())
            .args(["store", "serve", "--listen", &url, "--data-dir"])
            .arg(root.join("store"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let served = Self { process, url, log };
        eventually("a store that is served", || {
            let said = served.said();
            let is_ready = said.contains("ready to serve client requests") && said.contains(&served.url);
            is_ready.then_some(()).ok_or(said)
        });
        served
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn call(&self, method: &str, request: &Value) -> Value {
        let url = format!("{}/v3/{method}", self.url);
        let output = curl(&["--fail", "-d", &request.to_string(), &url]);
        assert!(output.status.success(), "{method}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn put(&self, key: &str, value: &str) {
        self.call("kv/put", &json!({"key": encoded(key), "value": encoded(value)}));
    }

    /// Ends it as systemd does.
    fn stop(mut self) {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl").arg("-sS").args(arguments).output().unwrap()
}

/// Runs `orlop store <arguments> --data-dir <root>/store`.
fn run(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(orlop());
    command.arg("store").args(arguments);
    command.arg("--data-dir").arg(root.join("store"));
    command.output().unwrap()
}

/// The lines that such a command prints.
fn printed(root: &Path, arguments: &[&str]) -> Vec<String> {
    let output = run(root, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Why it fails.
fn refused(root: &Path, arguments: &[&str]) -> String {
    let output = run(root, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Five revisions: one key three times, two keys once.
fn fill(served: &Served) {
    let value = "x".repeat(1000);
    for _ in 0..3 {
        served.put("/registry/pods/default/a", &value);
    }
    served.put("/registry/pods/default/b", &value);
    served.put("/registry/services/specs/default/c", "y");
}

#[test]
fn stats_count_what_is_served_and_what_rests() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let missing = refused(root, &["stats"]);
    assert!(missing.contains("there is no store in "), "{missing}");

    let served = Served::start(root, "http", &[]);
    fill(&served);
    let found = served.call("kv/range", &json!({"key": encoded("/registry/pods/default/a")}));
    assert_eq!(found["kvs"][0]["version"], "3", "{found}");
    assert_eq!(found["header"]["revision"], "6", "{found}");

    let check = |lines: &[String]| {
        assert!(lines[0].starts_with("revision 6, readable from "), "{lines:#?}");
        assert_eq!(lines[1], "3 keys in 5 versions, 0 leases", "{lines:#?}");
        let [
            on_disk,
            "bytes",
            "on",
            "disk,",
            of_records,
            "bytes",
            "of",
            "records",
        ] = words(&lines[2])[..]
        else {
            panic!("{lines:#?}");
        };
        let (on_disk, of_records): (u64, u64) = (on_disk.parse().unwrap(), of_records.parse().unwrap());
        assert!(of_records > 4000 && of_records < on_disk, "{lines:#?}");
        assert_eq!(lines[3], "");
        assert_eq!(words(&lines[4]), ["PREFIX", "KEYS", "BYTES", "WITH", "HISTORY"]);
        let [pods, services] = [&lines[5], &lines[6]].map(|line| words(line));
        // Keys and values as they are now.
        assert_eq!(pods[..3], ["/registry/pods/", "2", "2048"], "{lines:#?}");
        assert_eq!(services[..3], ["/registry/services/", "1", "35"], "{lines:#?}");
        let with_history: u64 = [pods[3], services[3]]
            .map(|bytes| bytes.parse::<u64>().unwrap())
            .iter()
            .sum();
        assert_eq!(with_history, of_records, "{lines:#?}");
        assert_eq!(lines.len(), 7, "{lines:#?}");
        on_disk
    };
    check(&printed(root, &["stats"]));
    served.stop();
    let on_disk = check(&printed(root, &["stats"]));
    let file = std::fs::metadata(root.join("store/orlop.redb")).unwrap();
    assert_eq!(on_disk, file.len());
}

#[test]
fn compact_forgets_history_of_a_store_that_nobody_has() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let missing = refused(root, &["compact"]);
    assert!(missing.contains("there is no store in "), "{missing}");
    assert!(!root.join("store").exists(), "nothing is made");

    let served = Served::start(root, "http", &[]);
    fill(&served);
    let in_use = refused(root, &["compact"]);
    assert!(in_use.contains("A store in use forgets history"), "{in_use}");
    served.stop();

    let compacted = |arguments: &[&str], revision: &str| {
        let lines = printed(root, arguments);
        let [line] = &lines[..] else {
            panic!("{lines:#?}");
        };
        let start = format!("revisions before {revision} are forgotten; the file went from ");
        let sizes = line
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(" bytes"));
        let (before, after) = sizes.and_then(|sizes| sizes.split_once(" to ")).expect(line);
        let [before, after] = [before, after].map(|bytes| bytes.parse::<u64>().unwrap());
        assert!(before > 0 && after > 0, "{line}");
    };
    compacted(&["compact", "--revision=4"], "4");
    let lines = printed(root, &["stats"]);
    assert_eq!(lines[0], "revision 6, readable from 4 on");
    assert_eq!(lines[1], "3 keys in 3 versions, 0 leases");
    compacted(&["compact"], "6");
    let lines = printed(root, &["stats"]);
    assert_eq!(lines[0], "revision 6, readable from 6 on");
    assert_eq!(lines[1], "3 keys in 3 versions, 0 leases");
    let future = refused(root, &["compact", "--revision=7"]);
    assert!(future.contains("revision 7 lies in the future"), "{future}");

    // What is left is served as before.
    let served = Served::start(root, "http", &[]);
    let found = served.call("kv/range", &json!({"key": encoded("/registry/pods/default/a")}));
    assert_eq!(found["kvs"][0]["version"], "3", "{found}");
    served.stop();
}

#[test]
fn serve_presents_the_certificate_that_its_files_hold() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let at = |name: &str| root.join(name).display().to_string();
    let signed_by = |name: &str, common_name: &str| {
        let authority = Authority::ensure(root, name, common_name).unwrap();
        let request = LeafRequest {
            identity: Identity::new("etcd", &[]),
            usage: Usage::Server,
            dns_names: Vec::new(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
        };
        let leaf = authority.sign(&request).unwrap();
        std::fs::write(at("server.key"), leaf.key).unwrap();
        std::fs::write(at("server.crt"), leaf.certificate).unwrap();
    };
    signed_by("first", "first");
    let flags = [
        format!("--cert-file={}", at("server.crt")),
        format!("--key-file={}", at("server.key")),
    ];
    let served = Served::start(root, "https", &flags);
    let url = format!("{}/health", served.url);
    let trusts = |name: &str| curl(&["--cacert", &at(&format!("{name}.crt")), &url]);
    let health = trusts("first");
    assert!(health.status.success(), "{health:?}");
    assert_eq!(
        String::from_utf8_lossy(&health.stdout),
        r#"{"health":"true","reason":""}"#
    );

    signed_by("second", "the-second-one");
    let health = trusts("second");
    assert!(health.status.success(), "{health:?}");
    assert!(!trusts("first").status.success());

    std::fs::write(at("server.crt"), "nonsense").unwrap();
    assert!(trusts("second").status.success());
    let said = served.said();
    assert!(
        said.contains("a file of TLS was replaced by one that can't be used"),
        "{said}"
    );
    served.stop();
}
