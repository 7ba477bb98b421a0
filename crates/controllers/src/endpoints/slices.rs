//! Which slices to create, to rewrite and to delete.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_client::informer::Cached;

use super::backends::{Family, Group};
use super::{labels as label, print};
use crate::cache::{ServiceView, SliceView};

/// Most endpoints of a slice.
pub const ENDPOINTS_MAX: usize = 100;

/// A slice as remembered.
pub type Slice = Arc<Cached<SliceView>>;

/// What all slices of one origin share.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What their names begin with.
    pub name: String,
    /// Where they live.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Their annotations.
    pub annotations: BTreeMap<String, String>,
    /// What they are deleted with.
    pub owner: OwnerReference,
}

/// What to write.
#[derive(Debug, Default)]
pub struct Plan {
    /// New slices.
    pub create: Vec<EndpointSlice>,
    /// Slices with other contents, under the names they have.
    pub update: Vec<(Slice, EndpointSlice)>,
    /// Slices of no use.
    pub delete: Vec<Slice>,
}

/// The labels of a Service's slices.
pub fn labels_of(name: &str, service: &ServiceView) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    labels.remove(label::HEADLESS);
    if service.headless {
        labels.insert(label::HEADLESS.to_owned(), String::new());
    }
    labels.insert(label::SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(label::MANAGED_BY.to_owned(), label::SLICE_CONTROLLER.to_owned());
    labels
}

/// Distributes the endpoints over the slices there are, so that few of them change. Each family of
/// `families` keeps at least one slice, be it empty.
pub fn plan(origin: &Origin, families: &[Family], groups: Vec<Group>, existing: Vec<Slice>) -> Plan {
    let mut plan = Plan::default();
    let mut unused: Vec<Slice> = Vec::new();
    let mut by_kind: HashMap<(Family, u128), Vec<Slice>> = HashMap::new();
    for slice in sorted(existing) {
        match slice.family {
            Some(family) => by_kind.entry((family, slice.ports)).or_default().push(slice),
            None => unused.push(slice),
        }
    }
    let mut wanted = groups;
    for family in families {
        if !wanted.iter().any(|group| group.family == *family) {
            wanted.push(Group {
                family: *family,
                ports: Vec::new(),
                endpoints: Vec::new(),
            });
        }
    }
    let mut fresh: Vec<EndpointSlice> = Vec::new();
    for group in wanted {
        let slices = by_kind
            .remove(&(group.family, print::of(&group.ports)))
            .unwrap_or_default();
        fill(origin, group, slices, &mut plan, &mut fresh, &mut unused);
    }
    unused.extend(by_kind.into_values().flatten());
    reuse(&mut plan, fresh, sorted(unused));
    plan
}

/// Puts the endpoints of a group where they are already, then where there is room.
fn fill(
    origin: &Origin,
    group: Group,
    slices: Vec<Slice>,
    plan: &mut Plan,
    fresh: &mut Vec<EndpointSlice>,
    unused: &mut Vec<Slice>,
) {
    let make = |endpoints| make(origin, group.family, &group.ports, endpoints);
    if group.endpoints.is_empty() {
        return keep_one(make(Vec::new()), slices, plan, fresh, unused);
    }
    let mut homes: HashMap<&str, usize> = HashMap::new();
    for (number, slice) in slices.iter().enumerate() {
        for member in &slice.members {
            homes.entry(member).or_insert(number);
        }
    }
    let mut contents: Vec<Vec<Endpoint>> = vec![Vec::new(); slices.len()];
    let mut homeless = Vec::new();
    for endpoint in group.endpoints {
        match homes.get(print::member(&endpoint)) {
            Some(&home) if contents[home].len() < ENDPOINTS_MAX => contents[home].push(endpoint),
            _ => homeless.push(endpoint),
        }
    }
    // Slices that are rewritten anyway take new endpoints first.
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by_key(|&number| contents[number].len() == slices[number].members.len());
    let mut homeless = homeless.into_iter();
    for number in order {
        let room = ENDPOINTS_MAX - contents[number].len();
        contents[number].extend(homeless.by_ref().take(room));
        contents[number].sort_by(|a, b| a.addresses.cmp(&b.addresses));
    }
    for (slice, endpoints) in slices.into_iter().zip(contents) {
        if endpoints.is_empty() {
            unused.push(slice);
            continue;
        }
        let object = make(endpoints);
        if contents_of(&object) != slice.contents {
            plan.update.push((slice, object));
        }
    }
    let rest: Vec<Endpoint> = homeless.collect();
    fresh.extend(
        rest.chunks(ENDPOINTS_MAX)
            .map(|endpoints| make(endpoints.to_vec())),
    );
}

