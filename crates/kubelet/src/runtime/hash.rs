//! The hash of a container's definition: what tells a restarted agent that a running container is
//! still the one it should be. Name and image only, in upstream's form, so that a node changes over
//! without restarts (contract, node agent §8.1).
use k8s_openapi::api::core::v1::Container;
use serde_json::Value;

/// FNV-1a 32 over the decimal bytes of `{"image":…,"name":…}`, in lower-case hex.
pub fn container_hash(container: &Container) -> String {
    let image = Value::from(container.image.clone().unwrap_or_default());
    let name = Value::from(container.name.clone());
    let json = format!("{{\"image\":{image},\"name\":{name}}}");
    let bytes: Vec<String> = json.bytes().map(|byte| byte.to_string()).collect();
    let text = format!("([]uint8)[{}]", bytes.join(" "));
    format!("{:x}", orlop_api::fnv::fnv1a32(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_upstreams() {
        let container = Container {
            name: "test_container".into(),
            image: Some("foo/image:v1".into()),
            ..Container::default()
        };
        assert_eq!(container_hash(&container), "8e45cbd0");
    }
}
