//! Streams into containers with the real kubectl: exec, cp, attach, port-forward and logs.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Node, NodeOptions, eventually, free_port, mounted_below};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

/// A pod with something to see for every kind of stream: `c` serves a file on a port, `echo` repeats what it hears,
/// `fail` writes five lines and ends.
fn pod(node: &Node, port: u16) -> String {
    let name = &node.name;
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: s}}
spec:
  nodeName: {name}
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: orlop.local/busybox:debian
    command: [sh, -c, "mkdir -p /www && echo served > /www/f && exec httpd -f -p 127.0.0.1:{port} -h /www"]
  - name: echo
    image: orlop.local/busybox:debian
    stdin: true
    command: [sh, -c, "echo ready; while read line; do echo heard $line; done"]
  - name: fail
    image: orlop.local/busybox:debian
    command: [sh, -c, "for i in 1 2 3 4 5; do echo line $i; done; sleep 1; exit 1"]
"#
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command printed, and its exit code.
fn said(output: &Output) -> (String, String, Option<i32>) {
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Runs a command with something on its standard input.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// A kubectl that ends with the test, and the lines it prints.
struct Running(Child, BufReader<std::process::ChildStdout>);

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self(child, lines)
    }

    /// The first line that holds `word`.
    fn line_with(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "no line with {word:?}");
        }
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kubectl_reaches_into_containers() {
    let node = Node::start(NodeOptions::default());
    let port = free_port();
    node.kubectl.feed("apply", &pod(&node, port));
    eventually("the containers run", || {
        let output = node.kubectl.run("exec s -c c -- cat /www/f");
        let running = node.kubectl.run("logs s -c fail --previous");
        match (output.status.success(), running.status.success()) {
            (true, true) => Ok(()),
            _ => Err(text(&output.stderr) + &text(&running.stderr)),
        }
    });
    // E06: the API server's Service, which is always there.
    let variables = node.kubectl.ok("exec s -c c -- env");
    assert!(
        variables.contains("KUBERNETES_SERVICE_HOST=10.96.0.1"),
        "{variables}"
    );
    exec_carries_output_input_and_exit_codes(&node);
    terminals_have_a_size_and_one_output(&node);
    files_are_copied_both_ways(&node);
    attach_talks_to_the_main_process(&node);
    ports_are_forwarded(&node, port);
    logs_are_cut_as_asked(&node);
    o16_exec_on_a_resource_name_reaches_one_of_its_pods(&node);
    // Main processes that ignore SIGTERM would hold up the node's end.
    node.kubectl.ok("delete pod s --now");
}

#[test]
fn down_leaves_neither_volumes_nor_cgroups_of_pods_that_ran() {
    let mut node = Node::start(NodeOptions::default());
    let pod = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: t}}
spec:
  nodeName: {}
  hostNetwork: true
  containers:
  - name: c
    image: orlop.local/busybox:debian
    command: [sh, -c, "trap exit TERM; while :; do sleep 60 & wait; done"]
"#,
        node.name
    );
    node.kubectl.feed("apply", &pod);
    node.kubectl.ok("wait --for=condition=Ready --timeout=60s pod/t");
    let kubelet = node.root().join("var/lib/kubelet");
    assert_ne!(mounted_below(&kubelet).len(), 0, "the pod's token lies in memory");
    assert_ne!(cgroups_of(&node.name), Vec::<std::path::PathBuf>::new());

    let down = node.orlop("down");
    assert!(down.status.success(), "{}", text(&down.stderr));
    node.ended();
    assert_eq!(mounted_below(&kubelet), Vec::<std::path::PathBuf>::new());
    assert_eq!(cgroups_of(&node.name), Vec::<std::path::PathBuf>::new());
}

/// The node's own cgroups, in whichever hierarchies there are.
fn cgroups_of(node: &str) -> Vec<std::path::PathBuf> {
    let mount_point = std::path::Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(mount_point).into_iter().flatten().flatten();
    let below = hierarchies.map(|hierarchy| hierarchy.path().join(node));
    let all = below.chain([mount_point.join(node)]);
    all.filter(|cgroup| cgroup.is_dir()).collect()
}

/// N08, O15: over WebSocket and over SPDY.
fn exec_carries_output_input_and_exit_codes(node: &Node) {
    for websockets in ["true", "false"] {
        let kubectl = |line: &str| {
            let mut command = node.kubectl.command(line);
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
            command
        };
        let mut command = kubectl("exec s -c c -- sh -c");
        let output = command.arg("echo a; echo b >&2; exit 3").output().unwrap();
        let (stdout, stderr, code) = said(&output);
        assert_eq!((stdout.as_str(), code), ("a\n", Some(3)), "{stderr}");
        assert_eq!(stderr, "b\ncommand terminated with exit code 3\n");

        let input = vec![b'x'; 3_000_000];
        let output = fed(kubectl("exec -i s -c c -- wc -c"), &input);
        assert_eq!(said(&output), ("3000000\n".into(), String::new(), Some(0)));
        let output = fed(kubectl("exec -i s -c c -- cat"), &input);
        assert_eq!(
            (output.stdout.len(), output.status.code()),
            (input.len(), Some(0))
        );
    }
    let refused = node.kubectl.fails("exec s -c none -- true");
    assert!(
        refused.contains("container none is not valid for pod s"),
        "{refused}"
    );
    let refused = node.kubectl.fails("exec s -c c -- no-such-program");
    assert!(refused.contains("no-such-program"), "{refused}");
}

