//! One plugin: its list of devices is followed until it ends.
use super::messages::{Device, Empty, ListAndWatchResponse};
use super::{Devices, HEALTHY, PluginCaller};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A plugin that does not come back within this takes its devices along.
const RETURN_MAX: Duration = Duration::from_secs(300);

/// A plugin that has registered.
pub struct Registered {
    pub resource: String,
    pub(super) plugin: PluginCaller,
}

/// Follows its devices until it goes, or another takes its place (`replaced`).
pub async fn follow(devices: Arc<Devices>, plugin: Registered, replaced: CancellationToken) {
    let resource = plugin.resource.clone();
    let work = list_and_watch(&devices, &plugin, &replaced);
    let Some(outcome) = replaced.run_until_cancelled(work).await else {
        return;
    };
    let why = outcome.err().unwrap_or_else(|| "it ended its list".to_owned());
    tracing::warn!(resource, why, "the device plugin is gone");
    devices.plugin_gone(&resource, &replaced);
    let over = tokio::time::sleep(RETURN_MAX);
    if replaced.run_until_cancelled(over).await.is_some() {
        devices.given_up(&resource, &replaced);
    }
}

async fn list_and_watch(
    devices: &Devices,
    plugin: &Registered,
    replaced: &CancellationToken,
) -> Result<(), String> {
    let mut lists = plugin.plugin.caller.call("ListAndWatch", &Empty {}).await?;
    devices.plugin_here(&plugin.resource, plugin.plugin.clone(), replaced);
    while let Some(list) = lists.next::<ListAndWatchResponse>().await? {
        devices.listed(&plugin.resource, list.devices, replaced);
    }
    Ok(())
}

/// Whether a device may be given to somebody.
pub fn is_healthy(device: &Device) -> bool {
    device.health == HEALTHY
}
