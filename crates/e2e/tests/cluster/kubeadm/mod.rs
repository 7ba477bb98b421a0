//! What a real `kubeadm` of 1.30 to 1.34 writes, waits for and applies, phase by phase, with an Orlop kubelet as its
//! kubelet and Orlop's images: on a machine that has a containerd of its own. The files beside this one are kubeadm's, with
//! its names and flags; etcd's manifest has those that Debian's version understands.
use crate::{printed, row};
use orlop_e2e::{CONTROL_PLANE, Cluster, eventually};
use orlop_lab::{GATEWAY, steps::kubeconfig_here};
use serde_json::Value;
use std::process::{Child, Stdio};

const MASTER: &str = "master-01";
const WORKER: &str = "worker-01";
const SOCKET: &str = "unix:///var/run/containerd/containerd.sock";
const TOKEN: &str = "abcdef.0123456789abcdef";
const PAUSE: &str = "registry.k8s.io/pause:3.10";

/// Issue 7: an Orlop kubelet and Orlop images must satisfy a real `kubeadm init` and `join`.
#[test]
fn kubeadms_files_and_phases_make_a_cluster_of_an_orlop_kubelet_and_orlop_images() {
    let mut run = Run {
        cluster: Cluster::machines(&[MASTER, WORKER]),
        running: Vec::new(),
    };
    for machine in [MASTER, WORKER] {
        run.runtime(machine);
    }
    run.init();
    run.join();
    run.upgrade_check();
    run.addons();
}

/// A cluster in the making; what runs for it ends with its machines.
struct Run {
    cluster: Cluster,
    running: Vec<Child>,
}

