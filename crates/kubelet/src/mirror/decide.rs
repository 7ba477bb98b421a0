//! What is to be done about the mirror of one full name (contract, static pods §4). Pure.
use k8s_openapi::api::core::v1::{Node, Pod};
use orlop_api::pod::{config_hash, is_mirror, mirror_hash};

/// Everything the decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The static pod that has the name now: running, ended, or being stopped.
    pub static_pod: Option<&'a Pod>,
    /// It is still wanted; otherwise it is being stopped.
    pub is_wanted: bool,
    /// What the API server has under that name.
    pub object: Option<&'a Pod>,
    /// The own Node object.
    pub node: Option<&'a Node>,
    /// Every source has spoken: what has no static pod now has none.
    pub sources_ready: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Nothing.
    Keep,
    /// Make one.
    Create,
    /// Delete this one, and make another if that worked.
    Replace,
    /// Delete this one.
    Delete,
}

/// The decision.
pub fn decide(view: &View<'_>) -> Upkeep {
    let mirror = view.object.filter(|object| is_mirror(object));
    let Some(pod) = view.static_pod else {
        return if mirror.is_some() && view.sources_ready {
            Upkeep::Delete
        } else {
            Upkeep::Keep
        };
    };
    // While the containers are being stopped, the mirror shows them.
    if !view.is_wanted {
        return Upkeep::Keep;
    }
    let owner = view
        .node
        .filter(|node| node.metadata.deletion_timestamp.is_none());
    let Some(node_uid) = owner.and_then(|node| node.metadata.uid.as_deref()) else {
        return Upkeep::Keep;
    };
    match (mirror, view.object) {
        (None, None) => Upkeep::Create,
        // Somebody else's pod has the name.
        (None, Some(_)) => Upkeep::Keep,
        (Some(mirror), _) => {
            let owners = mirror.metadata.owner_references.iter().flatten();
            let is_ours = owners.into_iter().any(|owner| owner.uid == node_uid);
            let is_fit = mirror_hash(mirror) == config_hash(pod) && is_ours;
            let stays = is_fit && mirror.metadata.deletion_timestamp.is_none();
            if stays { Upkeep::Keep } else { Upkeep::Replace }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(hash: &str) -> Pod {
        let annotations = serde_json::json!({"kubernetes.io/config.hash": hash});
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "annotations": annotations}}))
            .unwrap()
    }

    fn mirror(hash: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "uid": "m",
            "annotations": {"kubernetes.io/config.mirror": hash},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n1"}]}}))
        .unwrap()
    }

    fn node(uid: &str) -> Node {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "n", "uid": uid}})).unwrap()
    }

    fn act(
        static_pod: Option<(&Pod, bool)>,
        object: Option<&Pod>,
        node: Option<&Node>,
        sources_ready: bool,
    ) -> Upkeep {
        decide(&View {
            static_pod: static_pod.map(|(pod, _)| pod),
            is_wanted: static_pod.is_some_and(|(_, wanted)| wanted),
            object,
            node,
            sources_ready,
        })
    }

    #[test]
    fn each_case_of_the_contract() {
        let (own, same, other, here) = (pod("h"), mirror("h"), mirror("old"), node("n1"));
        let mut leaving = mirror("h");
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            jiff::Timestamp::UNIX_EPOCH,
        ));
        let mut edited = mirror("h");
        edited.metadata.labels = Some([("by".to_owned(), "user".to_owned())].into());
        let mut foreign = mirror("h");
        foreign.metadata.annotations = None;
        let (wanted, stopping) = (Some((&own, true)), Some((&own, false)));
        let (fresh, moved) = (Some(&here), node("n2"));
        for (case, static_pod, object, node, ready, want) in [
            ("A32 none yet", wanted, None, fresh, true, Upkeep::Create),
            ("A37 no Node object yet", wanted, None, None, true, Upkeep::Keep),
            ("fits", wanted, Some(&same), fresh, true, Upkeep::Keep),
            (
                "A33 being deleted by a user",
                wanted,
                Some(&leaving),
                fresh,
                true,
                Upkeep::Replace,
            ),
            (
                "A13 of an older manifest",
                wanted,
                Some(&other),
                fresh,
                true,
                Upkeep::Replace,
            ),
            (
                "A36 edited by a user",
                wanted,
                Some(&edited),
                fresh,
                true,
                Upkeep::Keep,
            ),
            (
                "A40 owned by an earlier Node",
                wanted,
                Some(&same),
                Some(&moved),
                true,
                Upkeep::Replace,
            ),
            (
                "a real pod has the name",
                wanted,
                Some(&foreign),
                fresh,
                true,
                Upkeep::Keep,
            ),
            (
                "A15 while stopping",
                stopping,
                Some(&same),
                fresh,
                true,
                Upkeep::Keep,
            ),
            (
                "deleted by a user while stopping",
                stopping,
                None,
                fresh,
                true,
                Upkeep::Keep,
            ),
            (
                "A25 no static pod",
                None,
                Some(&same),
                fresh,
                true,
                Upkeep::Delete,
            ),
            (
                "A39 made by a user",
                None,
                Some(&other),
                None,
                true,
                Upkeep::Delete,
            ),
            ("sources not ready", None, Some(&same), fresh, false, Upkeep::Keep),
            ("nothing at all", None, None, fresh, true, Upkeep::Keep),
        ] {
            assert_eq!(act(static_pod, object, node, ready), want, "{case}");
        }
    }
}
