//! Having a container's image on the node (contract, node agent §9).
mod access;
mod credentials;
mod providers;
mod rate;

pub use access::{Access, Entry};
pub use credentials::{Credentials, Login, Owner};
pub use providers::{ProviderError, Providers};
pub use rate::PullRate;

use crate::pods::agent::Agent;
use crate::pods::backoff::Backoff;
use crate::pods::plan::Waiting;
use crate::runtime::container::ImageUser;
use crate::volumes::image;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_client::events::EventType;
use orlop_cri::{CriError, v1};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// An image that containers can be made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// What the runtime calls it.
    pub reference: String,
    /// The user it wants to run as.
    pub user: ImageUser,
}

/// When to ask the registry. The API server and the manifest pipeline have defaulted the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// At each start.
    Always,
    /// When it is missing.
    IfNotPresent,
    /// Never.
    Never,
}

/// The policy of a container.
pub fn policy(container: &Container) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Never") => Policy::Never,
        Some("Always") => Policy::Always,
        _ => Policy::IfNotPresent,
    }
}

/// `nginx` → `nginx:latest`; a tag or a digest is kept. `None`: not an image's name.
pub fn with_default_tag(image: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    let last = image.rsplit('/').next().unwrap_or(image);
    let repository = image.split_once('@').map_or(image, |(front, _)| front);
    let path = repository.strip_suffix(last).unwrap_or_default();
    let name = last.split([':', '@']).next().unwrap_or_default();
    let host_may_shout = path
        .split('/')
        .skip(1)
        .chain([name])
        .any(|part| part.chars().any(|c| c.is_ascii_uppercase()));
    if name.is_empty() || !image.chars().all(plain) || host_may_shout || image.starts_with('/') {
        return None;
    }
    Some(if last.contains(':') || last.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    })
}

/// Why a container waits whose image is not there and never pulled.
pub const NEVER_PULLED: &str = "ErrImageNeverPull";

/// Why a pull failed, where runtimes say so in these words.
const NAMED: [&str; 2] = ["RegistryUnavailable", "SignatureValidationFailed"];

/// Whether a container that waits for this reason waits for its image.
pub fn is_lack(reason: &str) -> bool {
    [NEVER_PULLED, "ErrImagePull", "ImagePullBackOff"].contains(&reason) || NAMED.contains(&reason)
}

/// Why a container waits whose image could not be pulled.
fn reason_of(error: &str) -> &'static str {
    let named = NAMED.into_iter().find(|reason| error.contains(reason));
    named.unwrap_or("ErrImagePull")
}

/// Whether a container of the pod waits for its image.
pub fn is_awaited(pod: &Pod) -> bool {
    let Some(status) = pod.status.as_ref() else {
        return false;
    };
    let lists = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    lists.into_iter().flatten().flatten().any(|container| {
        let state = container.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref()?.reason.as_deref());
        waiting.is_some_and(is_lack)
    })
}

/// What the runtime says of an image before it is needed; asked while the sandbox is made.
pub type Look = Result<Option<v1::Image>, CriError>;

/// Asks the runtime for the image, if the answer can spare a pull.
pub async fn look(agent: &Agent, container: &Container) -> Option<Look> {
    let image = with_default_tag(container.image.as_deref().unwrap_or_default())?;
    if policy(container) == Policy::Always {
        return None;
    }
    Some(agent.runtime.image_status(&image).await)
}

/// Where a wanted image is told about.
pub struct Wanted<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its container.
    pub container: &'a Container,
    /// The field path of events.
    pub path: &'a str,
    /// The pod is being stopped: no more waiting for a pull.
    pub stopping: &'a CancellationToken,
}

/// Has the images that are volumes of the container on the node, as runtimes are told of them; on failure, why the
/// container waits.
pub async fn of_volumes(
    agent: &Agent,
    wanted: &Wanted<'_>,
    pulls: &mut Backoff,
) -> Result<BTreeMap<String, v1::ImageSpec>, Waiting> {
    let mut images = BTreeMap::new();
    for (volume, source) in image::wanted(wanted.pod, wanted.container) {
        let reference = source.reference.clone().unwrap_or_default();
        let like = Container {
            image: Some(reference.clone()),
            image_pull_policy: source.pull_policy.clone(),
            ..Container::default()
        };
        let of_pod = Wanted {
            container: &like,
            path: "",
            ..*wanted
        };
        let found = ensure(agent, &of_pod, None, pulls).await?;
        let spec = v1::ImageSpec {
            image: found.reference,
            user_specified_image: reference,
            ..v1::ImageSpec::default()
        };
        images.insert(volume.to_owned(), spec);
    }
    Ok(images)
}