/// O19: under `script`, which gives kubectl a terminal.
fn terminals_have_a_size_and_one_output(node: &Node) {
    let kubectl = node.kubectl.command("exec -it s -c c -- sh -c");
    let words = kubectl.get_args().map(|word| word.to_string_lossy().into_owned());
    let line = words.collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    let inner = "tty; echo b >&2; sleep 0.3; stty size; exit 4";
    let line = format!("stty rows 33 cols 77; kubectl {line} '{inner}'");
    script.args(["-qec", &line, "/dev/null"]);
    let (stdout, _, code) = said(&fed(script, b""));
    assert_eq!(code, Some(4), "{stdout}");
    for part in ["/dev/pts/", "b\r\n", "33 77"] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
}

fn files_are_copied_both_ways(node: &Node) {
    let there = node.root().join("there");
    let back = node.root().join("back");
    let content: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&there, &content).unwrap();
    node.kubectl
        .ok(&format!("cp {} s:/tmp/copy -c c", there.display()));
    node.kubectl
        .ok(&format!("cp s:/tmp/copy {} -c c", back.display()));
    assert!(
        std::fs::read(&back).unwrap() == content,
        "the copy of the copy differs"
    );
}

fn attach_talks_to_the_main_process(node: &Node) {
    let mut attached = Running::start(node.kubectl.command("attach -i s -c echo"));
    let mut stdin = attached.0.stdin.take().unwrap();
    stdin.write_all(b"you\n").unwrap();
    assert_eq!(attached.line_with("heard"), "heard you\n");
}

/// N08, O17.
fn ports_are_forwarded(node: &Node, port: u16) {
    for websockets in ["true", "false"] {
        let mut command = node.kubectl.command(&format!("port-forward pod/s :{port}"));
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
        let mut forwarded = Running::start(command);
        let line = forwarded.line_with("127.0.0.1:");
        let local = line.split("127.0.0.1:").nth(1).unwrap();
        let local: u16 = local.split_whitespace().next().unwrap().parse().unwrap();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
            stream.write_all(b"GET /f HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("\r\n\r\nserved\n"), "{answer}");
        }
    }
}

/// O16, and the same of logs: kubectl asks for the pods that the workload selects.
fn o16_exec_on_a_resource_name_reaches_one_of_its_pods(node: &Node) {
    let workload = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  replicas: 1
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: orlop.local/busybox:debian
        command: [sh, -c, "echo up; exec sleep 1000000"]
        env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
"#;
    node.kubectl.feed("apply", workload);
    node.kubectl.ok("rollout status deployment/x --timeout=60s");
    let pod = node.kubectl.ok("get pods -l app=x -o name");
    for target in ["deployment/x", "deploy/x", "deployments.apps/x"] {
        let said = node.kubectl.ok(&format!("exec {target} -- env"));
        let name = said.lines().find_map(|line| line.strip_prefix("POD="));
        assert_eq!(
            name.map(|name| format!("pod/{name}\n")),
            Some(pod.clone()),
            "exec {target}"
        );
        assert_eq!(node.kubectl.ok(&format!("logs {target}")), "up\n");
    }
    node.kubectl.ok("delete deployment x");
}

/// N09.
fn logs_are_cut_as_asked(node: &Node) {
    let ok = |line: &str| node.kubectl.ok(line);
    assert_eq!(ok("logs s -c fail --previous --tail=2"), "line 4\nline 5\n");
    assert_eq!(ok("logs s -c fail --previous --limit-bytes=9"), "line 1\nli");
    assert_eq!(ok("logs s -c echo --since=1h --tail=1"), "heard you\n");
    let stamped = ok("logs s -c echo --timestamps --tail=1");
    let (stamp, line) = stamped.split_once(' ').unwrap();
    assert!(
        stamp.ends_with('Z') && stamp.contains('T') && line == "heard you\n",
        "{stamped}"
    );
    let mut followed = Running::start(node.kubectl.command("logs -f s -c echo"));
    followed.line_with("heard you");
    let mut attached = Running::start(node.kubectl.command("attach -i s -c echo"));
    attached.0.stdin.take().unwrap().write_all(b"again\n").unwrap();
    assert_eq!(followed.line_with("again"), "heard again\n");
}
