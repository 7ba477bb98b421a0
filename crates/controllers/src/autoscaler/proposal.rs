//! How many pods a metric asks for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;

use super::pods::{self, Part, Patience, PodMetrics, Used};

/// What a pod should use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// In percent of what it requests.
    Utilization(i32),
    /// In thousandths.
    Value(i64),
}

/// By how much use may miss its aim without anything being done.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// When more pods would be needed.
    pub up: f64,
    /// When fewer would do.
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What is known of a target's pods.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The pods.
    pub pods: &'a [core::Pod],
    /// What they use.
    pub metrics: &'a [PodMetrics],
    /// How many there are meant to be.
    pub replicas: i32,
}

/// What a metric comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// The pods that it asks for.
    pub replicas: i32,
    /// What pods use on average, in percent of their requests, if that was asked for.
    pub utilization: Option<i32>,
    /// What they use on average, in thousandths.
    pub average: i64,
}

/// The use of some pods held against the aim.
struct Measure {
    ratio: f64,
    utilization: Option<i32>,
    average: i64,
}

/// What each pod uses, held against an aim.
#[derive(Debug)]
pub struct Usage<'a> {
    /// The pods.
    pub pods: &'a [core::Pod],
    /// What those use that say so, by name.
    pub usage: BTreeMap<String, Used>,
    /// How many there are meant to be.
    pub replicas: i32,
    /// What of.
    pub part: Part<'a>,
    /// What a pod should use.
    pub aim: Aim,
}

/// What the pods' use of `part` asks for, or why that can't be said.
pub fn propose(
    known: Known<'_>,
    part: Part<'_>,
    aim: Aim,
    tolerance: Tolerance,
    patience: Patience,
    now: Timestamp,
) -> Result<Proposal, String> {
    let unknown = |why: &str| format!("unable to get metrics for resource {}: {why}", part.resource);
    if known.metrics.is_empty() {
        return Err(unknown("no metrics returned from resource metrics API"));
    }
    let usage = pods::usage(known.metrics, part);
    if usage.is_empty() && part.container.is_some() {
        return Err(unknown("no pod has such a container, or says what it uses"));
    }
    let usage = Usage {
        pods: known.pods,
        usage,
        replicas: known.replicas,
        part,
        aim,
    };
    usage.propose(tolerance, patience, now)
}

