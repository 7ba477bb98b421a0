//! Which images nodes have, and how much of what a pod needs that spares.
//!
//! Of an image only a print of its name and its size are kept: a node tells of fifty, each under several names.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerImage, PodSpec};
use orlop_api::fnv::fnv1a64;
use orlop_client::informer::Shared;

/// A print of an image's name.
type Print = u64;

/// What images weigh less than together isn't worth a thought.
const SMALL: i64 = 23 << 20;
/// The images of one container count for no more than this.
const LARGE: i64 = 1000 << 20;

// Nodes that run the same have the same images.
static IMAGES: Shared<[(Print, i64)]> = Shared::new();

/// The images of a node: each name's print and the size in bytes, by print.
#[derive(Debug, Clone)]
pub struct NodeImages(Arc<[(Print, i64)]>);

impl NodeImages {
    /// What a node tells.
    pub fn of(images: &[ContainerImage]) -> Self {
        let mut sizes: Vec<(Print, i64)> = images
            .iter()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                let names = image.names.iter().flatten();
                names.map(move |name| (fnv1a64(name.as_bytes()), size))
            })
            .collect();
        sizes.sort_unstable();
        sizes.dedup_by_key(|(print, _)| *print);
        Self(IMAGES.share(sizes.into()))
    }

    /// Whether it is the very same list: then it need not be read to know that nothing has changed.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn size(&self, print: Print) -> Option<i64> {
        let at = self.0.binary_search_by_key(&print, |(print, _)| *print).ok()?;
        Some(self.0[at].1)
    }
}

/// On how many nodes each image is.
#[derive(Debug, Default)]
pub struct Spread {
    nodes: HashMap<Print, u32>,
}

impl Spread {
    /// A node came.
    pub fn add(&mut self, images: &NodeImages) {
        for (print, _) in images.0.iter() {
            *self.nodes.entry(*print).or_default() += 1;
        }
    }

    /// A node went.
    pub fn remove(&mut self, images: &NodeImages) {
        for (print, _) in images.0.iter() {
            if let Some(nodes) = self.nodes.get_mut(print) {
                *nodes -= 1;
                if *nodes == 0 {
                    self.nodes.remove(print);
                }
            }
        }
    }
}

/// The images that a pod needs: one for each of its containers and image volumes.
#[derive(Debug, Clone, Default)]
pub struct WantedImages(Box<[Print]>);

impl WantedImages {
    /// What the spec names.
    pub fn of(spec: &PodSpec) -> Self {
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let volumes = spec.volumes.iter().flatten();
        let volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
        let names = containers.filter_map(|container| container.image.as_deref());
        Self(names.chain(volumes).map(print_of).collect())
    }

    /// How much less there is to pull to a node that has `images`, 0 to 100. An image that few of the `nodes` have counts
    /// for less: otherwise all of its pods would go there.
    #[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
    #[expect(clippy::cast_possible_truncation, reason = "no more than the size")]
    pub fn score(&self, images: &NodeImages, spread: &Spread, nodes: usize) -> i64 {
        let Ok(wanted) = i64::try_from(self.0.len()) else {
            return 0;
        };
        if wanted == 0 {
            return 0;
        }
        let there = |print: &Print| {
            let size = images.size(*print)?;
            let share = f64::from(*spread.nodes.get(print)?) / nodes as f64;
            Some((size as f64 * share) as i64)
        };
        let spared = self.0.iter().filter_map(there).fold(0, i64::saturating_add);
        let most = LARGE * wanted;
        100 * (spared.clamp(SMALL, most) - SMALL) / (most - SMALL)
    }
}

/// A name without a tag means the tag `latest`.
fn print_of(name: &str) -> Print {
    let tag = name.rfind(':');
    if tag.is_some() && tag > name.rfind('/') {
        fnv1a64(name.as_bytes())
    } else {
        fnv1a64(format!("{name}:latest").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn images(of: serde_json::Value) -> NodeImages {
        let images: Vec<ContainerImage> = serde_json::from_value(of).unwrap();
        NodeImages::of(&images)
    }

    fn wanted(spec: serde_json::Value) -> WantedImages {
        WantedImages::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn nodes_with_the_same_images_share_one_list() {
        let one = || images(json!([{"names": ["a:1", "a:2"], "sizeBytes": 7}]));
        let first = one();
        assert!(first.is_same(&one()));
        assert!(!first.is_same(&images(json!([{"names": ["a:1"], "sizeBytes": 7}]))));
    }

    #[test]
    fn a_node_scores_by_the_size_of_what_it_has_and_by_how_common_that_is() {
        let big = images(
            json!([{"names": ["registry:5000/big", "registry:5000/big:latest"], "sizeBytes": 600_i64 << 20},
            {"names": ["small:1"], "sizeBytes": 20 << 20}]),
        );
        let none = images(json!([]));
        let mut spread = Spread::default();
        spread.add(&big);
        spread.add(&none);
        let pod = wanted(json!({"containers": [{"name": "a", "image": "registry:5000/big"}]}));
        assert_eq!(pod.score(&big, &spread, 2), 100 * (300 - 23) / (1000 - 23));
        assert_eq!(pod.score(&none, &spread, 2), 0);
        let tiny = wanted(json!({"containers": [{"name": "a", "image": "small:1"}]}));
        assert_eq!(tiny.score(&big, &spread, 2), 0, "not worth a thought");
        spread.add(&big);
        assert_eq!(
            pod.score(&big, &spread, 2),
            100 * (600 - 23) / (1000 - 23),
            "all have it"
        );
        let many = wanted(json!({"initContainers": [{"name": "i", "image": "small:1"}],
            "containers": [{"name": "a", "image": "registry:5000/big:latest"}],
            "volumes": [{"name": "v", "image": {"reference": "absent"}}]}));
        assert_eq!(many.score(&big, &spread, 2), 100 * (620 - 23) / (3000 - 23));
        let endless = images(
            json!([{"names": ["a:1"], "sizeBytes": i64::MAX}, {"names": ["b:1"], "sizeBytes": i64::MAX}]),
        );
        spread.add(&endless);
        let both =
            wanted(json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}));
        assert_eq!(both.score(&endless, &spread, 1), 100);
        spread.remove(&endless);
        spread.remove(&big);
        spread.remove(&big);
        assert!(spread.nodes.is_empty());
    }
}
