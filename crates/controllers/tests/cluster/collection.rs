//! Upstream's "Garbage collector" and "OrderedNamespaceDeletion", beyond what `deletion` has.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ReplicationController};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str) -> Pod {
    of(json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}))
}

fn owner(kind: &str, api: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": false, "blockOwnerDeletion": true})
}

/// "should not be blocked by dependency circle"
#[tokio::test]
async fn pods_that_own_each_other_in_a_circle_all_go_with_one() {
    let cluster = Cluster::start().await;
    let pods = cluster.pods();
    let mut uids = Vec::new();
    for name in ["pod1", "pod2", "pod3"] {
        let made = pods.create(&PostParams::default(), &pod(name)).await.unwrap();
        uids.push(made.metadata.uid.unwrap());
    }
    for (at, name) in ["pod1", "pod2", "pod3"].into_iter().enumerate() {
        let before = (at + 2) % 3;
        let reference = owner("Pod", "v1", &format!("pod{}", before + 1), &uids[before]);
        let patch = Patch::Strategic(json!({"metadata": {"ownerReferences": [reference]}}));
        pods.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
    pods.delete("pod1", &DeleteParams::foreground()).await.unwrap();
    eventually("the end of the circle", || async {
        let left = pods.list(&ListParams::default()).await.unwrap().items;
        left.is_empty().then_some(())
    })
    .await;
}

/// "should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted"
#[tokio::test]
async fn pods_of_two_owners_stay_when_one_of_them_is_deleted_in_foreground() {
    let cluster = Cluster::start().await;
    let sets: Api<ReplicationController> = Api::namespaced(cluster.client.clone(), "default");
    let set = |name: &str, replicas: i64| {
        let labels = json!({"app": name});
        of::<ReplicationController>(
            json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": labels,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        )
    };
    sets.create(&PostParams::default(), &set("to-be-deleted", 4))
        .await
        .unwrap();
    let stays = sets
        .create(&PostParams::default(), &set("stays", 0))
        .await
        .unwrap();
    let pods = cluster.pods();
    let of_first = ListParams::default().labels("app=to-be-deleted");
    let made = eventually("four pods", || async {
        let made = pods.list(&of_first).await.unwrap().items;
        (made.len() == 4).then_some(made)
    })
    .await;
    let (shared, only): (Vec<_>, Vec<_>) = made.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    for (_, pod) in &shared {
        let uid = stays.metadata.uid.as_deref().unwrap();
        let references = json!([owner("ReplicationController", "v1", "stays", uid)]);
        let patch = Patch::Strategic(json!({"metadata": {"ownerReferences": references}}));
        let name = pod.metadata.name.as_deref().unwrap();
        let patched = pods.patch(name, &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(patched.metadata.owner_references.unwrap().len(), 2);
    }
    sets.delete("to-be-deleted", &DeleteParams::foreground())
        .await
        .unwrap();
    eventually("the end of the owner", || async {
        sets.get_opt("to-be-deleted")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    for (_, pod) in &only {
        let name = pod.metadata.name.as_deref().unwrap();
        assert!(
            pods.get_opt(name).await.unwrap().is_none(),
            "{name} had no other owner"
        );
    }
    for (_, pod) in &shared {
        let left = pods.get(pod.metadata.name.as_deref().unwrap()).await.unwrap();
        assert!(left.metadata.deletion_timestamp.is_none());
        let owners = left.metadata.owner_references.unwrap();
        assert_eq!((owners.len(), owners[0].name.as_str()), (1, "stays"));
    }
}

/// "should support cascading deletion of custom resources", "should support orphan deletion of custom resources"
#[tokio::test]
async fn custom_resources_take_their_dependents_along_or_leave_them() {
    let cluster = Cluster::start().await;
    let resource = |group: &str, kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let definitions: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &resource("apiextensions.k8s.io", "CustomResourceDefinition"),
    );
    let params = PostParams::default();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "owners.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "owners", "kind": "Owner"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    definitions.create(&params, &of(definition)).await.unwrap();
    let things: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource("example.com", "Owner"));
    let thing = |name: &str, owners: Value| {
        of::<DynamicObject>(json!({"apiVersion": "example.com/v1", "kind": "Owner",
            "metadata": {"name": name, "ownerReferences": owners}}))
    };
    for (name, how) in [("cascading", DeleteParams::background()), ("orphaning", orphan())] {
        let first = things.create(&params, &thing(name, json!([]))).await.unwrap();
        let reference = owner(
            "Owner",
            "example.com/v1",
            name,
            first.metadata.uid.as_deref().unwrap(),
        );
        let dependent = format!("{name}-dependent");
        things
            .create(&params, &thing(&dependent, json!([reference])))
            .await
            .unwrap();
        things.delete(name, &how).await.unwrap();
        eventually("the end of the owner", || async {
            things.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
    eventually("the end of a dependent", || async {
        things
            .get_opt("cascading-dependent")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let left = things.get("orphaning-dependent").await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none());
    assert!(left.metadata.owner_references.unwrap_or_default().is_empty());

    // With its definition, an object goes, and what it owns.
    let last = things.create(&params, &thing("last", json!([]))).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let references = json!([
        owner(
            "ConfigMap",
            "v1",
            "nobody",
            "00000000-0000-0000-0000-000000000000"
        ),
        owner(
            "Owner",
            "example.com/v1",
            "last",
            last.metadata.uid.as_deref().unwrap()
        ),
    ]);
    let map = of(json!({"metadata": {"name": "owned", "ownerReferences": references}}));
    maps.create(&params, &map).await.unwrap();
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let role = of(json!({"metadata": {"name": "owned", "ownerReferences": [references[1]]}, "rules": []}));
    roles.create(&params, &role).await.unwrap();
    eventually("a look at the owners", || async {
        let owners = maps.get("owned").await.unwrap().metadata.owner_references;
        (owners.unwrap_or_default().len() == 1).then_some(())
    })
    .await;
    definitions
        .delete("owners.example.com", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the end of what the object owned", || async {
        maps.get_opt("owned").await.unwrap().is_none().then_some(())
    })
    .await;
    eventually("the end of what it owned without a namespace", || async {
        roles.get_opt("owned").await.unwrap().is_none().then_some(())
    })
    .await;
}

fn orphan() -> DeleteParams {
    DeleteParams {
        propagation_policy: Some(kube::api::PropagationPolicy::Orphan),
        ..DeleteParams::default()
    }
}

/// "namespace deletion should delete pod first"
#[tokio::test]
async fn a_namespace_loses_its_pods_before_anything_else() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let params = PostParams::default();
    namespaces
        .create(&params, &of(json!({"metadata": {"name": "n"}})))
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "n");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "n");
    let mut held = pod("p");
    held.metadata.finalizers = Some(vec!["e2e.example.com/finalizer".to_owned()]);
    eventually("the namespace's account", || async {
        pods.create(&params, &held).await.ok()
    })
    .await;
    maps.create(&params, &of(json!({"metadata": {"name": "m"}})))
        .await
        .unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    let remaining = |wanted: &'static str| {
        let namespaces = namespaces.clone();
        eventually(wanted, move || {
            let namespaces = namespaces.clone();
            async move {
                let status = namespaces.get("n").await.unwrap().status.unwrap();
                let conditions = status.conditions.unwrap_or_default();
                let mut told = conditions.into_iter();
                told.find(|condition| condition.type_ == wanted && condition.status == "True")
            }
        })
    };
    remaining("NamespaceContentRemaining").await;
    let condition = remaining("NamespaceFinalizersRemaining").await;
    assert_eq!(condition.reason.as_deref(), Some("SomeFinalizersRemain"));
    assert!(maps.get("m").await.unwrap().metadata.deletion_timestamp.is_none());
    let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("p", &PatchParams::default(), &freed).await.unwrap();
    eventually("the namespace's end", || async {
        namespaces.get_opt("n").await.unwrap().is_none().then_some(())
    })
    .await;
}

/// An owner in another namespace is none, also when others there are owned by it.
#[tokio::test]
async fn what_names_an_owner_of_another_namespace_goes_and_is_told_why() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let other = of(json!({"metadata": {"name": "other"}}));
    namespaces.create(&PostParams::default(), &other).await.unwrap();
    let maps = |namespace: &str| Api::<ConfigMap>::namespaced(cluster.client.clone(), namespace);
    let map = |name: &str, owners: Value| {
        of::<ConfigMap>(json!({"metadata": {"name": name, "ownerReferences": owners}}))
    };
    let (here, there) = (maps("default"), maps("other"));
    let post = PostParams::default();
    let parent = here.create(&post, &map("parent", json!(null))).await.unwrap();
    let owners = json!([owner("ConfigMap", "v1", "parent", &parent.metadata.uid.unwrap())]);
    here.create(&post, &map("near", owners.clone())).await.unwrap();
    there.create(&post, &map("far", owners.clone())).await.unwrap();
    eventually("the end of the object without an owner", || async {
        there.get_opt("far").await.unwrap().is_none().then_some(())
    })
    .await;
    // Now that the owner is known to be there.
    there.create(&post, &map("farther", owners)).await.unwrap();
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(cluster.client.clone(), "other");
    eventually("the end of the other one, and word of it", || async {
        let told = events.list(&ListParams::default()).await.unwrap().items;
        let mut told = told.into_iter();
        let told = told.any(|event| event.reason.as_deref() == Some("OwnerRefInvalidNamespace"));
        (there.get_opt("farther").await.unwrap().is_none() && told).then_some(())
    })
    .await;
    assert!(here.get_opt("near").await.unwrap().is_some());
}

/// What has no namespace can't be owned by what has one: it stays, also when that owner was there and is gone.
#[tokio::test]
async fn what_has_no_namespace_stays_when_an_owner_in_one_is_deleted() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(cluster.client.clone(), "default");
    let post = PostParams::default();
    let map = |name: &str, owners: &Value| {
        of::<ConfigMap>(json!({"metadata": {"name": name, "ownerReferences": owners}}))
    };
    let role = |name: &str, owners: &Value| {
        of::<ClusterRole>(json!({"metadata": {"name": name, "ownerReferences": owners}, "rules": []}))
    };
    let told = |name: &'static str| {
        let events = events.clone();
        eventually("word of an owner that can't be one", move || {
            let events = events.clone();
            async move {
                let told = events.list(&ListParams::default()).await.unwrap().items;
                let mut told = told.into_iter();
                told.find(|event| {
                    event.reason.as_deref() == Some("OwnerRefInvalidNamespace")
                        && event.involved_object.name.as_deref() == Some(name)
                })
            }
        })
    };
    let parent = maps.create(&post, &map("parent", &json!(null))).await.unwrap();
    let owners = json!([owner("ConfigMap", "v1", "parent", &parent.metadata.uid.unwrap())]);
    maps.create(&post, &map("near", &owners)).await.unwrap();
    roles.create(&post, &role("early", &owners)).await.unwrap();
    told("early").await;
    maps.delete("parent", &DeleteParams::default()).await.unwrap();
    eventually("the end of what is owned", || async {
        maps.get_opt("near").await.unwrap().is_none().then_some(())
    })
    .await;
    // Now that the owner is known to be gone.
    roles.create(&post, &role("late", &owners)).await.unwrap();
    told("late").await;
    for name in ["early", "late"] {
        let stays = roles.get(name).await.unwrap();
        assert!(stays.metadata.deletion_timestamp.is_none(), "{name}");
    }
}
