//! What pods were given, beside each pod's other files, and which resources plugins have brought: both outlive the agent.
use super::messages::ContainerAllocateResponse;
use crate::whole;
use k8s_openapi::ByteString;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Error, Result};
use std::path::Path;

/// In the pod's directory.
const FILE: &str = "devices.json";
/// In the directory of the plugins' sockets.
const RESOURCES: &str = "resources.json";

/// Devices of one resource, with what the plugin said of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    pub devices: BTreeSet<String>,
    pub response: ContainerAllocateResponse,
}

/// By container and resource.
pub type OfPod = BTreeMap<String, BTreeMap<String, Given>>;

#[derive(Serialize, Deserialize)]
struct Entry {
    devices: BTreeSet<String>,
    /// The plugin's answer as it came.
    response: ByteString,
}

type Entries = BTreeMap<String, BTreeMap<String, Entry>>;

/// Writes down what a pod was given.
pub fn save(pods: &Path, uid: &str, given: &OfPod) -> Result<()> {
    let entry = |given: &Given| Entry {
        devices: given.devices.clone(),
        response: ByteString(given.response.encode_to_vec()),
    };
    let entries: Entries = given
        .iter()
        .map(|(container, resources)| {
            let resources = resources.iter();
            let of = resources.map(|(resource, given)| (resource.clone(), entry(given)));
            (container.clone(), of.collect())
        })
        .collect();
    let text = serde_json::to_vec(&entries).map_err(Error::from)?;
    whole::put(&pods.join(uid).join(FILE), text)
}

/// Gives a pod's devices back.
pub fn forget(directory: &Path) -> Result<()> {
    whole::remove(&directory.join(FILE))
}

/// What pods were given by earlier agents. What cannot be read is nobody's: its pod starts anew.
pub fn load(pods: &Path) -> HashMap<String, OfPod> {
    let entries = std::fs::read_dir(pods).into_iter().flatten().flatten();
    let given = entries.filter_map(|entry| {
        let uid = entry.file_name().into_string().ok()?;
        let text = std::fs::read(entry.path().join(FILE)).ok()?;
        let entries: Entries = serde_json::from_slice(&text).ok()?;
        Some((uid, of_pod(entries)?))
    });
    given.collect()
}

fn of_pod(entries: Entries) -> Option<OfPod> {
    let mut all = OfPod::new();
    for (container, resources) in entries {
        for (resource, entry) in resources {
            let response = ContainerAllocateResponse::decode(&entry.response.0[..]).ok()?;
            let given = Given {
                devices: entry.devices,
                response,
            };
            all.entry(container.clone()).or_default().insert(resource, given);
        }
    }
    Some(all)
}

/// Writes down which resources there are plugins for.
pub fn save_resources<'a>(sockets: &Path, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let names: BTreeSet<&String> = names.collect();
    let text = serde_json::to_vec(&names).map_err(Error::from)?;
    whole::put(&sockets.join(RESOURCES), text)
}

/// Which there were.
pub fn load_resources(sockets: &Path) -> BTreeSet<String> {
    let text = std::fs::read(sockets.join(RESOURCES)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let given = Given {
            devices: ["a".to_owned()].into(),
            response: ContainerAllocateResponse {
                envs: [("X".to_owned(), "1".to_owned())].into(),
                ..ContainerAllocateResponse::default()
            },
        };
        let of_pod: OfPod = [("c".to_owned(), [("a.io/x".to_owned(), given)].into())].into();
        save(dir.path(), "u", &of_pod).unwrap();
        assert_eq!(load(dir.path()), [("u".to_owned(), of_pod)].into());
        std::fs::write(dir.path().join("u").join(FILE), "{").unwrap();
        assert!(load(dir.path()).is_empty());
        for _ in 0..2 {
            forget(&dir.path().join("u")).unwrap();
        }
        let names = ["a.io/x".to_owned()];
        save_resources(dir.path(), names.iter()).unwrap();
        assert_eq!(load_resources(dir.path()), names.into());
        assert!(load_resources(&dir.path().join("none")).is_empty());
    }
}
