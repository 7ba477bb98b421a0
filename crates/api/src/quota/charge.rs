//! Whether a write fits into the quotas of its namespace, and what they have been used for afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceQuota};
use serde::Deserialize;
use serde_json::Value;

use super::limited::{Limited, cover};
use super::names::{Kind, Measured, concerns};
use super::scope::selects;
use super::usage::{compute, usage};
use crate::pod::resources::{Resources, amounts, is_pod_level};
use crate::quantity::Amount;

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Of what.
    pub kind: Kind<'a>,
    /// The object as it would be.
    pub new: &'a Value,
    /// As it is, if it is.
    pub old: Option<&'a Value>,
    /// When.
    pub now: Timestamp,
}

/// Why a write doesn't fit. Displayed after `… is forbidden: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A pod doesn't say how much it wants of something that is bounded: resource, its containers.
    Unspecified {
        /// The quota's name.
        quota: String,
        /// Containers by resource.
        missing: BTreeMap<String, BTreeSet<String>>,
    },
    /// Nobody counted yet.
    Unknown {
        /// The quota's name.
        quota: String,
        /// What was not counted.
        resources: Vec<String>,
    },
    /// Only what a quota bounds may be used of these.
    Uncovered(Vec<String>),
    /// Only where a quota is about these scopes, by what they are and what they ask.
    OutOfScope(Vec<String>),
    /// An object that asks for less than nothing.
    Negative(Vec<String>),
    /// Too much.
    Exceeded {
        /// The quota's name.
        quota: String,
        /// What is asked for,
        requested: Resources,
        /// what is used already,
        used: Resources,
        /// and what is allowed.
        hard: Resources,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unspecified { quota, missing } => {
                let one = |(resource, containers): (&String, &BTreeSet<String>)| {
                    let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
                    format!("{resource} for: {}", containers.join(","))
                };
                let missing: Vec<String> = missing.iter().map(one).collect();
                write!(f, "failed quota: {quota}: must specify {}", missing.join("; "))
            }
            Refusal::Unknown { quota, resources } => write!(
                f,
                "status unknown for quota: {quota}, resources: {}",
                resources.join(",")
            ),
            Refusal::Uncovered(resources) => {
                write!(f, "insufficient quota to consume: {}", resources.join(","))
            }
            Refusal::OutOfScope(scopes) => write!(
                f,
                "insufficient quota to match these scopes: [{}]",
                scopes.join(" ")
            ),
            Refusal::Negative(resources) => {
                write!(
                    f,
                    "quota usage is negative for resource(s): {}",
                    resources.join(",")
                )
            }
            Refusal::Exceeded {
                quota,
                requested,
                used,
                hard,
            } => write!(
                f,
                "exceeded quota: {quota}, requested: {}, used: {}, limited: {}",
                show(requested),
                show(used),
                show(hard)
            ),
        }
    }
}

fn show(resources: &Resources) -> String {
    let parts: Vec<String> = resources
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    parts.join(",")
}

/// What has been used of each quota after the write: only those it changes, by their position.
///
/// `limited`: what may only be used where a quota bounds it.
pub fn charge(
    quotas: &[ResourceQuota],
    limited: &[Limited],
    attempt: &Attempt<'_>,
) -> Result<Vec<(usize, Resources)>, Refusal> {
    let concerned: Vec<(usize, Bounds)> = quotas
        .iter()
        .enumerate()
        .filter_map(|(index, quota)| Some((index, Bounds::of(quota, attempt)?)))
        .collect();
    for (_, bounds) in &concerned {
        bounds.complete(attempt)?;
    }
    let bounded = concerned.iter().flat_map(|(_, bounds)| &bounds.touched);
    cover(limited, attempt, bounded.map(String::as_str).collect(), quotas)?;
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let asked = usage(attempt.kind, attempt.new, attempt.now);
    let negative: Vec<String> = asked
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.clone())
        .collect();
    if !negative.is_empty() {
        return Err(Refusal::Negative(negative));
    }
    let before = attempt.old.map(|old| usage(attempt.kind, old, attempt.now));
    let mut charged = Vec::new();
    for (index, bounds) in concerned {
        let counted = before.as_ref().filter(|_| bounds.counted_before(attempt));
        let more: Resources = asked
            .iter()
            .map(|(name, amount)| {
                let had = counted
                    .and_then(|before| before.get(name))
                    .copied()
                    .unwrap_or_default();
                (name.clone(), amount.minus(had))
            })
            .filter(|(_, more)| !more.is_zero() && !more.is_negative())
            .collect();
        if let Some(used) = bounds.take(&more)? {
            charged.push((index, used));
        }
    }
    Ok(charged)
}

