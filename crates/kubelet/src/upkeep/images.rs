//! Images that nobody uses go when the disk fills up, and those unused for long if the configuration says so (contract,
//! node agent §19).
use crate::beat;
use crate::config::KubeletConfiguration;
use crate::images::Access;
use crate::pods::PodsHandle;
use crate::stats::disk::file_system;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use orlop_client::events::{EventType, Recorder, node_reference};
use orlop_cri::{CriError, RuntimeService, v1};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Images are looked at this often.
const PERIOD: Duration = Duration::from_secs(300);

/// When images go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From this use of the disk on, in percent.
    pub high: u64,
    /// Down to this.
    pub low: u64,
    /// Younger ones stay.
    pub age_min: Duration,
    /// Longer unused ones go anyway; `None`: they stay.
    pub age_max: Option<Duration>,
}

impl Policy {
    /// As the configuration has it; a high threshold of 100 turns the disk's part off.
    pub fn of(configuration: &KubeletConfiguration) -> Self {
        let percent = |value: i32| u64::try_from(value).unwrap_or(0);
        let age_max = configuration.image_maximum_gc_age.0;
        Self {
            high: percent(configuration.image_gc_high_threshold_percent),
            low: percent(configuration.image_gc_low_threshold_percent),
            age_min: configuration.image_minimum_gc_age.0,
            age_max: (!age_max.is_zero()).then_some(age_max),
        }
    }
}

/// The images' disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub capacity: u64,
    pub available: u64,
}

impl Room {
    /// Bytes to free so that `policy` is content; none below its high threshold.
    fn wanted(&self, policy: &Policy) -> u64 {
        let used = self.capacity.saturating_sub(self.available);
        if policy.high >= 100 || used * 100 < policy.high * self.capacity {
            return 0;
        }
        used.saturating_sub(self.capacity * policy.low / 100)
    }
}

/// An image, and since when this agent knows it and has not seen it in use. One that was there before the agent may be of
/// any age, and is not young.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    id: String,
    bytes: u64,
    first_seen: Option<Instant>,
    last_used: Instant,
    in_use: bool,
}

/// What a round removes: images in this order, by age first, then until `wanted` bytes are free.
fn plan<'a>(known: &'a [Known], policy: &Policy, wanted: u64, now: Instant) -> Vec<&'a Known> {
    let mut idle: Vec<&Known> = known.iter().filter(|image| !image.in_use).collect();
    idle.sort_by_key(|image| (image.last_used, image.first_seen, &image.id));
    let mut freed = 0;
    idle.retain(|image| {
        let too_old = policy
            .age_max
            .is_some_and(|age| now.duration_since(image.last_used) > age);
        let is_young = image
            .first_seen
            .is_some_and(|seen| now.duration_since(seen) < policy.age_min);
        let needed = freed < wanted && !is_young;
        if too_old || needed {
            freed += image.bytes;
        }
        too_old || needed
    });
    idle
}

/// Since when an image is known, if it was not there before the agent, and when it was in use last.
type Seen = (Option<Instant>, Instant);

/// Looks after the images of a runtime. All copies know the same of them.
#[derive(Clone)]
pub struct Images {
    runtime: Arc<dyn RuntimeService>,
    recorder: Recorder,
    /// Images may be volumes of theirs.
    pods: PodsHandle,
    /// Forgets what is gone.
    access: Arc<Access>,
    node_name: String,
    policy: Policy,
    /// By id; `None` until somebody has looked.
    seen: Arc<Mutex<Option<HashMap<String, Seen>>>>,
    failures: u32,
}

/// Why images could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Runtime(#[from] CriError),
    #[error("invalid capacity 0 on image filesystem")]
    NoCapacity,
    #[error(
        "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} \
         bytes eligible to free."
    )]
    TooLittle { wanted: u64, freed: u64 },
}

impl Images {
    pub fn new(
        runtime: Arc<dyn RuntimeService>,
        recorder: Recorder,
        (pods, access): (PodsHandle, Arc<Access>),
        node_name: String,
        configuration: &KubeletConfiguration,
    ) -> Self {
        Self {
            runtime,
            recorder,
            pods,
            access,
            node_name,
            policy: Policy::of(configuration),
            seen: Arc::default(),
            failures: 0,
        }
    }

    /// Looks every few minutes, for ever.
    pub async fn run(mut self) {
        self.begin().await;
        loop {
            beat::next(PERIOD).await;
            let outcome = self.round(None).await;
            self.tell(outcome);
        }
    }

    /// What is there already is known from now on: how long it has not been used is counted from here, not from the first
    /// round.
    async fn begin(&mut self) {
        if let Err(error) = self.look().await {
            // The runtime may just be starting.
            tracing::debug!(%error, "images are not known yet");
        }
    }

