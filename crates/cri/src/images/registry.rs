//! containerd's image and lease services: which name stands for which manifest.

use super::ImportError;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    CreateImageRequest, CreateRequest, DeleteRequest, GetImageRequest, Image, UpdateImageRequest,
};
use containerd_client::types::Descriptor;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// Where containerd's CRI half keeps its things.
pub(crate) const NAMESPACE: &str = "k8s.io";
/// Marks an image as CRI's, so that it need not be found out.
const LABEL_MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
/// Keeps image garbage collection away (containerd 1.7 and later).
pub(super) const LABEL_PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");
/// A lease that its importer can't delete any more, because it died, ends by itself.
const LEASE_LIFE: Duration = Duration::from_secs(3600);

/// A request in CRI's namespace, under a lease if one is given: what a lease holds isn't garbage.
pub(crate) fn in_cri_namespace<T>(message: T, lease: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    if let Some(lease) = lease.and_then(|lease| lease.parse().ok()) {
        metadata.insert("containerd-lease", lease);
    }
    request
}

/// The digest `name` stands for, if CRI knows it.
pub(super) async fn target_of(channel: Channel, name: &str) -> Result<Option<String>, tonic::Status> {
    let answer = ImagesClient::new(channel)
        .get(in_cri_namespace(
            GetImageRequest {
                name: name.to_owned(),
            },
            None,
        ))
        .await;
    match answer {
        Ok(answer) => Ok(answer
            .into_inner()
            .image
            .filter(|image| image.labels.get(LABEL_MANAGED.0).map(String::as_str) == Some(LABEL_MANAGED.1))
            .and_then(|image| image.target)
            .map(|target| target.digest)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// Makes `name` stand for `target`, whether it was there or not.
pub(super) async fn set_target(
    channel: Channel,
    name: &str,
    target: Descriptor,
    pinned: bool,
) -> Result<(), ImportError> {
    let mut labels = HashMap::from([(LABEL_MANAGED.0.to_owned(), LABEL_MANAGED.1.to_owned())]);
    if pinned {
        labels.insert(LABEL_PINNED.0.to_owned(), LABEL_PINNED.1.to_owned());
    }
    let image = Image {
        name: name.to_owned(),
        labels,
        target: Some(target),
        ..Image::default()
    };
    let mut client = ImagesClient::new(channel);
    let created = client
        .create(in_cri_namespace(
            CreateImageRequest {
                image: Some(image.clone()),
                ..CreateImageRequest::default()
            },
            None,
        ))
        .await;
    match created {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => client
            .update(in_cri_namespace(
                UpdateImageRequest {
                    image: Some(image),
                    ..UpdateImageRequest::default()
                },
                None,
            ))
            .await
            .map(drop)
            .map_err(ImportError::containerd("updating the name", name)),
        Err(status) => Err(ImportError::containerd("creating the name", name)(status)),
    }
}

/// Holds everything written under it until it is released.
pub(super) struct Lease {
    channel: Channel,
    id: String,
}

impl Lease {
    /// Takes a lease of its own name.
    pub(super) async fn take(channel: Channel, image: &str) -> Result<Self, ImportError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("orlop-import-{}-{}", std::process::id(), now.as_nanos());
        let labels = HashMap::from([(
            "containerd.io/gc.expire".to_owned(),
            rfc3339((now + LEASE_LIFE).as_secs()),
        )]);
        LeasesClient::new(channel.clone())
            .create(in_cri_namespace(
                CreateRequest {
                    id: id.clone(),
                    labels,
                },
                None,
            ))
            .await
            .map_err(ImportError::containerd("taking a lease", image))?;
        Ok(Self { channel, id })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Ends the lease; what the image's names hold stays, the rest becomes garbage.
    pub(super) async fn release(self) {
        let outcome = LeasesClient::new(self.channel)
            .delete(in_cri_namespace(
                DeleteRequest {
                    id: self.id.clone(),
                    sync: false,
                },
                None,
            ))
            .await;
        if let Err(status) = outcome {
            // It expires by itself.
            tracing::debug!(
                lease = self.id,
                error = status.message(),
                "import lease not released"
            );
        }
    }
}

/// `2026-01-31T12:00:00Z` of seconds since 1970.
fn rfc3339(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Civil date of a day number, with years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
