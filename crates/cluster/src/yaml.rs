//! Documents of users and of kubeadm are YAML.
use crate::ClusterError;
use serde_json::Value;

pub fn read(what: &str, text: &str) -> Result<Value, ClusterError> {
    serde_saphyr::from_str(text).map_err(|error| ClusterError::Document {
        what: what.to_owned(),
        reason: error.to_string(),
    })
}

pub fn write(document: &Value) -> Result<String, ClusterError> {
    serde_saphyr::to_string(document).map_err(|error| ClusterError::Document {
        what: document["kind"].as_str().unwrap_or("document").to_owned(),
        reason: error.to_string(),
    })
}