    fn tell(&mut self, outcome: Result<u64, ImageError>) {
        let Err(error) = outcome else {
            self.failures = 0;
            return;
        };
        tracing::warn!(%error, "images not collected");
        self.failures += 1;
        let node = node_reference(&self.node_name);
        let warn = |reason: &str| {
            self.recorder
                .event(&node, EventType::Warning, reason, error.to_string());
        };
        match error {
            ImageError::NoCapacity => warn("InvalidDiskCapacity"),
            ImageError::TooLittle { .. } => warn("FreeDiskSpaceFailed"),
            ImageError::Runtime(_) => {}
        }
        // The runtime may just be starting.
        if self.failures > 1 {
            warn("ImageGCFailed");
        }
    }

    /// Removes what the policy says, or what is unused until `wanted` bytes are free; the bytes freed. Young ones stay in
    /// any case: a container that waits for its image may be about to use it.
    pub async fn round(&mut self, wanted: Option<u64>) -> Result<u64, ImageError> {
        let known = self.look().await?;
        let wanted = match wanted {
            Some(wanted) => wanted,
            None => self.room().await?.wanted(&self.policy),
        };
        let mut freed = 0;
        for image in plan(&known, &self.policy, wanted, Instant::now()) {
            match self.runtime.remove_image(&image.id).await {
                Ok(()) => {
                    tracing::info!(image = image.id, bytes = image.bytes, "unused image removed");
                    if let Some(seen) = self.seen.lock().as_mut() {
                        seen.remove(&image.id);
                    }
                    freed += image.bytes;
                }
                Err(error) => tracing::warn!(image = image.id, %error, "cannot remove an unused image"),
            }
        }
        if freed < wanted {
            return Err(ImageError::TooLittle { wanted, freed });
        }
        Ok(freed)
    }

    async fn room(&self) -> Result<Room, ImageError> {
        let info = self.runtime.image_fs_info().await?;
        let used = info.image_filesystems.into_iter().next();
        let mount_point = used.and_then(|used| used.fs_id).map(|id| id.mountpoint);
        let found = mount_point.and_then(|path| file_system(Path::new(&path)));
        let found = found.filter(|found| found.capacity > 0);
        let found = found.ok_or(ImageError::NoCapacity)?;
        Ok(Room {
            capacity: found.usable(),
            available: found.available,
        })
    }

    /// All images, with what is known of their use.
    async fn look(&mut self) -> Result<Vec<Known>, CriError> {
        let before = Timestamp::now();
        let images = self.runtime.list_images(None).await?;
        let there = images.iter().map(|image| image.id.as_str()).collect();
        self.access.keep(&there, before);
        let containers = self.runtime.list_containers(None).await?;
        let mut used: HashSet<String> = containers
            .into_iter()
            .flat_map(|container| {
                let named = container.image.map(|image| image.image);
                [Some(container.image_ref), Some(container.image_id), named]
            })
            .flatten()
            .filter(|name| !name.is_empty())
            .collect();
        used.extend(self.sandbox_image().await?);
        let pods = self.pods.list();
        used.extend(pods.iter().flat_map(|record| of_volumes(&record.pod)));
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let unknown = (seen.is_some().then_some(now), now);
        let known: Vec<Known> = images
            .iter()
            .map(|image| {
                let in_use = is_used(image, &used);
                let before = seen.as_ref().and_then(|seen| seen.get(&image.id));
                let (first_seen, last_used) = before.copied().unwrap_or(unknown);
                Known {
                    id: image.id.clone(),
                    bytes: image.size,
                    first_seen,
                    last_used: if in_use { now } else { last_used },
                    in_use,
                }
            })
            .collect();
        let ages = known
            .iter()
            .map(|image| (image.id.clone(), (image.first_seen, image.last_used)));
        *seen = Some(ages.collect());
        Ok(known)
    }

    /// The image of sandboxes: containerd before 1.7 does not pin it, and without it no pod starts any more.
    async fn sandbox_image(&self) -> Result<Option<String>, CriError> {
        let status = self.runtime.status(true).await?;
        let config = status.info.get("config").map(String::as_str).unwrap_or_default();
        let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
        Ok(config["sandboxImage"].as_str().map(str::to_owned))
    }
}

/// Names of the images that are volumes of a pod.
fn of_volumes(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = orlop_api::pod::volumes(pod);
    let images = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    images.filter_map(crate::images::with_default_tag)
}