/// Finds, imports or pulls the image; on failure, why the container waits. All of that ends when the pod is to be stopped.
pub async fn ensure(
    agent: &Agent,
    wanted: &Wanted<'_>,
    looked: Option<Look>,
    pulls: &mut Backoff,
) -> Result<Present, Waiting> {
    tokio::select! {
        biased;
        () = wanted.stopping.cancelled() => {
            Err(Waiting::new("ErrImagePull", "pull cancelled: the pod is being stopped"))
        }
        found = find(agent, wanted, looked, pulls) => found,
    }
}

async fn find(
    agent: &Agent,
    wanted: &Wanted<'_>,
    looked: Option<Look>,
    pulls: &mut Backoff,
) -> Result<Present, Waiting> {
    let given = wanted.container.image.as_deref().unwrap_or_default();
    let tell = |kind, reason: &str, message: String| {
        agent.container_event(wanted.pod, wanted.path, kind, reason, message);
    };
    let Some(image) = with_default_tag(given) else {
        let message = format!(
            "Failed to apply default image tag \"{given}\": couldn't parse image name \"{given}\": invalid reference format"
        );
        tell(EventType::Warning, "InspectFailed", message.clone());
        tell(EventType::Warning, "Failed", "Error: InvalidImageName".into());
        return Err(Waiting::new("InvalidImageName", message));
    };
    let policy = policy(wanted.container);
    if policy != Policy::Always {
        let looked = match looked {
            Some(looked) => looked,
            None => agent.runtime.image_status(&image).await,
        };
        let looked = match looked {
            // One that was collected: no registry may know of it.
            Ok(None) if imported(agent, &image).await => agent.runtime.image_status(&image).await,
            looked => looked,
        };
        match looked {
            Ok(Some(found)) if may_use(agent, wanted.pod, &image, &found.id).await => {
                let message = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                );
                tell(EventType::Normal, "Pulled", message);
                return Ok(present(found));
            }
            Ok(_) => {}
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {error}");
                tell(EventType::Warning, "InspectFailed", message.clone());
                tell(EventType::Warning, "Failed", "Error: ImageInspectError".into());
                return Err(Waiting::new("ImageInspectError", message));
            }
        }
        if policy == Policy::Never {
            let message = format!("Container image \"{image}\" is not present with pull policy of Never");
            // It is looked for more often than it is told of, and no pull waits for that.
            let (told, now) = (format!("{image} is never pulled"), Timestamp::now());
            if pulls.holds(&told, now).is_none() {
                tell(EventType::Warning, NEVER_PULLED, message.clone());
                tell(EventType::Warning, "Failed", format!("Error: {NEVER_PULLED}"));
                pulls.failed(&told, message.clone(), now);
            }
            return Err(Waiting::new(NEVER_PULLED, message));
        }
    }
    if let Some((last, _)) = pulls.holds(&image, Timestamp::now()) {
        let message = format!("Back-off pulling image \"{image}\": {}: {last}", reason_of(last));
        // It is looked for more often than it is pulled: an archive may bring it.
        if pulls.is_news(&image) {
            tell(
                EventType::Normal,
                "BackOff",
                format!("Back-off pulling image \"{image}\""),
            );
            tell(EventType::Warning, "Failed", "Error: ImagePullBackOff".into());
        }
        return Err(Waiting::new("ImagePullBackOff", message));
    }
    match pull(agent, wanted, &image).await {
        Ok(present) => Ok(present),
        Err(error) => {
            tell(
                EventType::Warning,
                "Failed",
                format!("Failed to pull image \"{image}\": {error}"),
            );
            let reason = reason_of(&error);
            tell(EventType::Warning, "Failed", format!("Error: {reason}"));
            pulls.failed(&image, error.clone(), Timestamp::now());
            Err(Waiting::new(reason, error))
        }
    }
}

/// Whether the image lay in an archive and is in the runtime now.
async fn imported(agent: &Agent, image: &str) -> bool {
    match &agent.archives {
        Some(archives) => archives.import(image).await,
        None => false,
    }
}

