//! Rates of reading, and of creating as the one write.
use super::target::Target;
use super::{Rates, load, objects};
use anyhow::Result;
use serde_json::json;

const PODS: usize = 1000;
const PODS_PATH: &str = "/api/v1/namespaces/default/pods";
const MAPS: usize = 20_000;
const MAPS_PATH: &str = "/api/v1/namespaces/default/configmaps";
const READERS: usize = 4;
const WRITERS: usize = 16;
/// Characters of data that make a ConfigMap of 500 bytes.
const MAP_DATA: usize = 380;

pub fn measure(target: &Target) -> Result<Rates> {
    load::creates(target, WRITERS, PODS, PODS_PATH, objects::pod)?;
    let get = load::gets(target, READERS, &format!("{PODS_PATH}/pod-000500"))?;
    let list = load::gets(target, READERS, PODS_PATH)?;
    let labelled = load::gets(target, READERS, &format!("{PODS_PATH}?labelSelector=rare%3Dyes"))?;
    let create = load::creates(target, WRITERS, MAPS, MAPS_PATH, |number| {
        objects::config_map(number, MAP_DATA, &json!({"app": "bench"}))
    })?;
    Ok(Rates {
        get,
        list,
        labelled,
        create,
    })
}
