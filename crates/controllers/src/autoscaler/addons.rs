//! Metrics that come from add-ons: `custom.metrics.k8s.io` measures pods and other objects, `external.metrics.k8s.io`
//! what isn't in the cluster at all. Both are served by others, behind APIServices.

mod asked;

use std::fmt::Write;

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ObjectMetricStatus, PodsMetricStatus,
};
use k8s_openapi::api::core::v1 as core;
use orlop_api::quantity::{Amount, amount};

use super::pods::{Part, Patience};
use super::proposal::{Aim, Tolerance, Usage, Whole};
use super::source::{Answer, Unreadable};
use asked::Asked;

/// A metric that comes from an add-on.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// Measured in each pod.
    Pods,
    /// Measured in one object.
    Object(&'a CrossVersionObjectReference),
    /// Measured elsewhere.
    External,
}

/// The metric, and what it should be.
#[derive(Debug, Clone, Copy)]
pub struct Foreign<'a> {
    source: Source<'a>,
    metric: &'a MetricIdentifier,
    target: &'a MetricTarget,
}

/// The target's pods, as far as such metrics go by them.
#[derive(Debug, Clone, Copy)]
pub struct Scaled<'a> {
    /// Where all of it is.
    pub namespace: &'a str,
    /// Which pods are meant.
    pub selector: &'a str,
    /// They.
    pub pods: &'a [core::Pod],
    /// How many there are meant to be.
    pub wanted: i32,
    /// How many there are.
    pub there: i32,
}

/// How much is made of what is seen.
#[derive(Debug, Clone, Copy)]
pub struct Judgement {
    /// By how much it may miss its aim.
    pub tolerance: Tolerance,
    /// How long pods begin.
    pub patience: Patience,
    /// Now.
    pub now: jiff::Timestamp,
}

impl<'a> Foreign<'a> {
    /// `None` for metrics of pods' resources.
    pub fn of(spec: &'a MetricSpec) -> Option<Self> {
        let (source, metric, target) = match spec.type_.as_str() {
            "Pods" => {
                let spec = spec.pods.as_ref()?;
                (Source::Pods, &spec.metric, &spec.target)
            }
            "Object" => {
                let spec = spec.object.as_ref()?;
                (Source::Object(&spec.described_object), &spec.metric, &spec.target)
            }
            "External" => {
                let spec = spec.external.as_ref()?;
                (Source::External, &spec.metric, &spec.target)
            }
            _ => return None,
        };
        Some(Self {
            source,
            metric,
            target,
        })
    }

    /// Asks for the metric, and holds it against its aim.
    pub async fn ask(
        self,
        client: &kube::Client,
        scaled: Scaled<'_>,
        judgement: Judgement,
    ) -> Result<Answer, Unreadable> {
        let asked = Asked {
            client,
            namespace: scaled.namespace,
            metric: self.metric,
        };
        let answer = match self.source {
            Source::Pods => self.ask_pods(asked, scaled, judgement).await,
            Source::Object(object) => {
                let milli = asked.of_object(object).await;
                let milli = milli.map_err(|why| {
                    let (name, namespace) = (&self.metric.name, scaled.namespace);
                    format!(
                        "unable to get metric {name}: {} on {namespace} {}/{why}",
                        object.kind, object.name
                    )
                });
                milli.and_then(|milli| self.whole(milli, scaled, judgement.tolerance))
            }
            Source::External => {
                let milli = asked.external().await;
                let milli = milli.map_err(|why| {
                    let (name, selector) = (&self.metric.name, shown(self.metric));
                    format!(
                        "unable to get external metric {}/{name}/{selector}: {why}",
                        scaled.namespace
                    )
                });
                milli.and_then(|milli| self.whole(milli, scaled, judgement.tolerance))
            }
        };
        answer.map_err(|why| self.unreadable(why))
    }

