//! Rights that others know: SubjectAccessReviews to a webhook (`--authorization-webhook-config-file`).
use super::Attributes;
use super::conditions::{Conditions, Match};
use super::selected::Selected;
use crate::authn::{Recent, UserInfo, digest};
use crate::metrics::AuthorizationMetrics;
use crate::outbound::{Remote, RemoteError, ReviewVersion};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the webhook is, and how it is asked.
#[derive(Clone, Debug)]
pub struct AccessWebhookConfig {
    /// Under which it is counted.
    pub name: Arc<str>,
    /// A kubeconfig file.
    pub kubeconfig: PathBuf,
    pub version: ReviewVersion,
    /// How long it counts that something is allowed.
    pub allowed_ttl: Duration,
    /// How long it counts that something isn't.
    pub denied_ttl: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Nobody else is asked if there is none.
    pub fails_closed: bool,
    /// What it is asked about.
    pub conditions: Conditions,
}

impl AccessWebhookConfig {
    /// One that is asked about everything, in the times of the command line.
    pub fn new(kubeconfig: PathBuf, version: ReviewVersion) -> Self {
        Self {
            name: "webhook".into(),
            kubeconfig,
            version,
            allowed_ttl: Duration::from_secs(300),
            denied_ttl: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            fails_closed: false,
            conditions: Conditions::default(),
        }
    }
}

/// What the webhook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    Allow(Arc<str>),
    /// Nobody else is asked.
    Deny(Arc<str>),
    /// Others may allow it.
    None(Arc<str>),
    /// It is not known, and why.
    Failed(Arc<str>),
}

/// Decides by asking.
pub struct AccessWebhook {
    remote: Remote,
    config: AccessWebhookConfig,
    known: Recent<Opinion>,
}

