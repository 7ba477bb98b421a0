//! Metrics of what pods use of cpu and memory: which part of pods is meant, and how it is called.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ResourceMetricStatus,
};
use orlop_api::quantity::{Amount, amount};

use super::pods::Part;
use super::proposal::{Aim, Proposal};
use super::source::Unreadable;

/// A metric of pods' resources.
pub struct Meant<'a> {
    /// What of the pods.
    pub part: Part<'a>,
    target: &'a MetricTarget,
}

impl<'a> Meant<'a> {
    /// `None` for metrics that come from elsewhere.
    pub fn of(metric: &'a MetricSpec) -> Option<Self> {
        if let Some(source) = metric.resource.as_ref().filter(|_| metric.type_ == "Resource") {
            return Some(Self {
                part: Part {
                    resource: &source.name,
                    container: None,
                },
                target: &source.target,
            });
        }
        let source = metric.container_resource.as_ref()?;
        (metric.type_ == "ContainerResource").then_some(Self {
            part: Part {
                resource: &source.name,
                container: Some(&source.container),
            },
            target: &source.target,
        })
    }

    /// What they should use.
    pub fn aim(&self) -> Option<Aim> {
        match (&self.target.average_value, self.target.average_utilization) {
            (Some(value), _) => Some(Aim::Value(amount(value).milli_value())),
            (None, percent) => percent.map(Aim::Utilization),
        }
    }

    /// What it is called where its wish is told.
    pub fn name(&self, aim: Aim) -> String {
        let kind = match self.part.container {
            None => "resource",
            Some(_) => "container resource",
        };
        match aim {
            Aim::Value(_) => format!("{} {kind}", self.part.resource),
            Aim::Utilization(_) => {
                format!(
                    "{} {kind} utilization (percentage of request)",
                    self.part.resource
                )
            }
        }
    }

    /// What it says.
    pub fn status(&self, proposal: &Proposal) -> MetricStatus {
        let current = MetricValueStatus {
            average_utilization: proposal.utilization,
            average_value: Some(Amount::from_milli(proposal.average).to_quantity()),
            value: None,
        };
        let name = self.part.resource.to_owned();
        match self.part.container {
            None => MetricStatus {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricStatus { current, name }),
                ..MetricStatus::default()
            },
            Some(container) => MetricStatus {
                type_: "ContainerResource".to_owned(),
                container_resource: Some(ContainerResourceMetricStatus {
                    container: container.to_owned(),
                    current,
                    name,
                }),
                ..MetricStatus::default()
            },
        }
    }

    /// That it can't be read.
    pub fn unreadable(&self, aim: Option<Aim>, why: &str) -> Unreadable {
        let (reason, kind) = match self.part.container {
            None => ("FailedGetResourceMetric", "resource"),
            Some(_) => ("FailedGetContainerResourceMetric", "container"),
        };
        let resource = self.part.resource;
        let why = match aim {
            None => why.to_owned(),
            Some(Aim::Value(_)) => format!("failed to get {resource} usage: {why}"),
            Some(Aim::Utilization(_)) => format!("failed to get {resource} utilization: {why}"),
        };
        Unreadable {
            wrapped: format!("failed to get {resource} {kind} metric value: {why}"),
            reason,
            why,
        }
    }
}
