//! A whole node under a root of its own.
use crate::{Kubectl, cleanup, eventually, images, orlop};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_ports::free_port;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a node is started with.
#[derive(Default)]
pub struct NodeOptions {
    /// CRI socket to use instead of the managed containerd.
    pub runtime_endpoint: Option<String>,
    /// Further lines of the KubeletConfiguration.
    pub kubelet_configuration: String,
}

/// A running node; stopped and removed, pods and all, when dropped.
pub struct Node {
    pub name: String,
    pub kubectl: Kubectl,
    pub api_port: u16,
    agent_port: u16,
    healthz_port: u16,
    root: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
    /// Another binary than the one under test.
    program: Option<PathBuf>,
    /// Nothing but the node agent.
    is_lone: bool,
    environment: Vec<(String, OsString)>,
}

impl Node {
    /// Starts a node with the example's images and waits until it is Ready.
    pub fn start(options: NodeOptions) -> Self {
        let node = Self::prepare(options);
        let mut node = node;
        node.launch();
        node.wait_ready();
        node
    }

    /// Lays a node out without starting it.
    pub fn prepare(options: NodeOptions) -> Self {
        // Socket paths are limited to 107 bytes: keep the root short.
        let root = tempfile::Builder::new()
            .prefix("orl-")
            .tempdir_in("/tmp")
            .expect("a root directory");
        let name = root
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .to_lowercase();
        let config = root.path().join("kubelet.yaml");
        let (port, healthz_port, api_port) = (free_port(), free_port(), free_port());
        let manifests = root.path().join("etc/kubernetes/manifests");
        // How full the machine's disk is must not decide what a test comes to.
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
             port: {port}\nhealthzPort: {healthz_port}\nstaticPodPath: {}\n\
             failCgroupV1: false\nfailSwapOn: false\ncgroupRoot: /{name}\n\
             evictionHard: {{memory.available: 50Mi}}\nimageGCHighThresholdPercent: 100\n{}",
            manifests.display(),
            options.kubelet_configuration,
        );
        std::fs::write(&config, text).expect("the configuration is written");
        std::fs::create_dir_all(&manifests).expect("the manifests directory");
        let mut arguments: Vec<String> = ["up", "--bind-address=127.0.0.1", "--v=2"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(format!("--root={}", root.path().display()));
        arguments.push(format!("--node-name={name}"));
        arguments.push(format!("--secure-port={api_port}"));
        arguments.push(format!("--config={}", config.display()));
        arguments.push(format!("--images={}", images().display()));
        if let Some(endpoint) = options.runtime_endpoint {
            arguments.push(format!("--container-runtime-endpoint={endpoint}"));
        }
        let kubectl = Kubectl {
            kubeconfig: root.path().join("etc/kubernetes/admin.conf"),
            cache: root.path().join("kubectl-cache"),
        };
        Self {
            name,
            kubectl,
            api_port,
            agent_port: port,
            healthz_port,
            root,
            arguments,
            process: None,
            program: None,
            is_lone: false,
            environment: Vec::new(),
        }
    }

    /// A node agent without an API server, on a containerd that nobody supervises. It is laid out, not started.
    pub fn lone(options: NodeOptions) -> Self {
        let mut node = Self::start(options);
        // What a node lays out is all that an agent needs: images, certificates, a runtime.
        assert!(node.orlop("down --keep-pods").status.success());
        node.ended();
        let endpoint =
            std::fs::read_to_string(node.root().join("run/orlop/runtime-endpoint")).expect("an endpoint");
        node.arguments = vec![
            "kubelet".to_owned(),
            "--v=2".to_owned(),
            format!("--root={}", node.root().display()),
            format!("--config={}", node.root().join("kubelet.yaml").display()),
            format!("--hostname-override={}", node.name),
            format!("--container-runtime-endpoint={endpoint}"),
        ];
        node.is_lone = true;
        node
    }

    /// From its next start the agent knows this API server.
    pub fn point_at(&mut self, kubeconfig: &Path) {
        self.arguments.retain(|word| !word.starts_with("--kubeconfig="));
        self.arguments
            .push(format!("--kubeconfig={}", kubeconfig.display()));
    }