impl Run {
    /// Runs a script on a machine, which must succeed; its standard output.
    fn sh(&self, machine: &str, script: &str) -> String {
        let mut command = self.cluster.lab.command(machine, "sh").unwrap();
        let output = command
            .arg("-c")
            .arg(script)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}\n{}", printed(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn address(&self, machine: &str) -> String {
        self.cluster.lab.machine(machine).unwrap().address.to_string()
    }

    fn write(&self, machine: &str, path: &str, text: &str) {
        let to = self.cluster.lab.path(machine, path).unwrap();
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, text).unwrap();
    }

    fn background(&mut self, machine: &str, script: &str, log: &str) {
        let mut command = self.cluster.lab.command(machine, "sh").unwrap();
        let script = format!("exec >{log} 2>&1; {script}");
        let child = command
            .arg("-c")
            .arg(script)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.running.push(child);
    }

    /// A containerd that somebody else looks after, with the images in it and a network for pods.
    fn runtime(&mut self, machine: &str) {
        let config = format!(
            "version = 2\ndisabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {PAUSE:?}\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"/etc/cni/net.d\"\n"
        );
        self.write(machine, "/var/lib/containerd.toml", &config);
        let network = r#"{"cniVersion":"0.4.0","name":"bridge","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,
            "ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.99.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}"#;
        self.write(machine, "/var/lib/10-bridge.conflist", network);
        self.sh(
            machine,
            "mkdir -p /etc/cni/net.d && cp /var/lib/10-bridge.conflist /etc/cni/net.d/",
        );
        self.background(
            machine,
            "exec containerd --config /var/lib/containerd.toml",
            "/var/log/containerd.log",
        );
        eventually("containerd answers", || {
            let version = self.cluster.lab.run(machine, "ctr version").unwrap();
            version
                .status
                .success()
                .then_some(())
                .ok_or_else(|| printed(&version))
        });
        let pause = self
            .cluster
            .lab
            .path(machine, "/var/lib/orlop/images/pause.tar")
            .unwrap();
        std::fs::write(pause, orlop_cri::pause::archive_as(PAUSE).unwrap()).unwrap();
        self.sh(
            machine,
            "for image in /var/lib/orlop/images/*.tar; do ctr -n k8s.io images import $image; done",
        );
    }

    /// Starts the kubelet as systemd does by its unit's drop-in.
    fn kubelet(&mut self, machine: &str) {
        let unit = unit_script(include_str!("10-kubeadm.conf"));
        let unit = unit.replace("/usr/bin/kubelet", "/var/lib/kubelet-program/kubelet");
        self.sh(
            machine,
            "mkdir -p /var/lib/kubelet-program && ln -sf /lab/bin/orlop /var/lib/kubelet-program/kubelet",
        );
        self.background(machine, &unit, "/var/log/kubelet.log");
    }

    /// `kubelet-start`: the configuration, with the node's own file merged into it as kubeadm's patches are, and flags.
    fn kubelet_start(&mut self, machine: &str, endpoint: &str, flags: &str) {
        let own = self
            .cluster
            .lab
            .path(machine, "/var/lib/kubelet/instance-config.yaml")
            .unwrap();
        let own = std::fs::read_to_string(own).unwrap();
        let (root, more) = own.split_once('\n').unwrap();
        let root = root.strip_prefix("cgroupRoot: ").unwrap();
        let config = include_str!("config.yaml")
            .replace("CGROUP_ROOT", root)
            .replace("RUNTIME_ENDPOINT", endpoint);
        self.write(machine, "/var/lib/kubelet/config.yaml", &(config + more));
        let flags = format!("KUBELET_KUBEADM_ARGS=\"{flags}\"\n");
        self.write(machine, "/var/lib/kubelet/kubeadm-flags.env", &flags);
        self.kubelet(machine);
        self.healthy(machine, "http://127.0.0.1:10248/healthz");
    }

    /// Waits as kubeadm does: until the address answers 200.
    fn healthy(&self, machine: &str, url: &str) {
        eventually(&format!("{url} of {machine}"), || {
            let line = format!("curl -sk -o /dev/null -w %{{http_code}} {url}");
            let code = printed(&self.cluster.lab.run(machine, &line).unwrap());
            if code == "200" {
                Ok(())
            } else {
                Err(format!("{code}\n{}", self.kubelet_log(machine)))
            }
        });
    }

    fn kubelet_log(&self, machine: &str) -> String {
        printed(
            &self
                .cluster
                .lab
                .run(machine, "tail -n 40 /var/log/kubelet.log")
                .unwrap(),
        )
    }

    fn init(&mut self) {
        let address = self.address(MASTER);
        let etcd = self.sh(
            MASTER,
            "ctr -n k8s.io images ls -q | grep registry.k8s.io/etcd: | head -n 1",
        );
        let certs = format!(
            "NODE={MASTER} ADDRESS={address} ENDPOINT={GATEWAY}\n{}",
            include_str!("certs.sh")
        );
        self.sh(MASTER, &certs);
        let file = |text: &str| {
            text.replace("ADDRESS", &address)
                .replace("NODE", MASTER)
                .replace("ETCD_IMAGE", etcd.trim())
        };
        for (name, text) in [
            ("etcd", include_str!("etcd.yaml")),
            ("kube-apiserver", include_str!("kube-apiserver.yaml")),
            (
                "kube-controller-manager",
                include_str!("kube-controller-manager.yaml"),
            ),
            ("kube-scheduler", include_str!("kube-scheduler.yaml")),
        ] {
            self.write(
                MASTER,
                &format!("/etc/kubernetes/manifests/{name}.yaml"),
                &file(text),
            );
        }
        // Until 1.33 the sandbox image was a flag, and the runtime's socket until 1.34.
        self.kubelet_start(
            MASTER,
            "\"\"",
            &format!(
                "--container-runtime-endpoint={SOCKET} --hostname-override={MASTER} --node-ip={address} \
                 --pod-infra-container-image={PAUSE} \
                 --register-with-taints=node-role.kubernetes.io/control-plane:NoSchedule"
            ),
        );
        // wait-control-plane, since 1.33 at these three.
        self.healthy(MASTER, &format!("https://{address}:6443/livez"));
        self.healthy(MASTER, "https://127.0.0.1:10257/healthz");
        self.healthy(MASTER, "https://127.0.0.1:10259/livez");
        self.upload();
        let kubectl = &self.cluster.kubectl;
        kubectl.patiently(&format!("wait --for=condition=Ready --timeout=60s node/{MASTER}"));
        for part in CONTROL_PLANE {
            kubectl.patiently(&format!(
                "wait -n kube-system --for=condition=Ready --timeout=90s pod/{part}-{MASTER}"
            ));
        }
        let node = kubectl.json(&format!("get node {MASTER}"));
        assert_eq!(
            node["spec"]["taints"][0]["key"], "node-role.kubernetes.io/control-plane",
            "{node}"
        );
        assert_eq!(node["spec"]["podCIDR"], "10.244.0.0/24");
        // kubelet-finalize: the kubeconfig names this link from now on, and the kubelet is started again.
        self.sh(MASTER, "test -L /var/lib/kubelet/pki/kubelet-client-current.pem");
    }

    /// The phases that write to the API: as super-admin first, then as the administrator.
    fn upload(&self) {
        let kubectl = &self.cluster.kubectl;
        let here = |name: &str| {
            let path = self
                .cluster
                .lab
                .path(MASTER, &format!("/etc/kubernetes/{name}.conf"))
                .unwrap();
            let text = kubeconfig_here(&std::fs::read_to_string(path).unwrap(), self.cluster.api_port());
            std::fs::write(&kubectl.kubeconfig, text).unwrap();
        };
        here("super-admin");
        kubectl.patiently(
            "create clusterrolebinding kubeadm:cluster-admins --clusterrole=cluster-admin --group=kubeadm:cluster-admins",
        );
        here("admin");
        kubectl.feed(
            "create",
            &include_str!("objects.yaml").replace("ENDPOINT", &GATEWAY.to_string()),
        );
        let config = self
            .cluster
            .lab
            .path(MASTER, "/var/lib/kubelet/config.yaml")
            .unwrap();
        kubectl.ok(&format!(
            "create configmap -n kube-system kubelet-config --from-file=kubelet={}",
            config.display()
        ));
        for kind in ["role", "rolebinding"] {
            let what = match kind {
                "role" => "--verb=get --resource=configmaps --resource-name=kubelet-config",
                _ => {
                    "--role=kubeadm:kubelet-config --group=system:nodes \
                     --group=system:bootstrappers:kubeadm:default-node-token"
                }
            };
            kubectl.ok(&format!(
                "create {kind} -n kube-system kubeadm:kubelet-config {what}"
            ));
        }
        // The socket's annotation, and mark-control-plane, are strategic merge patches.
        for patch in [
            format!(r#"{{"metadata":{{"annotations":{{"kubeadm.alpha.kubernetes.io/cri-socket":"{SOCKET}"}}}}}}"#),
            r#"{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"","node.kubernetes.io/exclude-from-external-load-balancers":""}},"spec":{"taints":[{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]}}"#.to_owned(),
        ] {
            let patched = kubectl.command(&format!("patch node {MASTER} --type=strategic -p")).arg(patch).output();
            let patched = patched.unwrap();
            assert!(patched.status.success(), "{}", printed(&patched));
        }
        // cluster-info: the cluster's part of the administrator's kubeconfig.
        let ca = self.sh(MASTER, "base64 -w0 /etc/kubernetes/pki/ca.crt");
        let info = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://{GATEWAY}:6443\n  \
             name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
            ca.trim()
        );
        self.write(MASTER, "/var/lib/cluster-info", &info);
        let info = self.cluster.lab.path(MASTER, "/var/lib/cluster-info").unwrap();
        kubectl.ok(&format!(
            "create configmap -n kube-public cluster-info --from-file=kubeconfig={}",
            info.display()
        ));
    }

    fn join(&mut self) {
        // Discovery: anybody reads cluster-info, which is signed with the token.
        eventually("cluster-info is signed", || {
            let url = format!("https://{GATEWAY}:6443/api/v1/namespaces/kube-public/configmaps/cluster-info");
            let said = printed(&self.cluster.lab.run(WORKER, &format!("curl -sk {url}")).unwrap());
            said.contains("jws-kubeconfig-abcdef").then_some(()).ok_or(said)
        });
        // With the token: what the cluster was made with, and whether the name is free.
        for (path, code) in [
            ("api/v1/namespaces/kube-system/configmaps/kubeadm-config", "200"),
            ("api/v1/namespaces/kube-system/configmaps/kubelet-config", "200"),
            ("api/v1/nodes/worker-01", "404"),
            ("api/v1/namespaces/kube-system/secrets", "403"),
        ] {
            let said = self.sh(
                WORKER,
                &format!(
                    "curl -sk -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {TOKEN}' https://{GATEWAY}:6443/{path}"
                ),
            );
            assert_eq!(said, code, "{path}");
        }
        let ca = self.sh(MASTER, "cat /etc/kubernetes/pki/ca.crt");
        self.write(WORKER, "/etc/kubernetes/pki/ca.crt", &ca);
        let data = self.sh(WORKER, "base64 -w0 /etc/kubernetes/pki/ca.crt");
        let bootstrap = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://{GATEWAY}:6443\n  \
             name: kubernetes\ncontexts:\n- context:\n    cluster: kubernetes\n    user: tls-bootstrap-token-user\n  \
             name: tls-bootstrap-token-user@kubernetes\ncurrent-context: tls-bootstrap-token-user@kubernetes\nkind: Config\n\
             preferences: {{}}\nusers:\n- name: tls-bootstrap-token-user\n  user:\n    token: {TOKEN}\n",
            data.trim()
        );
        self.write(WORKER, "/etc/kubernetes/bootstrap-kubelet.conf", &bootstrap);
        // Since 1.34 the socket is in the node's own configuration instead.
        let flags = format!("--node-ip={}", self.address(WORKER));
        self.kubelet_start(WORKER, SOCKET, &flags);
        eventually("the kubelet has its certificate", || {
            let path = self
                .cluster
                .lab
                .path(WORKER, "/etc/kubernetes/kubelet.conf")
                .unwrap();
            path.is_file()
                .then_some(())
                .ok_or_else(|| self.kubelet_log(WORKER))
        });
        let kubectl = &self.cluster.kubectl;
        kubectl.patiently(&format!("wait --for=condition=Ready --timeout=60s node/{WORKER}"));
        kubectl.ok("run hello --image=orlop.local/busybox:debian --restart=Never -- echo hello from kubeadm");
        kubectl.patiently("wait --for=jsonpath={.status.phase}=Succeeded --timeout=60s pod/hello");
        assert_eq!(kubectl.ok("logs hello"), "hello from kubeadm\n");
    }
}

