//! The identity of a static pod: the same for the same meaning, path and node, another for anything
//! else.
use super::{Source, StaticOrigin};
use crate::fnv::Fnv128;
use k8s_openapi::api::core::v1::Pod;

/// 32 lower-case hex digits over the defaulted object and where it came from.
pub fn of(pod: &Pod, origin: &StaticOrigin) -> String {
    let mut hash = Fnv128::new();
    // Keys of a JSON value are sorted: the order in the file doesn't count.
    let meaning = serde_json::to_value(pod)
        .map(|value| value.to_string())
        .unwrap_or_default();
    hash.write(meaning.as_bytes());
    match &origin.source {
        Source::File(path) => {
            hash.write(format!("host:{}", origin.node_name).as_bytes());
            hash.write(format!("file:{}", path.display()).as_bytes());
        }
        // The same URL gives the same pod on every node.
        Source::Http(url) => hash.write(format!("url:{url}").as_bytes()),
    }
    format!("{:032x}", hash.finish())
}
