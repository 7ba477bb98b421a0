//! What is posted of a node's status, and whether it still stands beside what others say of the node. Pure.
use k8s_openapi::api::core::v1::{NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use orlop_api::quantity::amount;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is to be said of resources that others gave the node: they did so by its capacity (`shown` is what the API has),
/// and the agent lets them be used; `None` of those that they took away.
pub fn given_by_others(shown: &NodeStatus, own: &NodeStatus) -> BTreeMap<String, Option<Quantity>> {
    let others = |list: &Option<BTreeMap<String, Quantity>>| -> BTreeMap<String, Quantity> {
        let mut list = list.clone().unwrap_or_default();
        let own = own.capacity.as_ref();
        // Such a name has a domain; others are the agent's.
        list.retain(|name, _| name.contains('/') && own.is_none_or(|own| !own.contains_key(name)));
        list
    };
    let (capacity, allocatable) = (others(&shown.capacity), others(&shown.allocatable));
    let gone = allocatable.keys().filter(|name| !capacity.contains_key(*name));
    let gone = gone.map(|name| (name.clone(), None));
    let given = capacity
        .iter()
        .filter(|(name, whole)| !is_same(allocatable.get(*name), whole));
    let given = given.map(|(name, whole)| (name.clone(), Some(whole.clone())));
    gone.chain(given).collect()
}

/// The patch that posts a status, and with it what is to be said of others' resources. Addresses merge by type, of which
/// there may be several alike: they are replaced.
pub fn patch(status: &NodeStatus, given: &BTreeMap<String, Option<Quantity>>) -> Value {
    let mut status = json!(status);
    for (name, quantity) in given {
        status["allocatable"][name] = json!(quantity);
    }
    if let Some(addresses) = status.get_mut("addresses").and_then(Value::as_array_mut) {
        addresses.push(json!({"$patch": "replace"}));
    }
    json!({"status": status})
}

/// Whether two statuses differ in more than times, and the room that comes and goes.
pub fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        status
    };
    still(a) != still(b)
}

/// Whether somebody else says another thing than what was posted: of a condition, as the node lifecycle controller does
/// of a node that it has not heard of for a while, or of the machine; or has resources for it.
pub fn is_overruled(posted: &NodeStatus, shown: &NodeStatus) -> bool {
    let said = |status: &NodeStatus, kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|c| c.type_ == kind).map(|c| c.status.clone())
    };
    let mut kinds = posted.conditions.iter().flatten().map(|c| c.type_.as_str());
    kinds.any(|kind| said(posted, kind) != said(shown, kind))
        || is_of_another_machine(posted, shown)
        || !given_by_others(shown, posted).is_empty()
}

/// However they are written.
fn is_same(one: Option<&Quantity>, other: &Quantity) -> bool {
    one.is_some_and(|one| amount(one) == amount(other))
}

fn is_of_another_machine(posted: &NodeStatus, shown: &NodeStatus) -> bool {
    let holds = |shown: &Option<BTreeMap<String, Quantity>>, posted: &Option<BTreeMap<String, Quantity>>| {
        let shown = shown.as_ref();
        let mut posted = posted.iter().flatten();
        posted.all(|(name, quantity)| is_same(shown.and_then(|shown| shown.get(name)), quantity))
    };
    // Older servers don't know of swap.
    let info = |status: &NodeStatus| {
        let info = status.node_info.clone().unwrap_or_default();
        NodeSystemInfo { swap: None, ..info }
    };
    let known = shown.addresses.iter().flatten().collect::<Vec<_>>();
    let mut addresses = posted.addresses.iter().flatten();
    info(posted) != info(shown)
        || posted.daemon_endpoints != shown.daemon_endpoints
        || !addresses.all(|address| known.contains(&address))
        || !holds(&shown.capacity, &posted.capacity)
        || !holds(&shown.allocatable, &posted.allocatable)
}
