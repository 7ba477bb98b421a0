//! What a person does on a master: asks its etcd, edits its manifests.
use crate::{Cluster, eventually};
use serde_json::{Value, json};

/// How etcd's own tool is let in.
const ETCDCTL: &str = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
                       --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt \
                       --key=/etc/kubernetes/pki/etcd/healthcheck-client.key";
/// Debian's library that shows a program another time of day.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime";

impl Cluster {
    /// Runs etcd's own tool on a master, which must succeed in the end; its standard output.
    pub fn etcdctl(&self, master: &str, line: &str) -> String {
        eventually(&format!("etcdctl {line} on {master}"), || {
            let output = self.lab.run(master, &format!("{ETCDCTL} {line}")).unwrap();
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        })
    }

    /// The master whose member leads etcd, as `asked` sees it.
    pub fn etcd_leader(&self, asked: &str) -> String {
        eventually("etcd has a leader", || {
            let members: Value = serde_json::from_str(&self.etcdctl(asked, "member list -w json"))
                .map_err(|e| e.to_string())?;
            let status: Value = serde_json::from_str(&self.etcdctl(asked, "endpoint status -w json"))
                .map_err(|e| e.to_string())?;
            let leader = &status[0]["Status"]["leader"];
            let all = members["members"].as_array().ok_or("no members")?;
            let found = all.iter().find(|member| member["ID"] == *leader);
            let name = found.and_then(|member| member["name"].as_str());
            name.map(str::to_owned).ok_or(format!("{leader} of {members}"))
        })
    }

    /// Edits the manifest of a component and waits until the pod of the new one is ready.
    pub fn edit(&self, master: &str, component: &str, edit: impl FnOnce(&mut Value)) {
        let path = self
            .lab
            .path(master, &format!("/etc/kubernetes/manifests/{component}.yaml"))
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut manifest: Value = serde_saphyr::from_str(&text).unwrap();
        edit(&mut manifest);
        let old = self.hash(master, component);
        // JSON is YAML; in one step, as editors write.
        let fresh = path.with_file_name(format!(".{component}.edited"));
        std::fs::write(&fresh, manifest.to_string()).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        eventually(&format!("{component} of {master} is another"), || {
            let new = self.hash(master, component);
            if new == old { Err(new) } else { Ok(()) }
        });
        self.kubectl.patiently(&format!(
            "wait -n kube-system --for=condition=Ready --timeout=180s pod/{component}-{master}"
        ));
    }

    fn hash(&self, master: &str, component: &str) -> String {
        let line = format!(
            "get pod -n kube-system {component}-{master} -o jsonpath={{.metadata.annotations.kubernetes\\.io/config\\.hash}}"
        );
        String::from_utf8_lossy(&self.kubectl.run(&line).stdout).into_owned()
    }

    /// Starts a component with one flag more.
    pub fn add_flag(&self, master: &str, component: &str, flag: &str) {
        self.edit(master, component, |manifest| {
            let command = manifest["spec"]["containers"][0]["command"]
                .as_array_mut()
                .unwrap();
            command.push(json!(flag));
        });
    }

    /// Starts a component without the flags that begin so.
    pub fn remove_flag(&self, master: &str, component: &str, flag: &str) {
        self.edit(master, component, |manifest| {
            let command = manifest["spec"]["containers"][0]["command"]
                .as_array_mut()
                .unwrap();
            command.retain(|word| !word.as_str().unwrap_or_default().starts_with(flag));
        });
    }

    /// Lets a component see another time of day, such as `+1h`.
    pub fn skew(&self, master: &str, component: &str, by: &str) {
        self.edit(master, component, |manifest| {
            let container = &mut manifest["spec"]["containers"][0];
            container["env"] = json!([
                {"name": "LD_PRELOAD", "value": format!("{FAKETIME}/libfaketime.so.1")},
                {"name": "FAKETIME", "value": by},
                {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
            ]);
            let mounts = container["volumeMounts"].as_array_mut().unwrap();
            mounts.push(json!({"name": "faketime", "mountPath": FAKETIME, "readOnly": true}));
            let volumes = manifest["spec"]["volumes"].as_array_mut().unwrap();
            volumes.push(json!({"name": "faketime", "hostPath": {"path": FAKETIME, "type": "Directory"}}));
        });
    }

    /// Takes [`Self::skew`] back.
    pub fn unskew(&self, master: &str, component: &str) {
        self.edit(master, component, |manifest| {
            let is_other = |named: &Value| named["name"] != "faketime";
            let container = &mut manifest["spec"]["containers"][0];
            container["env"] = json!([]);
            container["volumeMounts"].as_array_mut().unwrap().retain(is_other);
            manifest["spec"]["volumes"]
                .as_array_mut()
                .unwrap()
                .retain(is_other);
        });
    }
}