    /// From its next start the agent serves an API of its own (`--local-api`); kubectl, as its users have it.
    pub fn serve_local_api(&mut self) -> Kubectl {
        self.arguments.push(format!("--local-api={}", free_port()));
        Kubectl {
            kubeconfig: self.root().join("etc/kubernetes/local.conf"),
            cache: self.root().join("kubectl-local-cache"),
        }
    }

    /// Waits until the agent says that it is healthy.
    pub fn wait_healthy(&mut self) {
        let port = self.healthz_port;
        eventually("a healthy agent", || {
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                panic!("orlop ended with {status}");
            }
            is_healthy(port).then_some(()).ok_or_else(String::new)
        });
    }

    /// Where its agent answers.
    pub fn agent_port(&self) -> u16 {
        self.agent_port
    }

    /// The prefix of all the node's paths.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn manifest(&self, file: &str) -> PathBuf {
        self.root().join("etc/kubernetes/manifests").join(file)
    }

    /// Everything the node has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.root().join("orlop.log")
    }

    /// The command that starts the node, for tests that expect it to fail.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program.clone().unwrap_or_else(orlop));
        command.args(&self.arguments);
        command
    }

    /// Starts this binary, from the next start on.
    pub fn set_program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// Gives the node's process a variable, from its next start on.
    pub fn set_environment(&mut self, name: &str, value: &OsStr) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the node's process.
    pub fn launch(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be opened");
        let errors = log.try_clone().expect("the log can be shared");
        let mut command = self.command();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // Out of the test's process group: an interrupted test run still takes the node down in order.
        command.process_group(0);
        self.process = Some(command.spawn().expect("orlop runs"));
    }

    /// Waits until the API server answers and the Node is Ready.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                panic!("orlop ended with {status}:\n{}", self.log());
            }
            if self
                .kubectl
                .run(&format!("get node {}", self.name))
                .status
                .success()
            {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "no answer from the API server:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kubectl.ok(&format!(
            "wait --for=condition=Ready --timeout=60s node/{}",
            self.name
        ));
    }

    pub fn pid(&self) -> Pid {
        let process = self.process.as_ref().expect("the node runs");
        Pid::from_raw(i32::try_from(process.id()).expect("a pid"))
    }

    /// Whether its process runs.
    pub fn is_alive(&self) -> bool {
        let process = self.process.as_ref().expect("the node was started");
        // One that has ended has no executable any more, though it still has a number.
        std::fs::read_link(format!("/proc/{}/exe", process.id())).is_ok()
    }

    /// `kill -9` of orlop; its containers and the managed containerd live on.
    pub fn kill(&mut self) {
        kill(self.pid(), Signal::SIGKILL).expect("orlop can be killed");
        self.process
            .take()
            .expect("the node ran")
            .wait()
            .expect("orlop ended");
    }

    /// Waits for orlop's process, which somebody else has told to end.
    pub fn ended(&mut self) {
        self.process
            .take()
            .expect("the node ran")
            .wait()
            .expect("orlop ended");
    }

    /// Runs one of orlop's own commands against this node.
    pub fn orlop(&self, line: &str) -> Output {
        Command::new(orlop())
            .args(line.split_whitespace())
            .arg("--root")
            .arg(self.root())
            .output()
            .expect("orlop runs")
    }

    /// Writes a manifest aside and renames it into place.
    pub fn write_manifest(&self, file: &str, text: &str) {
        let fresh = self.manifest(&format!(".{file}.new"));
        std::fs::write(&fresh, text).expect("the manifest is written");
        std::fs::rename(&fresh, self.manifest(file)).expect("the manifest is renamed");
    }

    /// Ids of the running containers with this container name, from the runtime.
    pub fn containers(&self, name: &str) -> Vec<String> {
        let output = self.orlop("ps --no-trunc");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "orlop ps: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text.lines()
            .skip(1)
            .filter(|line| line.split_whitespace().any(|word| word == name))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    }
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(80).collect();
            eprintln!("--- the node's last log lines");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if self.is_lone
            && let Some(mut process) = self.process.take()
        {
            // Else it would start again what is stopped here.
            let _ = process.kill();
            let _ = process.wait();
        }
        let down = self.orlop("down");
        if !down.status.success() {
            eprintln!("orlop down: {}", String::from_utf8_lossy(&down.stderr));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        cleanup::unmount_below(self.root());
    }
}
