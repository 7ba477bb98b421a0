//! Server-side apply as a table of who owns which field with which value.
use orlop_api::apply::{self, Managed, Present, Refused, Type, Writer};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const MANAGERS: [&str; 3] = ["m1", "m2", "m3"];

/// A configuration of a pod, by all the ways in which fields are told apart: maps, lists with a key and lists within
/// them, sets, and lists that are one value.
#[derive(Clone, Debug, Default)]
struct Configuration {
    labels: BTreeMap<String, u8>,
    finalizers: BTreeSet<String>,
    containers: BTreeMap<String, Container>,
}

#[derive(Clone, Debug, Default)]
struct Container {
    image: Option<u8>,
    env: BTreeMap<String, u8>,
    args: Option<Vec<u8>>,
}

/// Every field there is, under a name of its own.
type Fields = BTreeMap<String, Value>;

impl Configuration {
    fn to_json(&self) -> Value {
        let mut metadata = json!({"name": "p"});
        if !self.labels.is_empty() {
            metadata["labels"] = self
                .labels
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect();
        }
        if !self.finalizers.is_empty() {
            metadata["finalizers"] = json!(self.finalizers);
        }
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
        if !self.containers.is_empty() {
            let containers = self
                .containers
                .iter()
                .map(|(name, container)| container.to_json(name));
            pod["spec"] = json!({"containers": containers.collect::<Vec<_>>()});
        }
        pod
    }

    fn fields(&self) -> Fields {
        fields(&self.to_json())
    }
}

impl Container {
    fn to_json(&self, name: &str) -> Value {
        let mut container = json!({"name": name});
        if let Some(image) = &self.image {
            container["image"] = text(image);
        }
        if !self.env.is_empty() {
            let env = self
                .env
                .iter()
                .map(|(name, value)| json!({"name": name, "value": text(value)}));
            container["env"] = env.collect();
        }
        if let Some(args) = &self.args {
            container["args"] = args.iter().map(text).collect();
        }
        container
    }
}