/// A quota that concerns an attempt.
struct Bounds<'q> {
    quota: &'q ResourceQuota,
    hard: Resources,
    used: Resources,
    /// Which of the bounds can be touched by this kind.
    touched: Vec<String>,
}

impl<'q> Bounds<'q> {
    fn of(quota: &'q ResourceQuota, attempt: &Attempt<'_>) -> Option<Bounds<'q>> {
        let status = quota.status.as_ref()?;
        let hard = amounts(status.hard.as_ref());
        let touched: Vec<String> = hard
            .keys()
            .filter(|name| concerns(attempt.kind, name))
            .cloned()
            .collect();
        let spec = quota.spec.clone().unwrap_or_default();
        let bounds = Bounds {
            quota,
            hard,
            used: amounts(status.used.as_ref()),
            touched,
        };
        (!bounds.touched.is_empty() && selects(&spec, attempt.kind, attempt.new)).then_some(bounds)
    }

    fn name(&self) -> String {
        self.quota.metadata.name.clone().unwrap_or_default()
    }

    fn complete(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        let missing = unspecified(&self.touched, attempt);
        if !missing.is_empty() {
            let quota = self.name();
            return Err(Refusal::Unspecified { quota, missing });
        }
        let uncounted = |name: &&String| !self.used.contains_key(*name);
        if self.touched.iter().any(|name| uncounted(&name)) {
            return Err(Refusal::Unknown {
                quota: self.name(),
                resources: self.touched.clone(),
            });
        }
        Ok(())
    }

    /// Whether what the object used before is in the quota's count.
    fn counted_before(&self, attempt: &Attempt<'_>) -> bool {
        let spec = self.quota.spec.clone().unwrap_or_default();
        attempt.old.is_some_and(|old| selects(&spec, attempt.kind, old))
    }

    fn take(&self, more: &Resources) -> Result<Option<Resources>, Refusal> {
        let wanted: Resources = more
            .iter()
            .filter(|(name, _)| self.hard.contains_key(*name))
            .map(|(name, amount)| (name.clone(), *amount))
            .collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut used = self.used.clone();
        let mut exceeded = BTreeSet::new();
        for (name, amount) in &wanted {
            let total = self.used.get(name).copied().unwrap_or_default().plus(*amount);
            if total > self.hard.get(name).copied().unwrap_or_default() {
                exceeded.insert(name);
            }
            used.insert(name.clone(), total);
        }
        if exceeded.is_empty() {
            return Ok(Some(used));
        }
        let only = |all: &Resources| -> Resources {
            let of = |name: &&String| ((*name).clone(), all.get(*name).copied().unwrap_or(Amount::ZERO));
            exceeded.iter().map(of).collect()
        };
        Err(Refusal::Exceeded {
            quota: self.name(),
            requested: only(&wanted),
            used: only(&self.used),
            hard: only(&self.hard),
        })
    }
}

/// Where cpu or memory is bounded, every container has to say how much it wants: what it doesn't say can't be counted.
fn unspecified(touched: &[String], attempt: &Attempt<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let must_be_said = |name: &&String| {
        let bare = name
            .strip_prefix("requests.")
            .or(name.strip_prefix("limits."))
            .unwrap_or(name);
        matches!(bare, "cpu" | "memory")
    };
    let required: Vec<&String> = touched.iter().filter(must_be_said).collect();
    if attempt.kind.measured() != Measured::Pods || required.is_empty() {
        return missing;
    }
    let Some(spec) = Pod::deserialize(attempt.new).ok().and_then(|pod| pod.spec) else {
        return missing;
    };
    let said = |resources: Option<&k8s_openapi::api::core::v1::ResourceRequirements>| {
        let requests = amounts(resources.and_then(|r| r.requests.as_ref()));
        let limits = amounts(resources.and_then(|r| r.limits.as_ref()));
        compute(&requests, &limits)
    };
    let mut by_pod = said(spec.resources.as_ref());
    by_pod.retain(|name, _| is_pod_level(name.rsplit('.').next().unwrap_or(name)));
    let containers = spec.containers.iter().chain(crate::pod::init_containers(&spec));
    for Container { name, resources, .. } in containers {
        let by_container = said(resources.as_ref());
        for resource in &required {
            if !by_container.contains_key(*resource) && !by_pod.contains_key(*resource) {
                missing
                    .entry((*resource).clone())
                    .or_default()
                    .insert(name.clone());
            }
        }
    }
    missing
}