impl Run {
    /// Before an upgrade kubeadm looks whether there is a node for pods, and whether a Job of the sandbox's image ends.
    fn upgrade_check(&self) {
        let kubectl = &self.cluster.kubectl;
        let free = kubectl.ok("get nodes --field-selector spec.unschedulable=false -o name");
        assert_eq!(free.lines().count(), 2, "{free}");
        let made = kubectl.feed("create -o name", include_str!("upgrade-health-check.yaml"));
        let job = made.trim();
        kubectl.patiently(&format!(
            "wait -n kube-system --for=condition=Complete --timeout=15s {job}"
        ));
        kubectl.ok(&format!("delete -n kube-system --cascade=foreground {job}"));
    }

    /// The add-ons are accepted, and their pods say why they do not run: nobody has their images.
    fn addons(&self) {
        let kubectl = &self.cluster.kubectl;
        let objects = include_str!("addons.yaml").replace("ENDPOINT", &GATEWAY.to_string());
        let applied = kubectl.feed("apply", &objects);
        assert_eq!(applied.matches(" created").count(), 12, "{applied}");
        // Where the file says or leaves out what is the default, kubectl finds something to do each time.
        let again = kubectl.feed("apply", &objects);
        let accepted = |line: &&str| line.ends_with(" unchanged") || line.ends_with(" configured");
        assert_eq!(again.lines().filter(accepted).count(), 12, "{again}");
        for (label, image) in [
            ("kube-proxy", "registry.k8s.io/kube-proxy:v1.34.1"),
            ("kube-dns", "registry.k8s.io/coredns/coredns:v1.12.1"),
        ] {
            eventually(&format!("two pods of {label} say why they wait"), || {
                let pods = kubectl.json(&format!("get pods -n kube-system -l k8s-app={label}"));
                let waiting = |pod: &Value| {
                    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
                    let reason = waiting["reason"].as_str().unwrap_or_default();
                    let message = waiting["message"].as_str().unwrap_or_default();
                    ["ErrImagePull", "ImagePullBackOff"].contains(&reason) && message.contains(image)
                };
                let all = pods["items"].as_array().unwrap();
                (all.len() == 2 && all.iter().all(waiting))
                    .then_some(())
                    .ok_or(pods.to_string())
            });
        }
        let listed = kubectl.ok("get daemonset -n kube-system kube-proxy");
        assert_eq!(row(&listed, "kube-proxy")[1..5], ["2", "2", "0", "2"], "{listed}");
        let listed = kubectl.ok("get deployment -n kube-system coredns");
        assert_eq!(row(&listed, "coredns")[1..4], ["0/2", "2", "0"], "{listed}");
        let service = kubectl.field("service -n kube-system kube-dns", "/spec/clusterIP");
        assert_eq!(service, "10.96.0.10");
    }
}

