//! The same pod, as a manifest and as requests to a runtime.
use orlop_cri::v1;
use serde_json::json;
use std::path::Path;

const IMAGE: &str = "orlop.local/busybox:debian";

/// A pod of one container on the node's network.
pub struct BenchPod<'a> {
    pub name: String,
    /// What the container runs in its shell.
    pub script: String,
    /// `terminationGracePeriodSeconds`.
    pub grace_seconds: u32,
    pub restart_policy: &'static str,
    /// Mounted as `/markers`.
    pub markers: &'a Path,
}

impl<'a> BenchPod<'a> {
    /// One that shows itself as its name, waits, and ends when it is told to.
    pub fn patient(name: String, markers: &'a Path) -> Self {
        let script =
            format!(": > /markers/{name}; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done");
        Self {
            name,
            script,
            grace_seconds: 1,
            restart_policy: "Always",
            markers,
        }
    }

    /// One that shows itself and does not end when it is told to.
    pub fn stubborn(name: String, markers: &'a Path, grace_seconds: u32) -> Self {
        let script = format!(": > /markers/{name}; trap '' TERM; while :; do sleep 3600 & wait $!; done");
        Self {
            script,
            grace_seconds,
            ..Self::patient(name, markers)
        }
    }

    pub fn manifest(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": "kube-system"},
            "spec": {
                "hostNetwork": true,
                "terminationGracePeriodSeconds": self.grace_seconds,
                "restartPolicy": self.restart_policy,
                "containers": [{
                    "name": "c",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["/bin/sh", "-c", self.script],
                    "volumeMounts": [{"name": "markers", "mountPath": "/markers"}],
                }],
                "volumes": [{"name": "markers", "hostPath": {"path": self.markers}}],
            },
        })
        .to_string()
    }

    pub fn sandbox(&self, logs: &Path) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: self.name.clone(),
                namespace: "kube-system".to_owned(),
                uid: self.name.clone(),
                attempt: 0,
            }),
            log_directory: logs.join(&self.name).display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig {
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        network: v1::NamespaceMode::Node as i32,
                        pid: v1::NamespaceMode::Container as i32,
                        ..v1::NamespaceOption::default()
                    }),
                    ..v1::LinuxSandboxSecurityContext::default()
                }),
                ..v1::LinuxPodSandboxConfig::default()
            }),
            ..v1::PodSandboxConfig::default()
        }
    }

    pub fn container(&self, attempt: u32) -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: "c".to_owned(),
                attempt,
            }),
            image: Some(v1::ImageSpec {
                image: IMAGE.to_owned(),
                ..v1::ImageSpec::default()
            }),
            command: ["/bin/sh", "-c", &self.script].map(str::to_owned).to_vec(),
            mounts: vec![v1::Mount {
                container_path: "/markers".to_owned(),
                host_path: self.markers.display().to_string(),
                ..v1::Mount::default()
            }],
            log_path: format!("c-{attempt}.log"),
            linux: Some(v1::LinuxContainerConfig::default()),
            ..v1::ContainerConfig::default()
        }
    }
}
