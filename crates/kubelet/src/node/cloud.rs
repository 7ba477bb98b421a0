//! Nodes of a cloud (`--cloud-provider=external`): a controller of the cloud's own finds out about the machine, tells where
//! it is reached, and lets pods come (contract, node agent §20.1). Pure.
use crate::config::KubeletConfiguration;
use k8s_openapi::api::core::v1::{NodeStatus, Taint};
use orlop_api::taints::{self, NO_SCHEDULE};
use std::net::IpAddr;

/// Keeps pods away until that controller has looked at the node.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Tells that controller which addresses the agent was given.
pub const PROVIDED_IP: &str = "alpha.kubernetes.io/provided-node-ip";

/// The taint that such a node begins with, and is known by here.
pub fn taint() -> Taint {
    Taint {
        value: Some("true".to_owned()),
        ..taints::taint(UNINITIALIZED, NO_SCHEDULE)
    }
}

/// Whether the node is a cloud's.
pub fn is_asked(configuration: &KubeletConfiguration) -> bool {
    let mut taints = configuration.register_with_taints.iter();
    taints.any(|taint| taint.key == UNINITIALIZED)
}

/// Which of `all` the node's addresses to tell: where a cloud knows them better, only those that were `given`.
pub fn told(configuration: &KubeletConfiguration, given: &[IpAddr], all: &[IpAddr]) -> Vec<IpAddr> {
    if !is_asked(configuration) {
        return all.to_vec();
    }
    let given = given.iter().copied();
    given.filter(|ip| !ip.is_unspecified()).collect()
}

/// The value of the annotation [`PROVIDED_IP`], for a node of a cloud.
pub fn provided(configuration: &KubeletConfiguration, told: &[IpAddr]) -> Option<String> {
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    (is_asked(configuration) && !told.is_empty()).then(|| told.join(","))
}

/// The status to post: addresses that a cloud's node has are left as they are.
pub fn left_to_it(
    configuration: &KubeletConfiguration,
    shown: Option<&NodeStatus>,
    mut wanted: NodeStatus,
) -> NodeStatus {
    let addresses = shown.and_then(|shown| shown.addresses.as_ref());
    if is_asked(configuration) && addresses.is_some_and(|all| !all.is_empty()) {
        wanted.addresses = None;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of_cloud() -> KubeletConfiguration {
        KubeletConfiguration {
            register_with_taints: vec![taint()],
            ..KubeletConfiguration::default()
        }
    }

    #[test]
    fn node_of_a_cloud_begins_with_its_taint_and_tells_the_addresses_it_was_given() {
        let text = "node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule";
        assert_eq!(taints::display(&taint()), text);
        let [own, given, any]: [IpAddr; 3] =
            ["10.0.0.7", "10.0.0.8", "0.0.0.0"].map(|ip| ip.parse().unwrap());
        let usual = KubeletConfiguration::default();
        assert_eq!(told(&usual, &[], &[own]), [own]);
        assert!(told(&of_cloud(), &[], &[own]).is_empty());
        assert!(told(&of_cloud(), &[any], &[own]).is_empty());
        assert_eq!(told(&of_cloud(), &[given], &[given]), [given]);
        assert_eq!(provided(&of_cloud(), &[given]).as_deref(), Some("10.0.0.8"));
        assert_eq!(provided(&of_cloud(), &[]), None);
        assert_eq!(provided(&usual, &[given]), None);
    }

    #[test]
    fn addresses_that_a_cloud_has_told_stay() {
        let with = |address: &str| -> NodeStatus {
            let addresses = json!({"addresses": [{"type": "InternalIP", "address": address}]});
            serde_json::from_value(addresses).unwrap()
        };
        let (of_it, own) = (with("10.0.0.9"), with("10.0.0.8"));
        let posted = |configuration: &KubeletConfiguration, shown: Option<&NodeStatus>| {
            left_to_it(configuration, shown, own.clone()).addresses
        };
        assert_eq!(posted(&of_cloud(), Some(&of_it)), None);
        assert_eq!(posted(&of_cloud(), Some(&NodeStatus::default())), own.addresses);
        assert_eq!(posted(&of_cloud(), None), own.addresses);
        assert_eq!(
            posted(&KubeletConfiguration::default(), Some(&of_it)),
            own.addresses
        );
    }
}
