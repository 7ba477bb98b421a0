//! How far the binding of a pod's claim has come, once it was asked for. Pure over what the [`World`] shows.

use orlop_client::informer::ObjectKey;

use super::volumes::Met;
use crate::known::view::NodeView;
use crate::known::world::World;

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is bound to what the node can reach.
    Bound,
    /// It may still be.
    Pending,
    /// It won't be, for this reason. Users know these texts.
    Failed(String),
}

/// Of a claim that is to be met like that on `node`. `written` is the version since which the claim, or its volume, says so; 0
/// if that is no number.
pub fn progress(met: &Met, written: u64, node: &NodeView, world: &World) -> Progress {
    let (key, uid) = met.claim();
    let Some(claim) = world.claims.get(key).filter(|claim| claim.uid == *uid) else {
        return Progress::Failed(format!("persistentvolumeclaim {:?} not found", &*key.name));
    };
    if let Some(name) = &claim.volume {
        return match world.volumes.get(&ObjectKey::new("", name.clone())) {
            Some(volume) if volume.is_reachable_from(node) => Progress::Bound,
            Some(_) => Progress::Failed(format!(
                "pv {name:?} node affinity doesn't match node {:?}: no matching NodeSelectorTerms",
                &*node.node.name
            )),
            // The cache of volumes may be later than that of claims.
            None => Progress::Pending,
        };
    }
    let shows = |version: u64| written > 0 && version >= written;
    match met {
        // Whoever can't make the volume takes the node back, so that another one is chosen.
        Met::Made { .. } => match &claim.selected {
            Some(selected) if *selected == node.node.name => Progress::Pending,
            None if !shows(claim.resource_version) => Progress::Pending,
            _ => Progress::Failed(format!("provisioning failed for PVC {:?}", &*key.name)),
        },
        Met::By { volume: name, .. } => match world.volumes.get(&ObjectKey::new("", name.clone())) {
            Some(volume) if volume.is_for(key, uid) || !shows(volume.resource_version) => Progress::Pending,
            _ => Progress::Failed(format!("ClaimRef got reset for pv {name:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Progress::{Bound, Failed, Pending};
    use super::*;
    use crate::testing::{cluster, world};
    use serde_json::{Value, json};

    /// How far claim `c` has come, for node a and for node b, where the world shows it and volume `v`.
    fn of(met: &Met, claim: Value, volume: Option<Value>) -> [Progress; 2] {
        let world = world();
        let mut object =
            json!({"metadata": {"name": "c", "namespace": "ns", "uid": "u", "resourceVersion": "7"}});
        orlop_api::patch::merge(&mut object, &claim);
        world.claims.apply(serde_json::from_value(object).unwrap());
        if let Some(volume) = volume {
            let mut object = json!({"metadata": {"name": "v", "resourceVersion": "7"}, "spec": {"nodeAffinity":
                {"required": {"nodeSelectorTerms": [{"matchExpressions":
                    [{"key": "host", "operator": "In", "values": ["a"]}]}]}}}});
            orlop_api::patch::merge(&mut object, &volume);
            world.volumes.apply(serde_json::from_value(object).unwrap());
        }
        let host = |host: &str| json!({"metadata": {"labels": {"host": host}}});
        let mut cluster = cluster(json!({"a": host("a"), "b": host("b")}));
        ["a", "b"].map(|node| progress(met, 7, cluster.candidate(node).unwrap().node, &world))
    }

    fn failed(why: &str) -> Progress {
        Failed(why.to_owned())
    }

    fn made() -> Met {
        Met::Made {
            claim: ObjectKey::new("ns", "c"),
            uid: "u".into(),
        }
    }

    fn selected(node: Value, version: &str) -> Value {
        json!({"metadata": {"resourceVersion": version, "annotations": {"volume.kubernetes.io/selected-node": node}}})
    }

    #[test]
    fn a_volume_that_is_made_is_waited_for_while_it_is_made_for_the_node() {
        let given_up = || failed("provisioning failed for PVC \"c\"");
        assert_eq!(
            of(&made(), selected(json!("a"), "7"), None),
            [Pending, given_up()]
        );
        assert_eq!(
            of(&made(), selected(json!(null), "6"), None),
            [Pending, Pending],
            "what was written isn't seen yet"
        );
        assert_eq!(
            of(&made(), selected(json!(null), "8"), None),
            [given_up(), given_up()]
        );
        let gone = || failed("persistentvolumeclaim \"c\" not found");
        let another = json!({"metadata": {"uid": "another"}});
        assert_eq!(of(&made(), another, None), [gone(), gone()]);
    }

    #[test]
    fn what_a_claim_is_bound_to_must_be_reachable_from_the_node() {
        let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "v"}});
        let elsewhere =
            failed("pv \"v\" node affinity doesn't match node \"b\": no matching NodeSelectorTerms");
        assert_eq!(of(&made(), bound.clone(), Some(json!({}))), [Bound, elsewhere]);
        assert_eq!(
            of(&made(), bound, None),
            [Pending, Pending],
            "the volume isn't seen yet"
        );
    }

    #[test]
    fn a_volume_that_is_not_promised_any_more_is_not_waited_for() {
        let by = Met::By {
            claim: ObjectKey::new("ns", "c"),
            uid: "u".into(),
            volume: "v".into(),
        };
        let promised = json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": "u"}}});
        assert_eq!(of(&by, json!({}), Some(promised)), [Pending, Pending]);
        let reset = || failed("ClaimRef got reset for pv \"v\"");
        assert_eq!(of(&by, json!({}), Some(json!({}))), [reset(), reset()]);
        let unseen = json!({"metadata": {"resourceVersion": "6"}});
        assert_eq!(of(&by, json!({}), Some(unseen)), [Pending, Pending]);
    }
}
