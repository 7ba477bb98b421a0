//! Strategic merge of the list that everybody patches, containers with their environment, as maps by name.
use orlop_api::patch;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A container: image and environment. In a patch, what is `None` is not spoken of.
#[derive(Clone, Debug, Default, PartialEq)]
struct Container {
    image: Option<String>,
    env: BTreeMap<String, String>,
    args: Option<Vec<String>>,
}

/// What a patch says of one container.
#[derive(Clone, Debug)]
enum Change {
    Merge(Container),
    Delete,
}

type Containers = BTreeMap<String, Container>;

impl Container {
    fn to_json(&self, name: &str) -> Value {
        let mut value = json!({"name": name});
        if let Some(image) = &self.image {
            value["image"] = json!(image);
        }
        if !self.env.is_empty() {
            let env = self
                .env
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}));
            value["env"] = Value::Array(env.collect());
        }
        if let Some(args) = &self.args {
            value["args"] = json!(args);
        }
        value
    }

    fn of_json(value: &Value) -> Self {
        let env = value["env"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            image: value["image"].as_str().map(str::to_owned),
            env: env.map(|v| (text(&v["name"]), text(&v["value"]))).collect(),
            args: value["args"]
                .as_array()
                .map(|args| args.iter().map(text).collect()),
        }
    }

    fn merge(&mut self, other: &Container) {
        self.image = other.image.clone().or(self.image.take());
        self.env.extend(other.env.clone());
        // A list without a key is one value.
        self.args = other.args.clone().or(self.args.take());
    }
}

impl Change {
    fn to_json(&self, name: &str) -> Value {
        match self {
            Self::Merge(container) => container.to_json(name),
            Self::Delete => json!({"name": name, "$patch": "delete"}),
        }
    }
}

fn pod(containers: &Containers) -> Value {
    let list = containers.iter().map(|(name, container)| container.to_json(name));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": list.collect::<Vec<_>>()}})
}

fn read(pod: &Value) -> (Containers, Vec<String>) {
    let list = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> = list
        .iter()
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .collect();
    let containers = list.iter().map(Container::of_json);
    (names.iter().cloned().zip(containers).collect(), names)
}

fn container() -> impl Strategy<Value = Container> {
    (
        prop::option::of("[x-z]"),
        prop::collection::btree_map("[A-C]", "[0-2]", 0..3),
        prop::option::of(prop::collection::vec("[a-c]", 1..3)),
    )
        .prop_map(|(image, env, args)| Container { image, env, args })
}

fn containers() -> impl Strategy<Value = Containers> {
    prop::collection::btree_map("[a-e]", container(), 0..4)
}

fn changes() -> impl Strategy<Value = BTreeMap<String, Change>> {
    let change = prop_oneof![
        3 => container().prop_map(Change::Merge),
        1 => Just(Change::Delete),
    ];
    prop::collection::btree_map("[a-e]", change, 0..4)
}

fn patched(before: &Containers, changes: &BTreeMap<String, Change>) -> Value {
    let list: Vec<Value> = changes
        .iter()
        .map(|(name, change)| change.to_json(name))
        .collect();
    patch::strategic("Pod", &pod(before), &json!({"spec": {"containers": list}})).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keyed_lists_merge_as_maps(before in containers(), changes in changes()) {
        let mut expected = before.clone();
        for (name, change) in &changes {
            match change {
                Change::Merge(container) => expected.entry(name.clone()).or_default().merge(container),
                Change::Delete => drop(expected.remove(name)),
            }
        }
        let (found, _) = read(&patched(&before, &changes));
        prop_assert_eq!(found, expected);
    }

    /// `$setElementOrder` names the order of all that it names.
    #[test]
    fn an_order_that_is_given_is_kept(before in containers(), changes in changes(), salt in any::<u64>()) {
        let (after, _) = read(&patched(&before, &changes));
        let mut order: Vec<String> = after.keys().cloned().collect();
        if !order.is_empty() {
            let by = (salt % order.len() as u64) as usize;
            order.rotate_left(by);
        }
        // An order that leaves out what the patch speaks of, or has it the other way round, is refused; deletions are not in it.
        let mut changes: Vec<(&String, &Change)> = changes.iter().collect();
        changes.sort_by_key(|(name, _)| order.iter().position(|listed| listed == *name));
        let list: Vec<Value> = changes.iter().map(|(name, change)| change.to_json(name)).collect();
        let directive: Vec<Value> = order.iter().map(|name| json!({"name": name})).collect();
        let body = json!({"spec": {"containers": list, "$setElementOrder/containers": directive}});
        let ordered = patch::strategic("Pod", &pod(&before), &body).unwrap();
        let (found, names) = read(&ordered);
        prop_assert_eq!(found, after);
        prop_assert_eq!(names, order);
    }

    /// The whole list anew.
    #[test]
    fn a_list_that_is_replaced_has_only_what_is_given(before in containers(), after in containers()) {
        let mut list: Vec<Value> = after.iter().map(|(name, container)| container.to_json(name)).collect();
        list.push(json!({"$patch": "replace"}));
        let replaced = patch::strategic("Pod", &pod(&before), &json!({"spec": {"containers": list}})).unwrap();
        prop_assert_eq!(read(&replaced).0, after);
    }

    /// Scalars of a list that merges: a union, less what is deleted.
    #[test]
    fn lists_of_scalars_are_sets(
        before in prop::collection::btree_set("[a-d]", 0..4),
        more in prop::collection::btree_set("[a-d]", 0..4),
        fewer in prop::collection::btree_set("[a-d]", 0..4),
    ) {
        let path = |set: &std::collections::BTreeSet<String>| -> Vec<String> { set.iter().map(|f| format!("x.io/{f}")).collect() };
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": path(&before)}});
        let body = json!({"metadata": {"finalizers": path(&more), "$deleteFromPrimitiveList/finalizers": path(&fewer)}});
        let result = patch::strategic("ConfigMap", &object, &body).unwrap();
        let found: std::collections::BTreeSet<String> = result["metadata"]["finalizers"]
            .as_array().into_iter().flatten().map(|f| f.as_str().unwrap().to_owned()).collect();
        let mut expected: std::collections::BTreeSet<String> = path(&before).into_iter().chain(path(&more)).collect();
        for gone in path(&fewer) {
            if !path(&more).contains(&gone) {
                expected.remove(&gone);
            }
        }
        let found: Vec<_> = found.into_iter().filter(|f| !path(&fewer).contains(f)).collect();
        let expected: Vec<_> = expected.into_iter().filter(|f| !path(&fewer).contains(f)).collect();
        prop_assert_eq!(found, expected);
    }

    /// `$retainKeys` leaves nothing else.
    #[test]
    fn retained_keys_are_all_that_is_left(before in prop::collection::btree_map("[a-e]", "[0-2]", 0..5), patch in prop::collection::btree_map("[a-e]", "[0-2]", 0..5)) {
        prop_assume!(!patch.is_empty());
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": before});
        let mut data = json!(patch);
        data["$retainKeys"] = json!(patch.keys().collect::<Vec<_>>());
        let result = patch::strategic("ConfigMap", &object, &json!({"data": data})).unwrap();
        prop_assert_eq!(&result["data"], &json!(patch));
    }
}