impl AccessWebhook {
    /// # Errors
    /// The kubeconfig file cannot be used.
    pub fn new(config: AccessWebhookConfig) -> Result<Self, RemoteError> {
        Ok(Self {
            remote: Remote::from_kubeconfig(&config.kubeconfig)?.within(config.timeout),
            config,
            known: Recent::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn fails_closed(&self) -> bool {
        self.config.fails_closed
    }

    /// Whether it is to be asked.
    pub fn concerns(&self, user: &UserInfo, asked: &Attributes) -> Match {
        match self.config.conditions.is_empty() {
            true => Match::Asked,
            false => self.config.conditions.judge(&spec(user, asked)),
        }
    }

    /// What it said a moment ago.
    pub fn remembered(&self, user: &UserInfo, asked: &Attributes) -> Option<Opinion> {
        let key = digest(&spec(user, asked).to_string());
        self.known.get(&key, Instant::now())
    }

    /// What it says.
    pub async fn ask(&self, user: &UserInfo, asked: &Attributes, metrics: &AuthorizationMetrics) -> Opinion {
        let spec = spec(user, asked);
        let key = digest(&spec.to_string());
        let began = Instant::now();
        let answer = self.remote.ask(&review(self.config.version, spec)).await;
        let late = matches!(&answer, Err(unanswered) if unanswered.late);
        let answer = answer.map_err(|unanswered| unanswered.why);
        let answer = answer.and_then(|answer| read(&answer["status"]));
        let result = match &answer {
            Ok(_) => "success",
            Err(_) if late => "timeout",
            Err(_) => "error",
        };
        metrics.asked(&self.config.name, result, began.elapsed());
        match answer {
            Ok(opinion) => {
                let ttl = match opinion {
                    Opinion::Allow(_) => self.config.allowed_ttl,
                    _ => self.config.denied_ttl,
                };
                self.known.put(key, opinion.clone(), Instant::now() + ttl);
                opinion
            }
            Err(reason) => {
                tracing::warn!(
                    webhook = &*self.config.name,
                    reason,
                    "an authorization webhook does not answer"
                );
                if !self.config.fails_closed {
                    metrics.failed_open(&self.config.name, result);
                }
                Opinion::Failed(reason.into())
            }
        }
    }
}

/// The question, as `authorization.k8s.io/v1` has it.
fn spec(user: &UserInfo, asked: &Attributes) -> Value {
    let mut spec = json!({"user": user.name});
    if !user.groups.is_empty() {
        spec["groups"] = json!(user.groups);
    }
    if !user.uid.is_empty() {
        spec["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    let members: &[(&str, &str)] = if asked.is_resource {
        &[
            ("namespace", &asked.namespace),
            ("verb", &asked.verb),
            ("group", &asked.group),
            ("version", &asked.version),
            ("resource", &asked.resource),
            ("subresource", &asked.subresource),
            ("name", &asked.name),
        ]
    } else {
        &[("path", &asked.path), ("verb", &asked.verb)]
    };
    let given = members.iter().filter(|(_, value)| !value.is_empty());
    let given: Value = given
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let place = match asked.is_resource {
        true => "resourceAttributes",
        false => "nonResourceAttributes",
    };
    spec[place] = given;
    let selectors = [
        ("fieldSelector", asked.fields.as_ref().map(Selected::of_fields)),
        ("labelSelector", asked.labels.as_ref().map(Selected::of_labels)),
    ];
    for (member, requirements) in selectors {
        if let Some(requirements) = requirements.filter(|requirements| !requirements.is_empty()) {
            spec[place][member] = json!({"requirements": requirements});
        }
    }
    spec
}

fn review(version: ReviewVersion, mut spec: Value) -> Value {
    if version == ReviewVersion::V1Beta1
        && let Some(spec) = spec.as_object_mut()
        && let Some(groups) = spec.remove("groups")
    {
        spec.insert("group".to_owned(), groups);
    }
    json!({"kind": "SubjectAccessReview", "apiVersion": version.of("authorization.k8s.io"),
        "metadata": {}, "spec": spec, "status": {"allowed": false}})
}

fn read(status: &Value) -> Result<Opinion, String> {
    let reason: Arc<str> = status["reason"].as_str().unwrap_or_default().into();
    match (status["allowed"] == true, status["denied"] == true) {
        (true, true) => Err("webhook subject access review returned both allow and deny response".to_owned()),
        (true, false) => Ok(Opinion::Allow(reason)),
        (false, true) => Ok(Opinion::Deny(reason)),
        (false, false) => Ok(Opinion::None(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_upstreams() {
        let user = UserInfo::new("alice", ["devs"]);
        let asked = Attributes {
            is_resource: true,
            verb: "list".to_owned(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: "default".to_owned(),
            ..Attributes::default()
        };
        let expected = json!({"user": "alice", "groups": ["devs", "system:authenticated"],
            "resourceAttributes": {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"}});
        assert_eq!(spec(&user, &asked), expected);
        let older = review(ReviewVersion::V1Beta1, expected);
        assert_eq!(older["apiVersion"], "authorization.k8s.io/v1beta1");
        assert_eq!(
            (&older["spec"]["group"], &older["spec"]["groups"]),
            (&json!(["devs", "system:authenticated"]), &Value::Null)
        );
        let asked = Attributes {
            verb: "get".to_owned(),
            path: "/metrics".to_owned(),
            ..Attributes::default()
        };
        assert_eq!(
            spec(&user, &asked)["nonResourceAttributes"],
            json!({"path": "/metrics", "verb": "get"})
        );
    }

    #[test]
    fn saying_nothing_leaves_it_to_others() {
        for (status, expected) in [
            (
                json!({"allowed": true, "reason": "r"}),
                Ok(Opinion::Allow("r".into())),
            ),
            (
                json!({"allowed": false, "denied": true, "reason": "r"}),
                Ok(Opinion::Deny("r".into())),
            ),
            (json!({"allowed": false}), Ok(Opinion::None("".into()))),
            (Value::Null, Ok(Opinion::None("".into()))),
        ] {
            assert_eq!(read(&status), expected, "{status}");
        }
        assert!(read(&json!({"allowed": true, "denied": true})).is_err());
    }
}
