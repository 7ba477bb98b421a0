//! How long the certificates last that the agent renews, and how often that failed.
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The series; a clone is another handle.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// Upstream's names have no `_total`, which counters would get.
    pub client_errors: Gauge,
    pub server_errors: Gauge,
    ends: Arc<Mutex<Ends>>,
}

/// `None`: there is none that the agent renews.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    client: Option<Timestamp>,
    server: Option<Timestamp>,
}

impl Certificates {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kubelet_certificate_manager_client_expiration_renew_errors",
            "Renewals of the client certificate that failed",
            self.client_errors.clone(),
        );
        registry.register(
            "kubelet_server_expiration_renew_errors",
            "Renewals of the serving certificate that failed",
            self.server_errors.clone(),
        );
        registry.register_collector(Box::new(Left(self.ends.clone())));
    }

    /// The client certificate ends then.
    pub fn client_lasts(&self, until: Option<Timestamp>) {
        self.ends.lock().client = until;
    }

    /// The serving certificate ends then.
    pub fn server_lasts(&self, until: Option<Timestamp>) {
        self.ends.lock().server = until;
    }
}

/// What is left of them when somebody asks.
#[derive(Debug)]
struct Left(Arc<Mutex<Ends>>);

impl Collector for Left {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (ends, now) = (*self.0.lock(), Timestamp::now());
        for (name, help, until) in [
            (
                "kubelet_certificate_manager_client_ttl_seconds",
                "Seconds until the client certificate ends",
                ends.client,
            ),
            (
                "kubelet_certificate_manager_server_ttl_seconds",
                "Seconds until the serving certificate ends",
                ends.server,
            ),
        ] {
            let Some(until) = until else { continue };
            let gauge = ConstGauge::new(until.as_second() - now.as_second());
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