fn text(value: &u8) -> Value {
    json!(value.to_string())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn fields(pod: &Value) -> Fields {
    let mut found = Fields::new();
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    for (key, value) in pod["metadata"]["labels"].as_object().unwrap_or(&Map::new()) {
        found.insert(format!("labels/{key}"), value.clone());
    }
    for value in items(&pod["metadata"]["finalizers"]) {
        found.insert(format!("finalizers/{value}"), json!(true));
    }
    for container in items(&pod["spec"]["containers"]) {
        let at = format!("containers/{}", name(container));
        found.insert(at.clone(), json!(true));
        for key in ["image", "args"]
            .into_iter()
            .filter(|key| !container[*key].is_null())
        {
            found.insert(format!("{at}/{key}"), container[key].clone());
        }
        for variable in items(&container["env"]) {
            let at = format!("{at}/env/{}", name(variable));
            if !variable["value"].is_null() {
                found.insert(format!("{at}/value"), variable["value"].clone());
            }
            found.insert(at, json!(true));
        }
    }
    found
}

/// The model: each field with its value and its owners. No field is without one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table(BTreeMap<String, (Value, BTreeSet<&'static str>)>);

impl Table {
    /// The managers whose fields would change, for each field.
    fn conflicts(&self, manager: &str, wanted: &Fields) -> BTreeSet<(String, &'static str)> {
        let changed = wanted.iter().filter_map(|(field, value)| {
            let (present, owners) = self.0.get(field)?;
            (present != value).then_some((field, owners))
        });
        let others = changed.flat_map(|(field, owners)| {
            let others = owners.iter().filter(|owner| **owner != manager);
            others.map(move |owner| (field.clone(), *owner))
        });
        others.collect()
    }

    fn apply(&mut self, manager: &'static str, wanted: &Fields) {
        self.0.retain(|field, (_, owners)| {
            if !wanted.contains_key(field) {
                owners.remove(manager);
            }
            !owners.is_empty()
        });
        for (field, value) in wanted {
            let (present, owners) = self.0.entry(field.clone()).or_default();
            if present != value {
                *present = value.clone();
                owners.clear();
            }
            owners.insert(manager);
        }
    }

    fn fields(&self) -> Fields {
        let entries = self.0.iter();
        entries
            .map(|(field, (value, _))| (field.clone(), value.clone()))
            .collect()
    }
}

/// An object and who owns what of it.
#[derive(Clone, Debug, Default)]
struct State {
    object: Option<Value>,
    managed: Managed,
}

impl State {
    fn apply(&self, manager: &str, configuration: &Configuration, force: bool) -> Result<Self, Refused> {
        let nothing = json!({});
        let present = Present {
            object: self.object.as_ref().unwrap_or(&nothing),
            blank: &nothing,
            managed: self.managed.clone(),
            exists: self.object.is_some(),
        };
        let writer = Writer {
            manager,
            api_version: "v1",
            subresource: "",
            ignored: &["status"],
            now: "2026-01-01T00:00:00Z",
        };
        let ty = Type::of_kind("v1", "Pod").unwrap();
        let applied = apply::apply(present, &configuration.to_json(), ty, &writer, force, Ok)?;
        Ok(Self {
            object: Some(applied.object),
            managed: applied.managed,
        })
    }

    fn fields(&self) -> Fields {
        self.object.as_ref().map(fields).unwrap_or_default()
    }

    /// Who owns what, whoever came first.
    fn owned(&self) -> BTreeMap<String, Value> {
        let entries = self.managed.entries.iter();
        entries
            .map(|entry| (entry.manager.clone(), entry.fields.to_value()))
            .collect()
    }
}

fn container(names: &'static str) -> impl Strategy<Value = Container> {
    let env = proptest::collection::btree_map(names, 0..3_u8, 0..3);
    let args = proptest::option::of(proptest::collection::vec(0..3_u8, 1..3));
    (proptest::option::of(0..3_u8), env, args).prop_map(|(image, env, args)| Container { image, env, args })
}

/// Configurations that name their fields by letters of this class.
fn configuration(names: &'static str) -> impl Strategy<Value = Configuration> {
    let labels = proptest::collection::btree_map(names, 0..3_u8, 0..3);
    let finalizers = proptest::collection::btree_set(names, 0..3);
    let containers = proptest::collection::btree_map(names, container(names), 0..3);
    (labels, finalizers, containers).prop_map(|(labels, finalizers, containers)| Configuration {
        labels,
        finalizers,
        containers,
    })
}

proptest! {
    /// P08 to P12: conflicts are refused and change nothing, force takes over, what a manager gives up goes unless
    /// somebody else owns it, and what was applied is there.
    #[test]
    fn applies_do_what_the_table_of_owners_says(
        steps in proptest::collection::vec((0..MANAGERS.len(), configuration("[a-c]"), any::<bool>()), 1..8),
    ) {
        let (mut state, mut table) = (State::default(), Table::default());
        for (manager, configuration, force) in steps {
            let manager = MANAGERS[manager];
            let wanted = configuration.fields();
            let conflicts = table.conflicts(manager, &wanted);
            match state.apply(manager, &configuration, force) {
                Ok(next) => {
                    prop_assert!(force || conflicts.is_empty(), "not refused: {conflicts:?}");
                    table.apply(manager, &wanted);
                    state = next;
                }
                Err(Refused::Conflicts(found)) => {
                    prop_assert!(!force, "forced and refused");
                    prop_assert_eq!(found.len(), conflicts.len(), "{:?} for {:?}", found, conflicts);
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
            prop_assert_eq!(state.fields(), table.fields());
        }
    }

    /// P11.
    #[test]
    fn an_apply_is_idempotent(
        steps in proptest::collection::vec((0..MANAGERS.len(), configuration("[a-c]")), 0..4),
        last in configuration("[a-c]"),
    ) {
        let before = steps.iter().fold(State::default(), |state, (manager, configuration)| {
            state.apply(MANAGERS[*manager], configuration, true).unwrap()
        });
        let once = before.apply("m1", &last, true).unwrap();
        let twice = once.apply("m1", &last, false).unwrap();
        prop_assert_eq!(&once.object, &twice.object);
        prop_assert_eq!(once.managed.to_value(), twice.managed.to_value());
    }

    /// P12: what two managers say of different fields doesn't depend on who comes first.
    #[test]
    fn disjoint_applies_commute(
        before in configuration("[a-d]"),
        one in configuration("[ab]"),
        other in configuration("[cd]"),
    ) {
        let before = State::default().apply("m3", &before, false).unwrap();
        let in_order = |first: (&str, &Configuration), second: (&str, &Configuration)| {
            let between = before.apply(first.0, first.1, true).unwrap();
            between.apply(second.0, second.1, true).unwrap()
        };
        let forwards = in_order(("m1", &one), ("m2", &other));
        let backwards = in_order(("m2", &other), ("m1", &one));
        prop_assert_eq!(forwards.fields(), backwards.fields());
        prop_assert_eq!(forwards.owned(), backwards.owned());
    }

    /// P09: whoever forces owns what it says alone, and the others lose no more than that.
    #[test]
    fn force_takes_over_what_differs_and_nothing_else(
        one in configuration("[a-c]"),
        other in configuration("[a-c]"),
    ) {
        let first = State::default().apply("m1", &one, false).unwrap();
        let forced = first.apply("m2", &other, true).unwrap();
        // Who gives everything up takes with it what it owned alone.
        let given_up = forced.apply("m1", &Configuration::default(), false).unwrap();
        prop_assert_eq!(given_up.fields(), other.fields());
        let given_up = forced.apply("m2", &Configuration::default(), false).unwrap();
        let (mine, theirs) = (one.fields(), other.fields());
        let left: Fields = mine
            .into_iter()
            .filter(|(field, value)| theirs.get(field).is_none_or(|other| other == value))
            .collect();
        prop_assert_eq!(given_up.fields(), left);
    }
}