    async fn ask_pods(
        self,
        asked: Asked<'_>,
        scaled: Scaled<'_>,
        judgement: Judgement,
    ) -> Result<Answer, String> {
        let aim = self
            .target
            .average_value
            .as_ref()
            .map_or(0, |value| amount(value).milli_value());
        let usage = asked.of_pods(scaled.selector).await;
        let usage = usage.map_err(|why| format!("unable to get metric {}: {why}", self.metric.name))?;
        let usage = Usage {
            pods: scaled.pods,
            usage,
            replicas: scaled.wanted,
            part: Part {
                resource: "",
                container: None,
            },
            aim: Aim::Value(aim),
        };
        let proposal = usage.propose(judgement.tolerance, judgement.patience, judgement.now)?;
        Ok(Answer {
            replicas: proposal.replicas,
            name: format!("pods metric {}", self.metric.name),
            status: self.status(average(proposal.average)),
        })
    }

    /// Holds one number for all pods against its aim.
    fn whole(self, milli: i64, scaled: Scaled<'_>, tolerance: Tolerance) -> Result<Answer, String> {
        let name = &self.metric.name;
        let external = || format!("external metric {name}({})", shown(self.metric));
        // The kind of the aim decides where both could be given.
        let (value, share) = match self.source {
            Source::Object(_) => {
                let is = |kind| self.target.type_ == kind;
                (
                    self.target.value.as_ref().filter(|_| is("Value")),
                    self.target.average_value.as_ref().filter(|_| is("AverageValue")),
                )
            }
            _ => (self.target.value.as_ref(), self.target.average_value.as_ref()),
        };
        match (value, share) {
            (_, Some(share)) => {
                let whole = Whole {
                    milli,
                    aim: amount(share).milli_value(),
                };
                let (replicas, each) = whole.by_share(scaled.there, tolerance);
                Ok(Answer {
                    replicas,
                    name: external(),
                    status: self.status(average(each)),
                })
            }
            (Some(value), None) => {
                let whole = Whole {
                    milli,
                    aim: amount(value).milli_value(),
                };
                let replicas = whole.by_ratio(scaled.wanted, scaled.pods, tolerance)?;
                let name = match self.source {
                    Source::Object(object) => format!("{} metric {name}", object.kind),
                    _ => external(),
                };
                let current = MetricValueStatus {
                    value: Some(Amount::from_milli(milli).to_quantity()),
                    ..MetricValueStatus::default()
                };
                Ok(Answer {
                    replicas,
                    name,
                    status: self.status(current),
                })
            }
            (None, None) => Err(format!(
                "invalid {} metric source: neither a value target nor an average value target was set",
                self.kind()
            )),
        }
    }

    fn kind(self) -> &'static str {
        match self.source {
            Source::Pods => "pods",
            Source::Object(_) => "object",
            Source::External => "external",
        }
    }

    fn unreadable(self, why: String) -> Unreadable {
        let name = &self.metric.name;
        let (reason, wrapped) = match self.source {
            Source::Pods => (
                "FailedGetPodsMetric",
                format!("failed to get pods metric value: {why}"),
            ),
            Source::Object(_) => (
                "FailedGetObjectMetric",
                format!("failed to get object metric value: {why}"),
            ),
            Source::External => (
                "FailedGetExternalMetric",
                format!(
                    "failed to get {name} external metric value: failed to get {name} external metric: {why}"
                ),
            ),
        };
        Unreadable { reason, why, wrapped }
    }

    fn status(self, current: MetricValueStatus) -> MetricStatus {
        let metric = self.metric.clone();
        match self.source {
            Source::Pods => MetricStatus {
                type_: "Pods".to_owned(),
                pods: Some(PodsMetricStatus { current, metric }),
                ..MetricStatus::default()
            },
            Source::Object(object) => MetricStatus {
                type_: "Object".to_owned(),
                object: Some(ObjectMetricStatus {
                    current,
                    described_object: object.clone(),
                    metric,
                }),
                ..MetricStatus::default()
            },
            Source::External => MetricStatus {
                type_: "External".to_owned(),
                external: Some(ExternalMetricStatus { current, metric }),
                ..MetricStatus::default()
            },
        }
    }
}

