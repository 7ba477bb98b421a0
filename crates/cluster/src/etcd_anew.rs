//! The manifest of a member of etcd that runs, written anew: with what people lay over it now, and the image that it has, for an
//! upgrade of the control plane is none of etcd.
use crate::control_plane::ControlPlane;
use crate::extras::Ignored;
use crate::{ClusterError, etcd, yaml};
use orlop_oci::reference;
use serde_json::{Value, json};

impl ControlPlane {
    /// The manifest's text; `present`: the one that it has.
    ///
    /// # Errors
    /// A patch does not fit, or the cluster's configuration says of etcd what no manifest follows.
    pub fn etcd_anew(&self, present: &str) -> Result<String, ClusterError> {
        Ignored::refuse(&self.cluster.ignored.etcd)?;
        let present = yaml::read("the manifest of etcd", present)?;
        let image = present
            .pointer("/spec/containers/0/image")
            .and_then(Value::as_str);
        let mut plane = self.clone();
        // The flags are those that it knows.
        if let Some(tag) = image.and_then(reference::tag) {
            tag.clone_into(&mut plane.cluster.etcd_tag);
        }
        let mut manifest = plane.bare("etcd", &etcd::told(&present).initial)?;
        if let Some(image) = image {
            manifest["spec"]["containers"][0]["image"] = json!(image);
        }
        yaml::write(&self.patches.apply("etcd", manifest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfig;
    use crate::manifests::InitialCluster;
    use crate::patches::Patches;
    use crate::testing;
    use std::path::Path;

    fn plane(text: &str) -> ControlPlane {
        let text = format!("kubernetesVersion: v1.36.0\n{text}");
        testing::plane(ClusterConfig::from_yaml(&text).unwrap(), Path::new("/"))
    }

    fn of_tag(tag: &str) -> ControlPlane {
        plane(&format!("etcd: {{local: {{imageTag: {tag}}}}}\n"))
    }

    #[test]
    fn an_etcd_that_runs_keeps_its_image_and_what_it_was_told_of_others() {
        let of = |name: &str, url: &str| (name.to_owned(), url.to_owned());
        let others = InitialCluster {
            members: vec![
                of("master-02", "https://10.0.0.2:2380"),
                of("master-01", "https://10.0.0.1:2380"),
            ],
        };
        for members in [InitialCluster::default(), others] {
            let present = of_tag("3.5.21-0").manifest("etcd", &members).unwrap();
            let anew = of_tag("3.6.6-0").etcd_anew(&present).unwrap();
            assert_eq!(anew, present);
        }
    }

    #[test]
    fn an_etcd_that_runs_keeps_its_flags_where_its_image_is_told_by_a_digest_too() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let none = InitialCluster::default();
        let usual = of_tag("3.5.21-0").manifest("etcd", &none).unwrap();
        for (image, said) in [(":3.5.21-0@", "3.6.6-0"), ("@", "3.5.21-0")] {
            let present = usual.replace(":3.5.21-0", &format!("{image}{digest}"));
            let anew = of_tag(said).etcd_anew(&present).unwrap();
            let read = |text: &str| yaml::read("it", text).unwrap();
            assert_eq!(read(&anew), read(&present), "{image}");
        }
    }

    #[test]
    fn an_etcd_that_runs_gets_what_is_laid_over_it_now_and_loses_what_was() {
        let directory = tempfile::tempdir().unwrap();
        let with = |text: &str| {
            std::fs::write(directory.path().join("etcd+json.json"), text).unwrap();
            ControlPlane {
                patches: Patches::read(directory.path()).unwrap(),
                ..of_tag("3.6.6-0")
            }
        };
        let none = InitialCluster::default();
        let add = |flag: &str| {
            with(&format!(
                r#"[{{"op": "add", "path": "/spec/containers/0/command/-", "value": "{flag}"}}]"#
            ))
        };
        let present = add("--auto-compaction-retention=1h")
            .manifest("etcd", &none)
            .unwrap();
        let again = add("--auto-compaction-retention=1h").etcd_anew(&present).unwrap();
        assert_eq!(again, present, "a flag that is added is not there twice");
        let other = add("--quota-backend-bytes=8589934592");
        assert_eq!(
            other.etcd_anew(&present).unwrap(),
            other.manifest("etcd", &none).unwrap()
        );
        let error = with(r#"[{"op": "remove", "path": "/nothing"}]"#).etcd_anew(&present);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("etcd+json.json"), "{error}");
    }

    #[test]
    fn an_etcd_that_no_manifest_of_ours_describes_is_not_written() {
        let elsewhere = plane("etcd: {local: {dataDir: /data/etcd}}\n");
        let present = of_tag("3.6.6-0")
            .manifest("etcd", &InitialCluster::default())
            .unwrap();
        let error = elsewhere.etcd_anew(&present).unwrap_err().to_string();
        assert!(error.contains("etcd.local.dataDir"), "{error}");
    }
}