/// A unit's drop-in as a script: its environment, its files of environment that are there, what it starts.
fn unit_script(drop_in: &str) -> String {
    let mut script = String::from("set -a\n");
    for line in drop_in.lines() {
        if let Some(word) = line.strip_prefix("Environment=") {
            let (name, value) = word.trim_matches('"').split_once('=').unwrap();
            script.push_str(&format!("{name}=\"{value}\"\n"));
        } else if let Some(path) = line.strip_prefix("EnvironmentFile=-") {
            script.push_str(&format!("if [ -f {path} ]; then . {path}; fi\n"));
        } else if let Some(command) = line
            .strip_prefix("ExecStart=")
            .filter(|command| !command.is_empty())
        {
            script.push_str(&format!("exec {command}\n"));
        }
    }
    script
}

#[test]
fn a_drop_in_is_started_with_its_environment() {
    let script = unit_script(include_str!("10-kubeadm.conf"));
    assert!(
        script.contains("KUBELET_CONFIG_ARGS=\"--config=/var/lib/kubelet/config.yaml\""),
        "{script}"
    );
    assert!(
        script.contains(
            "if [ -f /var/lib/kubelet/kubeadm-flags.env ]; then . /var/lib/kubelet/kubeadm-flags.env"
        )
    );
    assert!(script.ends_with("$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n"));
}
