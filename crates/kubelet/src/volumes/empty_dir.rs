//! emptyDir: a directory that lives as long as the pod does.
use super::Fault;
use super::directory::{Medium, Plugin, prepare};
use super::ownership::FsGroup;
use crate::environment::resource::{NodeAmounts, ThisNode};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use orlop_api::pod::resources::{every_container_limits, resource_limits};
use orlop_api::quantity::value;
use std::path::{Path, PathBuf};

pub fn setup(
    pod: &Pod,
    volume: &str,
    source: &EmptyDirVolumeSource,
    directory: &Path,
    node: &ThisNode,
) -> Result<PathBuf, Fault> {
    let medium = medium(pod, source, node.allocatable("memory").value())?;
    prepare(
        directory,
        Plugin::EmptyDir,
        volume,
        &medium,
        FsGroup::of(pod).map(|group| (group, false)),
    )
}

/// Memory is limited by the smallest of the volume's limit, the pod's limit and what the node has for pods.
fn medium(pod: &Pod, source: &EmptyDirVolumeSource, node_memory: i64) -> Result<Medium, Fault> {
    let given = source.medium.as_deref().unwrap_or_default();
    match given {
        "" => Ok(Medium::Disk),
        "Memory" => {
            let own = source.size_limit.as_ref().map(value);
            let spec = pod
                .spec
                .as_ref()
                .filter(|spec| every_container_limits(spec, "memory"));
            let limit =
                spec.and_then(|spec| resource_limits(spec).get("memory").map(|amount| amount.value()));
            let sizes = [own, limit, Some(node_memory)]
                .into_iter()
                .flatten()
                .filter(|size| *size > 0);
            Ok(Medium::Memory(sizes.min()))
        }
        "HugePages" => Ok(Medium::HugePages(String::new())),
        _ => match given.strip_prefix("HugePages-") {
            Some(size) => Ok(Medium::HugePages(format!(
                "pagesize={}",
                size.trim_end_matches('i')
            ))),
            None => Err(Fault::Invalid(format!("unknown emptyDir medium \"{given}\""))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn e10_the_smallest_limit_is_the_size() {
        let pod = |limit: Option<&str>| -> Pod {
            let limits = limit.map(|limit| json!({"limits": {"memory": limit}}));
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": limits}]}}),
            )
            .unwrap()
        };
        let mib = |count: i64| Medium::Memory(Some(count << 20));
        for (own, limit, want) in [
            (Some("64Mi"), None, mib(64)),
            (Some("64Mi"), Some("32Mi"), mib(32)),
            (None, Some("32Mi"), mib(32)),
            (None, None, mib(1024)),
            (Some("64Gi"), None, mib(1024)),
        ] {
            let source: EmptyDirVolumeSource =
                serde_json::from_value(json!({"medium": "Memory", "sizeLimit": own})).unwrap();
            assert_eq!(
                medium(&pod(limit), &source, 1 << 30).unwrap(),
                want,
                "{own:?} {limit:?}"
            );
        }
        let huge = EmptyDirVolumeSource {
            medium: Some("HugePages-2Mi".into()),
            size_limit: None,
        };
        assert_eq!(
            medium(&pod(None), &huge, 1).unwrap(),
            Medium::HugePages("pagesize=2M".into())
        );
    }
}
