//! Pages of measurements: taken now, for whoever asks.
use super::ServerContext;
use super::body::{Body, json, text, text_as};
use super::metrics::{cadvisor, resource};
use super::query;
use crate::metrics::Now;
use crate::node;
use http::{Response, StatusCode};
use orlop_metrics::{OPEN_METRICS, text::CONTENT_TYPE};

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`
    Agent,
    /// `/metrics/cadvisor`
    Cadvisor,
    /// `/metrics/probes`
    Probes,
    /// `/metrics/resource`
    Resource,
    /// `/metrics/slis`
    Slis,
    /// `/stats/summary`
    Summary,
}

impl Page {
    /// By the parts of its path.
    pub fn of(parts: &[&str]) -> Option<Self> {
        match parts {
            ["metrics"] => Some(Self::Agent),
            ["metrics", "cadvisor"] => Some(Self::Cadvisor),
            ["metrics", "probes"] => Some(Self::Probes),
            ["metrics", "resource"] => Some(Self::Resource),
            ["metrics", "slis"] => Some(Self::Slis),
            ["stats", "summary"] => Some(Self::Summary),
            _ => None,
        }
    }
}

pub async fn answer(context: &ServerContext, page: Page, query: &str) -> Response<Body> {
    let meter = &context.meter;
    let failed = |error: orlop_cri::CriError| text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    match page {
        Page::Agent => {
            let claims = meter.claims_in_use().await;
            let now = Now {
                node_name: &context.node_name,
                pods: &context.pods.list(),
                mirrors: context.pods.mirrors(),
                root: &meter.root,
                claims: &claims,
            };
            text_as(OPEN_METRICS, context.metrics.text(&now))
        }
        Page::Probes => text_as(OPEN_METRICS, context.metrics.probes_text()),
        Page::Slis => text_as(CONTENT_TYPE, context.metrics.slis_text()),
        Page::Resource => {
            let stats = meter.usage().await.inspect_err(|error| {
                tracing::warn!(%error, "cannot measure what containers use");
            });
            text_as(CONTENT_TYPE, resource::text(stats.as_ref().ok()))
        }
        Page::Cadvisor => match meter.everything().await {
            Ok((stats, more)) => {
                let machine = cadvisor::Machine {
                    cores: node::cores(),
                    memory: node::memory_capacity(),
                };
                text_as(CONTENT_TYPE, cadvisor::text(&stats, &more, &machine))
            }
            Err(error) => failed(error),
        },
        Page::Summary => {
            let is_true = |value: &str| matches!(value, "true" | "1" | "t" | "T" | "True" | "TRUE");
            let few = query::pairs(query).any(|(key, value)| key == "only_cpu_and_memory" && is_true(&value));
            match meter.summary(few).await {
                Ok(summary) => json(&summary),
                Err(error) => failed(error),
            }
        }
    }
}