/// One slice without endpoints tells that there are none.
fn keep_one(
    object: EndpointSlice,
    slices: Vec<Slice>,
    plan: &mut Plan,
    fresh: &mut Vec<EndpointSlice>,
    unused: &mut Vec<Slice>,
) {
    let mut slices = slices.into_iter();
    match slices.next() {
        Some(slice) if contents_of(&object) != slice.contents => plan.update.push((slice, object)),
        Some(_) => {}
        None => fresh.push(object),
    }
    unused.extend(slices);
}

/// A slice of no use becomes one that is needed: one write instead of two.
fn reuse(plan: &mut Plan, fresh: Vec<EndpointSlice>, mut unused: Vec<Slice>) {
    for object in fresh {
        let family = Family::parse(&object.address_type);
        match unused.iter().position(|slice| slice.family == family) {
            Some(position) => plan.update.push((unused.remove(position), object)),
            None => plan.create.push(object),
        }
    }
    plan.delete = unused;
}

fn sorted(mut slices: Vec<Slice>) -> Vec<Slice> {
    slices.sort_by(|a, b| a.key.name.cmp(&b.key.name));
    slices
}

fn make(origin: &Origin, family: Family, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", origin.name)),
            namespace: Some(origin.namespace.clone()),
            labels: Some(origin.labels.clone()),
            annotations: (!origin.annotations.is_empty()).then(|| origin.annotations.clone()),
            owner_references: Some(vec![origin.owner.clone()]),
            ..ObjectMeta::default()
        },
        address_type: family.as_str().to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    }
}