fn average(milli: i64) -> MetricValueStatus {
    MetricValueStatus {
        average_value: Some(Amount::from_milli(milli).to_quantity()),
        ..MetricValueStatus::default()
    }
}

/// A metric's selector as events show it.
fn shown(metric: &MetricIdentifier) -> String {
    let Some(selector) = &metric.selector else {
        return "nil".to_owned();
    };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(text, "{key}: {value},");
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for wanted in selector.match_expressions.iter().flatten() {
        let values = wanted.values.clone().unwrap_or_default().join(" ");
        let (key, operator) = (&wanted.key, &wanted.operator);
        let _ = write!(
            text,
            "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},"
        );
    }
    text.push_str("},}");
    text
}

#[cfg(test)]
mod tests {
    use super::super::pods::tests::{PATIENCE, pod};
    use super::asked::CUSTOM;
    use super::*;
    use crate::owned::testing::now;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::convert::Infallible;

    /// Says the same number whatever is asked, under any name, and where it was asked.
    fn client(values: Vec<&'static str>, asked: tokio::sync::mpsc::UnboundedSender<String>) -> kube::Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().to_string();
            let answer = match path.as_str() {
                "/apis/custom.metrics.k8s.io" => json!({"name": CUSTOM, "versions": [
                    {"groupVersion": "custom.metrics.k8s.io/v1beta1", "version": "v1beta1"},
                    {"groupVersion": "custom.metrics.k8s.io/v1beta2", "version": "v1beta2"}]}),
                _ => {
                    asked.send(path).unwrap();
                    let item = |(number, value): (usize, &&str)| json!({"describedObject": {"name": format!("p{number}")}, "value": value});
                    json!({"items": values.iter().enumerate().map(item).collect::<Vec<_>>()})
                }
            };
            async move { Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes()))) }
        });
        kube::Client::new(service, "default")
    }

    /// What a metric that measures `values` comes to with two pods, and where that was asked.
    async fn asked(spec: Value, values: Vec<&'static str>) -> (Result<Answer, Unreadable>, Vec<String>) {
        let spec: MetricSpec = serde_json::from_value(spec).unwrap();
        let (sender, mut paths) = tokio::sync::mpsc::unbounded_channel();
        let ready =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let pods = [pod("p0", ready.clone()), pod("p1", ready)];
        let scaled = Scaled {
            namespace: "ns",
            selector: "app=web",
            pods: &pods,
            wanted: 2,
            there: 2,
        };
        let judgement = Judgement {
            tolerance: Tolerance { up: 0.1, down: 0.1 },
            patience: PATIENCE,
            now: now(),
        };
        let answer = Foreign::of(&spec)
            .unwrap()
            .ask(&client(values, sender), scaled, judgement)
            .await;
        let mut all = Vec::new();
        while let Ok(path) = paths.try_recv() {
            all.push(path);
        }
        (answer, all)
    }

    #[tokio::test]
    async fn pods_are_asked_for_what_each_measures() {
        let spec = json!({"type": "Pods", "pods": {"metric": {"name": "hits",
            "selector": {"matchLabels": {"verb": "GET"}}}, "target": {"type": "AverageValue", "averageValue": "10"}}});
        let (answer, paths) = asked(spec.clone(), vec!["30", "10"]).await;
        let answer = answer.unwrap();
        assert_eq!((answer.replicas, answer.name.as_str()), (4, "pods metric hits"));
        let status = serde_json::to_value(&answer.status).unwrap();
        assert_eq!(status["pods"]["current"]["averageValue"], "20");
        assert_eq!(
            paths,
            [
                "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/hits?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET"
            ]
        );
        let (answer, _) = asked(spec, Vec::new()).await;
        let error = answer.unwrap_err();
        assert_eq!(error.reason, "FailedGetPodsMetric");
        assert_eq!(
            error.wrapped,
            "failed to get pods metric value: unable to get metric hits: no metrics returned from custom metrics API"
        );
    }

    #[tokio::test]
    async fn names_are_single_parts_of_what_is_asked_for() {
        let metric = json!({"name": "a/b?c"});
        let target = json!({"type": "AverageValue", "averageValue": "10"});
        let object = json!({"kind": "Deployment", "apiVersion": "apps/v1", "name": "d%/"});
        let custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns";
        for (spec, wanted) in [
            (
                json!({"type": "Pods", "pods": {"metric": metric, "target": target}}),
                format!("{custom}/pods/*/a%2Fb%3Fc?labelSelector=app%3Dweb"),
            ),
            (
                json!({"type": "Object", "object": {"metric": metric, "target": target, "describedObject": object}}),
                format!("{custom}/deployments.apps/d%25%2F/a%2Fb%3Fc"),
            ),
            (
                json!({"type": "External", "external": {"metric": metric, "target": target}}),
                "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/a%2Fb%3Fc".to_owned(),
            ),
        ] {
            assert_eq!(asked(spec, vec!["1"]).await.1, [wanted]);
        }
    }

    #[tokio::test]
    async fn an_object_is_asked_for_one_number_that_counts_as_a_whole_or_for_each_pod() {
        let spec = |kind: &str, version: &str, target: Value| {
            json!({"type": "Object", "object": {"metric": {"name": "hits"}, "target": target,
                "describedObject": {"kind": kind, "apiVersion": version, "name": "web"}}})
        };
        let value = json!({"type": "Value", "value": "10"});
        let (answer, paths) = asked(spec("Deployment", "apps/v1", value.clone()), vec!["25"]).await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.replicas, answer.name.as_str()),
            (5, "Deployment metric hits")
        );
        assert_eq!(
            paths,
            ["/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/deployments.apps/web/hits"]
        );
        let share = json!({"type": "AverageValue", "averageValue": "10"});
        let (answer, paths) = asked(spec("Namespace", "v1", share), vec!["45"]).await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.replicas, answer.name.as_str()),
            (5, "external metric hits(nil)")
        );
        let status = serde_json::to_value(&answer.status).unwrap();
        assert_eq!(status["object"]["current"]["averageValue"], "22500m");
        assert_eq!(
            paths,
            ["/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/metrics/hits"]
        );
        let (answer, _) = asked(spec("Deployment", "apps/v1", value), vec!["1", "2"]).await;
        assert_eq!(answer.unwrap_err().reason, "FailedGetObjectMetric");
    }

    #[tokio::test]
    async fn what_is_measured_elsewhere_is_summed_up() {
        let spec = |target: Value| {
            json!({"type": "External", "external": {"metric": {"name": "queue",
                "selector": {"matchExpressions": [{"key": "q", "operator": "In", "values": ["a", "b"]}]}}, "target": target}})
        };
        let (answer, paths) = asked(spec(json!({"type": "Value", "value": "10"})), vec!["12", "13"]).await;
        let answer = answer.unwrap();
        assert_eq!(answer.replicas, 5);
        assert_eq!(
            answer.name,
            "external metric queue(&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:\
             []LabelSelectorRequirement{LabelSelectorRequirement{Key:q,Operator:In,Values:[a b],},},})"
        );
        assert_eq!(
            paths,
            ["/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue?labelSelector=q%20in%20%28a%2Cb%29"]
        );
        let share = json!({"type": "AverageValue", "averageValue": "5"});
        assert_eq!(
            asked(spec(share.clone()), vec!["12", "13"])
                .await
                .0
                .unwrap()
                .replicas,
            5
        );
        let error = asked(spec(share), Vec::new()).await.0.unwrap_err();
        assert!(
            error
                .why
                .ends_with("no metrics returned from external metrics API"),
            "{}",
            error.why
        );
    }
}
