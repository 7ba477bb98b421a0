//! The JSON documents of an OCI image, as far as they are written and read here.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Media type of an image index.
pub const MEDIA_TYPE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an image manifest.
pub const MEDIA_TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image configuration.
pub const MEDIA_TYPE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed layer.
pub const MEDIA_TYPE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's manifest list.
pub const MEDIA_TYPE_DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Annotation with the full image name, as containerd and Docker write it.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";
/// Annotation with the tag (OCI image layout).
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Pointer to content.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// For which machine, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free annotations.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Whether it points to an index (a list of manifests) and not to a manifest.
    pub fn is_index(&self) -> bool {
        self.media_type == MEDIA_TYPE_INDEX || self.media_type == MEDIA_TYPE_DOCKER_LIST
    }
}

/// Operating system and processor.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Platform {
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

impl Platform {
    /// This machine, in Go's words, which OCI uses.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
        }
    }
}

/// `index.json`, or a nested index.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What is in the archive.
    #[serde(default, deserialize_with = "given")]
    pub manifests: Vec<Descriptor>,
}

/// An image manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// Layers, lowest first.
    #[serde(default, deserialize_with = "given")]
    pub layers: Vec<Descriptor>,
}

/// Image configuration document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Creation time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Processor.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// How to run it.
    #[serde(default, deserialize_with = "given")]
    pub config: RunConfig,
    /// Uncompressed layers.
    pub rootfs: RootFs,
}

/// How a container of the image runs by default.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct RunConfig {
    /// User, or `uid[:gid]`.
    #[serde(
        rename = "User",
        default,
        deserialize_with = "given",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// `NAME=value`.
    #[serde(
        rename = "Env",
        default,
        deserialize_with = "given",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// Program and its fixed arguments.
    #[serde(
        rename = "Entrypoint",
        default,
        deserialize_with = "given",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub entrypoint: Vec<String>,
    /// Arguments that a pod's `args` replaces.
    #[serde(
        rename = "Cmd",
        default,
        deserialize_with = "given",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cmd: Vec<String>,
    /// Working directory.
    #[serde(
        rename = "WorkingDir",
        default,
        deserialize_with = "given",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Free labels.
    #[serde(
        rename = "Labels",
        default,
        deserialize_with = "given",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
}

/// Digests of the uncompressed layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Lowest first.
    #[serde(default, deserialize_with = "given")]
    pub diff_ids: Vec<String>,
}

/// One image in the `manifest.json` of `docker save`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerManifest {
    /// Path of the configuration in the archive.
    pub config: String,
    /// Names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// Paths of the layers in the archive, lowest first.
    #[serde(default, deserialize_with = "given")]
    pub layers: Vec<String>,
}

/// Reads `null` as nothing: what is written by programs in Go says that of every empty list and map.
fn given<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_as_docker_saves_it_is_read() {
        let run = json!({"User": "", "Env": ["A=b"], "Entrypoint": ["/pause"], "Cmd": null, "WorkingDir": "/",
            "Volumes": null, "OnBuild": null, "Labels": null});
        let config = json!({"architecture": "amd64", "os": "linux", "config": run,
            "rootfs": {"type": "layers", "diff_ids": null}});
        let config: ImageConfig = serde_json::from_value(config).unwrap();
        let expected = RunConfig {
            env: vec!["A=b".to_owned()],
            entrypoint: vec!["/pause".to_owned()],
            working_dir: "/".to_owned(),
            ..RunConfig::default()
        };
        assert_eq!(config.config, expected);
        assert!(config.rootfs.diff_ids.is_empty());
        let without: ImageConfig = serde_json::from_value(json!({"architecture": "amd64", "os": "linux",
            "config": null, "rootfs": {"type": "layers", "diff_ids": []}}))
        .unwrap();
        assert_eq!(without.config, RunConfig::default());
    }
}