fn contents_of(slice: &EndpointSlice) -> u128 {
    let labels = slice.metadata.labels.clone().unwrap_or_default();
    let annotations = slice.metadata.annotations.clone().unwrap_or_default();
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    let ports = slice.ports.as_deref().unwrap_or_default();
    print::slice(&labels, &annotations, endpoints, ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::{ObjectKey, Projection};

    fn origin() -> Origin {
        Origin {
            name: "svc".into(),
            namespace: "ns".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owner: OwnerReference::default(),
        }
    }

    fn group(port: i32, numbers: std::ops::Range<usize>) -> Group {
        Group {
            family: Family::V4,
            ports: vec![EndpointPort {
                port: Some(port),
                ..EndpointPort::default()
            }],
            endpoints: numbers
                .map(|number| Endpoint {
                    addresses: vec![format!("10.0.{:03}.{:03}", number / 256, number % 256)],
                    ..Endpoint::default()
                })
                .collect(),
        }
    }

    fn stored(name: &str, object: EndpointSlice) -> Slice {
        Arc::new(Cached {
            key: ObjectKey::new("ns", name),
            uid: name.into(),
            resource_version: 1,
            object: SliceView::project(object),
        })
    }

    fn next(groups: Vec<Group>, existing: &[Slice]) -> Plan {
        plan(&origin(), &[Family::V4], groups, existing.to_vec())
    }

    fn shape(plan: &Plan) -> (Vec<usize>, Vec<usize>, usize) {
        let size = |slice: &EndpointSlice| slice.endpoints.as_ref().map_or(0, Vec::len);
        (
            plan.create.iter().map(size).collect(),
            plan.update.iter().map(|(_, slice)| size(slice)).collect(),
            plan.delete.len(),
        )
    }

    #[test]
    fn endpoints_are_cut_into_slices_of_a_hundred_that_stay_as_they_are() {
        let plan = next(vec![group(80, 0..250)], &[]);
        assert_eq!(shape(&plan), (vec![100, 100, 50], vec![], 0));
        let slices: Vec<Slice> = plan
            .create
            .into_iter()
            .enumerate()
            .map(|(number, slice)| stored(&format!("s{number}"), slice))
            .collect();
        assert_eq!(
            shape(&next(vec![group(80, 0..250)], &slices)),
            (vec![], vec![], 0)
        );
        assert_eq!(
            shape(&next(vec![group(80, 0..251)], &slices)),
            (vec![], vec![51], 0),
            "the slice with room takes it"
        );
        assert_eq!(
            shape(&next(vec![group(80, 1..250)], &slices)),
            (vec![], vec![99], 0)
        );
        assert_eq!(
            shape(&next(vec![group(80, 0..200)], &slices)),
            (vec![], vec![], 1),
            "an empty one goes"
        );
    }

    #[test]
    fn other_ports_rewrite_the_slice_instead_of_replacing_it() {
        let first = next(vec![group(80, 0..3)], &[]).create.remove(0);
        let plan = next(vec![group(81, 0..3)], &[stored("s", first)]);
        assert_eq!(shape(&plan), (vec![], vec![3], 0));
        assert_eq!(&*plan.update[0].0.key.name, "s");
    }

    #[test]
    fn a_service_without_endpoints_keeps_one_empty_slice() {
        let plan = next(vec![], &[]);
        assert_eq!(shape(&plan), (vec![0], vec![], 0));
        let empty = stored("s", plan.create.into_iter().next().unwrap());
        assert_eq!(
            shape(&next(vec![], std::slice::from_ref(&empty))),
            (vec![], vec![], 0)
        );
        let filled = next(vec![group(80, 0..2)], &[empty]);
        assert_eq!(shape(&filled), (vec![], vec![2], 0), "which is filled later");
        let full = stored("s", filled.update.into_iter().next().unwrap().1);
        assert_eq!(
            shape(&next(vec![], &[full])),
            (vec![], vec![0], 0),
            "and emptied again"
        );
    }

    #[test]
    fn a_slice_that_somebody_changed_is_put_right() {
        let mut slice = next(vec![group(80, 0..2)], &[]).create.remove(0);
        slice.endpoints.as_mut().unwrap()[0].node_name = Some("elsewhere".into());
        let plan = next(vec![group(80, 0..2)], &[stored("s", slice)]);
        assert_eq!(shape(&plan), (vec![], vec![2], 0));
    }

    #[test]
    fn annotations_of_mirrored_endpoints_are_mirrored_and_others_left_alone() {
        for (keeper, updates) in [
            (label::MIRROR_CONTROLLER, vec![2]),
            (label::SLICE_CONTROLLER, vec![]),
        ] {
            let mut origin = origin();
            origin.labels.insert(label::MANAGED_BY.into(), keeper.into());
            let plan =
                |origin: &Origin, existing| plan(origin, &[Family::V4], vec![group(80, 0..2)], existing);
            let slice = plan(&origin, vec![]).create.remove(0);
            origin.annotations.insert("foo2".into(), "bar2".into());
            let (_, updated, _) = shape(&plan(&origin, vec![stored("s", slice)]));
            assert_eq!(updated, updates, "{keeper}");
        }
    }

    #[test]
    fn families_that_the_service_no_longer_has_lose_their_slices() {
        let slice = next(vec![group(80, 0..2)], &[]).create.remove(0);
        let plan = plan(&origin(), &[Family::V6], vec![], vec![stored("s", slice)]);
        assert_eq!(shape(&plan), (vec![0], vec![], 1));
    }
}