fn is_used(image: &v1::Image, used: &HashSet<String>) -> bool {
    let mut names = image.repo_tags.iter().chain(&image.repo_digests);
    image.pinned || used.contains(&image.id) || names.any(|name| used.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeRuntime;

    const MINUTE: Duration = Duration::from_secs(60);

    fn policy() -> Policy {
        Policy {
            high: 85,
            low: 80,
            age_min: 2 * MINUTE,
            age_max: None,
        }
    }

    /// `(id, MiB, minutes since first seen, minutes since last used, in use)`
    fn known(now: Instant, images: &[(&str, u64, u32, u32, bool)]) -> Vec<Known> {
        let known = |(id, size, seen, used, in_use): &(&str, u64, u32, u32, bool)| Known {
            id: (*id).to_owned(),
            bytes: size << 20,
            first_seen: Some(now - *seen * MINUTE),
            last_used: now - *used * MINUTE,
            in_use: *in_use,
        };
        images.iter().map(known).collect()
    }

    fn ids(plan: Vec<&Known>) -> Vec<&str> {
        plan.into_iter().map(|image| image.id.as_str()).collect()
    }

    #[test]
    fn images_go_from_the_high_threshold_down_to_the_low_one() {
        let room = |available| Room {
            capacity: 1000,
            available,
        };
        for (available, wanted) in [(151, 0), (150, 50), (0, 200)] {
            assert_eq!(room(available).wanted(&policy()), wanted, "{available}");
        }
        let off = Policy {
            high: 100,
            ..policy()
        };
        assert_eq!(room(0).wanted(&off), 0);
    }

    #[tokio::test]
    async fn g07_image_that_was_there_at_the_start_is_known_since_then() {
        let runtime = Arc::<FakeRuntime>::default();
        runtime.images.lock().push(v1::Image {
            id: "sha256:a".into(),
            ..v1::Image::default()
        });
        let shared = (PodsHandle::default(), Arc::default());
        let configuration = KubeletConfiguration::default();
        let mut images = Images::new(runtime, Recorder::disabled(), shared, "n1".into(), &configuration);
        images.begin().await;
        let begun = Instant::now();
        let known = images.look().await.unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].first_seen, None);
        assert!(known[0].last_used <= begun);
    }

    #[tokio::test]
    async fn young_images_stay_where_the_node_is_short_and_who_asks_for_room_knows_their_age() {
        let runtime = Arc::<FakeRuntime>::default();
        let pull = |id: &str, size| {
            runtime.images.lock().push(v1::Image {
                id: id.into(),
                size,
                ..v1::Image::default()
            });
        };
        let shared = (PodsHandle::default(), Arc::default());
        let configuration = KubeletConfiguration::default();
        let mut collection = Images::new(
            runtime.clone(),
            Recorder::disabled(),
            shared,
            "n1".into(),
            &configuration,
        );
        let mut eviction = collection.clone();
        let mut freed = async || match eviction.round(Some(u64::MAX)).await {
            Err(ImageError::TooLittle { freed, .. }) => freed,
            other => panic!("{other:?}"),
        };
        pull("sha256:a", 7);
        collection.begin().await;
        assert_eq!(freed().await, 7, "it was there before the agent");
        runtime.images.lock().clear();
        pull("sha256:b", 5);
        assert_eq!(freed().await, 0);
        let long_ago = Instant::now()
            .checked_sub(configuration.image_minimum_gc_age.0)
            .unwrap();
        let old = HashMap::from([("sha256:b".to_owned(), (Some(long_ago), long_ago))]);
        *collection.seen.lock() = Some(old);
        assert_eq!(freed().await, 5);
    }

    #[test]
    fn g02_least_recently_used_images_go_first_and_no_more_than_needed() {
        let now = Instant::now() + 1000 * MINUTE;
        let images = known(
            now,
            &[
                ("used", 900, 90, 0, true),
                ("young", 50, 1, 90, false),
                ("recent", 50, 90, 5, false),
                ("old", 50, 90, 60, false),
                ("older", 50, 90, 80, false),
            ],
        );
        assert_eq!(ids(plan(&images, &policy(), 0, now)), [""; 0]);
        assert_eq!(ids(plan(&images, &policy(), 60 << 20, now)), ["older", "old"]);
        assert_eq!(
            ids(plan(&images, &policy(), 9000 << 20, now)),
            ["older", "old", "recent"]
        );
    }

    #[test]
    fn g07_image_unused_for_longer_than_the_limit_goes_on_a_free_disk() {
        let now = Instant::now() + 1000 * MINUTE;
        let images = known(now, &[("old", 1, 9, 6, false), ("recent", 1, 9, 4, false)]);
        let policy = Policy {
            age_max: Some(5 * MINUTE),
            ..policy()
        };
        assert_eq!(ids(plan(&images, &policy, 0, now)), ["old"]);
    }

    #[test]
    fn images_of_containers_and_sandboxes_and_pinned_ones_are_in_use() {
        let image = |id: &str, tag: &str, pinned| v1::Image {
            id: id.into(),
            repo_tags: vec![tag.into()],
            pinned,
            ..v1::Image::default()
        };
        let used = HashSet::from(["sha256:a".to_owned(), "orlop.local/pause:1".to_owned()]);
        assert!(is_used(&image("sha256:a", "a:1", false), &used));
        assert!(is_used(&image("sha256:p", "orlop.local/pause:1", false), &used));
        assert!(is_used(&image("sha256:b", "b:1", true), &used));
        assert!(!is_used(&image("sha256:c", "c:1", false), &used));
    }
}