/// Whether the pod may use an image that is on the node.
async fn may_use(agent: &Agent, pod: &Pod, image: &str, reference: &str) -> bool {
    match agent.images.entry(image, reference) {
        Entry::Open => true,
        Entry::Shut => false,
        Entry::Locked => {
            let logins = agent.surroundings.credentials(pod, image).await.of(image);
            agent.images.opens(image, reference, &logins)
        }
    }
}

async fn pull(agent: &Agent, wanted: &Wanted<'_>, image: &str) -> Result<Present, String> {
    let tell = |reason: &str, message: String| {
        agent.container_event(wanted.pod, wanted.path, EventType::Normal, reason, message);
    };
    tell("Pulling", format!("Pulling image \"{image}\""));
    let queued = Instant::now();
    // Whoever is slow to say how to log in keeps no other pull waiting.
    let credentials = agent.surroundings.credentials(wanted.pod, image).await.of(image);
    // The semaphore is never closed.
    let _turn = agent.pulls.acquire().await.map_err(|error| error.to_string())?;
    let began = Instant::now();
    if !agent.pull_rate.take(began) {
        return Err(rate::EXCEEDED.to_owned());
    }
    let spec = v1::ImageSpec {
        image: image.to_owned(),
        ..v1::ImageSpec::default()
    };
    // Nobody's, where nobody's fit.
    let mut tries: Vec<Option<Login>> = credentials.into_iter().map(Some).collect();
    if tries.is_empty() {
        tries.push(None);
    }
    // Where the runtime doesn't say, nothing counts as having been there.
    let before = agent.runtime.image_status(image).await.ok().flatten();
    let before = before.as_ref().map(|image| &*image.id);
    let begun = Begun::new(&agent.images, image, before);
    let (mut refusal, mut with) = (None, None);
    for login in tries {
        let auth = login.as_ref().map(|login| login.auth.clone());
        refusal = agent.runtime.pull_image(spec.clone(), auth, None).await.err();
        if refusal.is_none() {
            with = login;
            break;
        }
    }
    if let Some(error) = refusal {
        return Err(error.to_string());
    }
    let (took, in_all) = (began.elapsed(), queued.elapsed());
    let found = agent
        .runtime
        .image_status(image)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("image \"{image}\" vanished after it was pulled"))?;
    begun.done(&found.id, with.as_ref());
    tell(
        "Pulled",
        format!(
            "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {} bytes.",
            milliseconds(took),
            milliseconds(in_all),
            found.size
        ),
    );
    Ok(present(found))
}

/// A pull that has begun; dropped, it has failed.
struct Begun<'a> {
    access: &'a Access,
    image: &'a str,
    ended: bool,
}

impl<'a> Begun<'a> {
    fn new(access: &'a Access, image: &'a str, before: Option<&str>) -> Self {
        access.begun(image, before);
        Self {
            access,
            image,
            ended: false,
        }
    }

    fn done(mut self, reference: &str, login: Option<&Login>) {
        self.ended = true;
        self.access.pulled(self.image, reference, login);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.access.failed(self.image);
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> crate::config::GoDuration {
    crate::config::GoDuration(std::time::Duration::from_millis(duration.as_millis() as u64))
}

fn present(image: v1::Image) -> Present {
    let uid = image.uid.map(|uid| uid.value);
    Present {
        reference: image.id,
        user: ImageUser {
            uid,
            name: image.username,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b03_runtimes_name_some_reasons_of_failed_pulls() {
        for (error, reason) in [
            (
                "rpc error: code = Unknown desc = RegistryUnavailable: 503",
                "RegistryUnavailable",
            ),
            (
                "SignatureValidationFailed: no signature",
                "SignatureValidationFailed",
            ),
            ("no such host", "ErrImagePull"),
        ] {
            assert_eq!(reason_of(error), reason);
            assert!(is_lack(reason), "{reason}");
        }
    }

    #[test]
    fn image_without_tag_or_digest_is_latest() {
        for (given, full) in [
            ("nginx", Some("nginx:latest")),
            ("nginx:1", Some("nginx:1")),
            ("host:5000/x", Some("host:5000/x:latest")),
            ("Host:5000/x", Some("Host:5000/x:latest")),
            ("x@sha256:ab", Some("x@sha256:ab")),
            ("Upper", None),
            ("host/Upper:1", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(with_default_tag(given).as_deref(), full, "{given:?}");
        }
    }
}