impl Usage<'_> {
    /// What it asks for, or why that can't be said.
    #[expect(clippy::cast_precision_loss, reason = "numbers of pods are small")]
    pub fn propose(
        self,
        tolerance: Tolerance,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Proposal, String> {
        let Self {
            pods: known,
            usage,
            replicas: current,
            part,
            aim,
        } = self;
        if known.is_empty() {
            return Err(NO_PODS.to_owned());
        }
        let sorted = pods::sort(known, &usage, part.resource, patience, now);
        let mut used: BTreeMap<String, i64> = usage
            .into_iter()
            .filter(|(name, _)| !sorted.ignored.contains(name) && !sorted.unready.contains(name))
            .map(|(name, used)| (name, used.milli))
            .collect();
        if used.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        let requests = match aim {
            Aim::Utilization(_) => pods::requests(known, part)?,
            Aim::Value(_) => BTreeMap::new(),
        };
        let first = measure(&used, &requests, aim)?;
        let of = |replicas: i32| Proposal {
            replicas,
            utilization: first.utilization,
            average: first.average,
        };
        let begins = !sorted.unready.is_empty() && first.ratio > 1.0;
        if !begins && sorted.missing.is_empty() {
            return Ok(of(match tolerance.covers(first.ratio) {
                true => current,
                false => times(first.ratio, sorted.ready as f64),
            }));
        }
        // Of whom nothing is known is taken to be in favour of leaving things as they are.
        for name in &sorted.missing {
            let assumed = match aim {
                Aim::Utilization(percent) if first.utilization == Some(percent) => continue,
                _ if first.ratio >= 1.0 => 0,
                Aim::Utilization(percent) => {
                    requests
                        .get(name)
                        .copied()
                        .unwrap_or(0)
                        .saturating_mul(percent.max(100).into())
                        / 100
                }
                Aim::Value(value) => value,
            };
            used.insert(name.clone(), assumed);
        }
        if begins {
            used.extend(sorted.unready.iter().map(|name| (name.clone(), 0)));
        }
        let second = measure(&used, &requests, aim)?.ratio;
        let turned = (first.ratio < 1.0 && second > 1.0) || (first.ratio > 1.0 && second < 1.0);
        if tolerance.covers(second) || turned {
            return Ok(of(current));
        }
        let replicas = times(second, used.len() as f64);
        let backwards = (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current);
        Ok(of(if backwards { current } else { replicas }))
    }
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";

/// One number for all pods, and what it should be, both in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// The number.
    pub milli: i64,
    /// What it should be.
    pub aim: i64,
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more precision")]
impl Whole {
    /// The pods that it asks for if it falls as pods are added: so many times those that are ready.
    pub fn by_ratio(self, current: i32, pods: &[core::Pod], tolerance: Tolerance) -> Result<i32, String> {
        let ratio = self.milli as f64 / self.aim as f64;
        if current == 0 {
            return Ok(times(ratio, 1.0));
        }
        if tolerance.covers(ratio) {
            return Ok(current);
        }
        if pods.is_empty() {
            return Err(format!("unable to calculate ready pods: {NO_PODS}"));
        }
        let ready = pods.iter().filter(|pod| pods::is_at_work(pod)).count();
        Ok(times(ratio, ready as f64))
    }

    /// The pods that it asks for if each can do a share of it, and what share each of the `current` ones has.
    pub fn by_share(self, current: i32, tolerance: Tolerance) -> (i32, i64) {
        let ratio = self.milli as f64 / (self.aim as f64 * f64::from(current));
        let replicas = match tolerance.covers(ratio) {
            true => current,
            false => times(self.milli as f64 / self.aim as f64, 1.0),
        };
        let share = match current {
            0 => 0,
            pods => self.milli.div_euclid(pods.into()) + i64::from(self.milli.rem_euclid(pods.into()) > 0),
        };
        (replicas, share)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float out of range becomes the nearest number"
)]
fn times(ratio: f64, pods: f64) -> i32 {
    (ratio * pods).ceil() as i32
}

/// What add-ons measure may be any number.
fn sum(of: impl Iterator<Item = i64>) -> i64 {
    of.fold(0, i64::saturating_add)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more precision")]
fn measure(
    used: &BTreeMap<String, i64>,
    requests: &BTreeMap<String, i64>,
    aim: Aim,
) -> Result<Measure, String> {
    let average =
        |sum: i64, count: usize| i64::try_from(count).map_or(0, |count| sum.checked_div(count).unwrap_or(0));
    match aim {
        Aim::Value(value) => {
            let average = average(sum(used.values().copied()), used.len());
            Ok(Measure {
                ratio: average as f64 / value.max(1) as f64,
                utilization: None,
                average,
            })
        }
        Aim::Utilization(percent) => {
            let both = || {
                used.iter()
                    .filter_map(|(name, used)| Some((*used, *requests.get(name)?)))
            };
            let used = sum(both().map(|(used, _)| used));
            let requested = sum(both().map(|(_, requested)| requested));
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let utilization = i32::try_from(used.saturating_mul(100) / requested).unwrap_or(i32::MAX);
            Ok(Measure {
                ratio: f64::from(utilization) / f64::from(percent.max(1)),
                utilization: Some(utilization),
                average: average(used, both().count()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pods::tests::{CPU, PATIENCE, metrics, pod};
    use super::*;
    use crate::owned::testing::now;
    use serde_json::{Value, json};

    const TOLERANCE: Tolerance = Tolerance { up: 0.1, down: 0.1 };

    /// What pods that request 100m each ask for, by what they use; without use nothing is known of a pod.
    fn asked(aim: Aim, pods: &[(&str, Value)]) -> Result<Proposal, String> {
        let used: Vec<(String, String)> = pods
            .iter()
            .enumerate()
            .filter(|(_, (cpu, _))| !cpu.is_empty())
            .map(|(number, (cpu, _))| (format!("p{number}"), (*cpu).to_owned()))
            .collect();
        let used: Vec<(&str, &str)> = used.iter().map(|(name, cpu)| (&**name, &**cpu)).collect();
        let objects: Vec<core::Pod> = pods
            .iter()
            .enumerate()
            .map(|(number, (_, more))| pod(&format!("p{number}"), more.clone()))
            .collect();
        let known = Known {
            pods: &objects,
            metrics: &metrics(&used),
            replicas: i32::try_from(pods.len()).unwrap(),
        };
        propose(known, CPU, aim, TOLERANCE, PATIENCE, now())
    }

    fn plain(cpu: &str) -> (&str, Value) {
        (cpu, json!({}))
    }

    #[test]
    fn use_is_held_against_what_is_requested_or_against_a_value() {
        let replicas = |aim, pods: &[(&str, Value)]| asked(aim, pods).unwrap().replicas;
        let (half, value) = (Aim::Utilization(50), Aim::Value(50));
        for aim in [half, value] {
            assert_eq!(replicas(aim, &[plain("50m"), plain("50m")]), 2, "{aim:?}");
            assert_eq!(replicas(aim, &[plain("52m"), plain("56m")]), 2, "it is tolerated");
            assert_eq!(replicas(aim, &[plain("100m"), plain("60m")]), 4);
            assert_eq!(replicas(aim, &[plain("20m"), plain("30m"), plain("20m")]), 2);
        }
        let told = asked(half, &[plain("100m"), plain("60m")]).unwrap();
        assert_eq!((told.utilization, told.average), (Some(80), 80));
        assert_eq!(asked(value, &[plain("9m")]).unwrap().utilization, None);
        let endless = asked(value, &[plain("9E"), plain("9E")]).unwrap();
        assert_eq!(endless.replicas, i32::MAX, "sums end at the largest number");
    }

    #[test]
    fn who_says_nothing_speaks_for_leaving_things_as_they_are() {
        let replicas = |pods: &[(&str, Value)]| asked(Aim::Utilization(50), pods).unwrap().replicas;
        let pending = || ("", json!({"status": {"phase": "Pending"}}));
        assert_eq!(
            replicas(&[plain("100m"), plain("100m"), plain("")]),
            4,
            "nothing used there"
        );
        assert_eq!(replicas(&[plain("60m"), plain("")]), 2, "it would turn around");
        let on_target = [plain("50m"), plain("50m"), plain(""), plain("")];
        assert_eq!(replicas(&on_target), 4, "nothing is to be done");
        assert_eq!(
            replicas(&[plain("10m"), plain("10m"), plain("")]),
            3,
            "all used there"
        );
        assert_eq!(replicas(&[plain("100m"), plain("100m"), pending()]), 4);
        assert_eq!(replicas(&[plain("10m"), plain("10m"), pending()]), 1);
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        let error = |pods: &[(&str, Value)]| asked(Aim::Utilization(50), pods).unwrap_err();
        assert_eq!(
            error(&[]),
            "unable to get metrics for resource cpu: no metrics returned from resource metrics API"
        );
        let silent = json!({"spec": {"containers": [{"name": "c"}]}});
        assert_eq!(
            error(&[("10m", silent)]),
            "missing request for cpu in container c of Pod p0"
        );
        let pending = json!({"status": {"phase": "Pending"}});
        assert_eq!(
            error(&[("10m", pending)]),
            "did not receive metrics for targeted pods (pods might be unready)"
        );
    }
}
