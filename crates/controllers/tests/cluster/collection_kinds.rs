//! Upstream's integration suite of the garbage collector, beyond what `collection` and `deletion` have: finalizers of others,
//! and owners of one kind that own another.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

const HELD: &str = "example.com/held";

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn owner(kind: &str, api: &str, name: &str, uid: Option<&String>) -> Value {
    json!({"apiVersion": api, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": true})
}

fn map(name: &str, owners: Value, finalizers: &[&str]) -> ConfigMap {
    of(json!({"metadata": {"name": name, "ownerReferences": owners, "finalizers": finalizers}}))
}

/// TestDoubleDeletionWithFinalizer
#[tokio::test]
async fn what_is_deleted_twice_and_held_by_others_goes_when_they_let_it_go() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    maps.create(&PostParams::default(), &map("twice", json!([]), &[HELD]))
        .await
        .unwrap();
    maps.delete("twice", &DeleteParams::foreground()).await.unwrap();
    let held_by = |wanted: &'static [&'static str]| {
        let maps = maps.clone();
        eventually("whoever is left to hold it", move || {
            let maps = maps.clone();
            async move {
                let held = maps.get("twice").await.unwrap().metadata;
                assert!(held.deletion_timestamp.is_some());
                (held.finalizers.unwrap_or_default() == wanted).then_some(())
            }
        })
    };
    held_by(&[HELD]).await;
    maps.delete("twice", &DeleteParams::background()).await.unwrap();
    held_by(&[HELD]).await;
    let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("twice", &PatchParams::default(), &freed)
        .await
        .unwrap();
    eventually("its end", || async {
        maps.get_opt("twice").await.unwrap().is_none().then_some(())
    })
    .await;
}

/// TestMixedRelationships, and orphans of an owner that others hold
#[tokio::test]
async fn custom_resources_and_others_own_each_other() {
    let cluster = Cluster::start().await;
    let resource = |group: &str, kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let definitions: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &resource("apiextensions.k8s.io", "CustomResourceDefinition"),
    );
    let params = PostParams::default();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boxes.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "boxes", "kind": "Box"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    definitions.create(&params, &of(definition)).await.unwrap();
    let boxes: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        "default",
        &ApiResource {
            plural: "boxes".to_owned(),
            ..resource("example.com", "Box")
        },
    );
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let a_box = |name: &str, owners: Value| {
        of::<DynamicObject>(json!({"apiVersion": "example.com/v1", "kind": "Box",
            "metadata": {"name": name, "ownerReferences": owners}}))
    };
    // A box owns a map, and a map a box: the former in the foreground, the latter in the background.
    let outer = boxes.create(&params, &a_box("outer", json!([]))).await.unwrap();
    let of_box = owner("Box", "example.com/v1", "outer", outer.metadata.uid.as_ref());
    maps.create(&params, &map("inner", json!([of_box]), &[]))
        .await
        .unwrap();
    let top = maps.create(&params, &map("top", json!([]), &[])).await.unwrap();
    let of_map = owner("ConfigMap", "v1", "top", top.metadata.uid.as_ref());
    boxes
        .create(&params, &a_box("below", json!([of_map])))
        .await
        .unwrap();
    boxes.delete("outer", &DeleteParams::foreground()).await.unwrap();
    maps.delete("top", &DeleteParams::background()).await.unwrap();
    eventually("the end of owners and owned", || async {
        let maps_left =
            maps.get_opt("inner").await.unwrap().is_some() || maps.get_opt("top").await.unwrap().is_some();
        let outer = boxes.get_opt("outer").await.unwrap();
        if outer.is_none() {
            assert!(
                maps.get_opt("inner").await.unwrap().is_none(),
                "the owner goes last"
            );
        }
        let below = boxes.get_opt("below").await.unwrap();
        (!maps_left && outer.is_none() && below.is_none()).then_some(())
    })
    .await;
    // What is orphaned loses its owner at once, however long others hold that.
    let held = maps
        .create(&params, &map("held", json!([]), &[HELD]))
        .await
        .unwrap();
    let of_held = owner("ConfigMap", "v1", "held", held.metadata.uid.as_ref());
    boxes
        .create(&params, &a_box("orphan", json!([of_held])))
        .await
        .unwrap();
    let orphaning = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    maps.delete("held", &orphaning).await.unwrap();
    eventually("an orphan", || async {
        let orphan = boxes.get("orphan").await.unwrap().metadata;
        assert!(orphan.deletion_timestamp.is_none());
        orphan
            .owner_references
            .unwrap_or_default()
            .is_empty()
            .then_some(())
    })
    .await;
    eventually("those who hold the owner", || async {
        let finalizers = maps.get("held").await.unwrap().metadata.finalizers;
        (finalizers.unwrap_or_default() == [HELD]).then_some(())
    })
    .await;
}
