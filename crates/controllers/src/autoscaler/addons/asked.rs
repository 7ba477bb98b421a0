//! What add-ons are asked, and what they answer.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use orlop_api::percent::escape;
use orlop_api::quantity::{Amount, parse};
use orlop_api::selector::LabelSelector;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::pods::Used;
use super::super::target;

pub(super) const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io/v1beta1";
/// The versions that are understood, the best first.
const CUSTOM_VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

/// A metric that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) client: &'a kube::Client,
    pub(super) namespace: &'a str,
    pub(super) metric: &'a MetricIdentifier,
}

#[derive(Deserialize)]
struct List<M> {
    items: Vec<M>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    described_object: Named,
    value: String,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct MeasuredElsewhere {
    value: String,
}

fn milli(value: &str) -> i64 {
    parse(value).map_or(0, Amount::milli_value)
}

impl Asked<'_> {
    /// What each of the pods measures, by name.
    pub(super) async fn of_pods(self, selector: &str) -> Result<BTreeMap<String, Used>, String> {
        let path = format!("namespaces/{}/pods/*/{}", self.namespace, self.name());
        let items = self.custom(&path, Some(selector)).await?;
        if items.is_empty() {
            return Err("no metrics returned from custom metrics API".to_owned());
        }
        let used = |item: &Measured| {
            (
                item.described_object.name.clone(),
                Used::plain(milli(&item.value)),
            )
        };
        Ok(items.iter().map(used).collect())
    }

    /// What the object measures, in thousandths.
    pub(super) async fn of_object(self, object: &CrossVersionObjectReference) -> Result<i64, String> {
        let (namespace, metric) = (self.namespace, self.name());
        let is_core = object
            .api_version
            .as_deref()
            .is_none_or(|version| !version.contains('/'));
        let path = if object.kind == "Namespace" && is_core {
            format!("namespaces/{namespace}/metrics/{metric}")
        } else {
            let found = target::resource(self.client, object).await?;
            let resource = match found.group.as_str() {
                "" => found.plural,
                group => format!("{}.{group}", found.plural),
            };
            let name = escape(&object.name);
            format!("namespaces/{namespace}/{resource}/{name}/{metric}")
        };
        let items = self.custom(&path, None).await?;
        match items.as_slice() {
            [one] => Ok(milli(&one.value)),
            several => Err(format!(
                "unable to fetch metrics from custom metrics API: the custom metrics API server returned {} results when \
                 we asked for exactly one",
                several.len()
            )),
        }
    }

    /// The sum of what is measured elsewhere, in thousandths.
    pub(super) async fn external(self) -> Result<i64, String> {
        let failed = |why| format!("unable to fetch metrics from external metrics API: {why}");
        let selector = self.selector()?;
        let (namespace, name) = (self.namespace, self.name());
        let query = query([("labelSelector", selector.as_str())]);
        let path = format!("/apis/{EXTERNAL}/namespaces/{namespace}/{name}{query}");
        let list: List<MeasuredElsewhere> = self.get(&path).await.map_err(failed)?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        let values = list.items.iter().map(|item| milli(&item.value));
        Ok(values.fold(0, i64::saturating_add))
    }

    /// The metric, as a part of an address.
    fn name(self) -> String {
        escape(&self.metric.name)
    }

    /// Which of the series of that name are meant.
    fn selector(self) -> Result<String, String> {
        let Some(selector) = &self.metric.selector else {
            return Ok(String::new());
        };
        let selector = LabelSelector::from_meta(selector).map_err(|error| error.to_string())?;
        Ok(selector.to_string())
    }

    async fn custom(self, path: &str, pods: Option<&str>) -> Result<Vec<Measured>, String> {
        let failed = |why| format!("unable to fetch metrics from custom metrics API: {why}");
        let version = self.custom_version().await.map_err(failed)?;
        let metrics = self.selector()?;
        let query = query([
            ("labelSelector", pods.unwrap_or_default()),
            ("metricLabelSelector", metrics.as_str()),
        ]);
        let path = format!("/apis/{CUSTOM}/{version}/{path}{query}");
        let list: List<Measured> = self.get(&path).await.map_err(failed)?;
        Ok(list.items)
    }

    async fn custom_version(self) -> Result<&'static str, String> {
        let unserved = || format!("no custom metrics API ({CUSTOM}) registered");
        let group: APIGroup = match self.get(&format!("/apis/{CUSTOM}")).await {
            Err(_) => return Err(unserved()),
            Ok(group) => group,
        };
        let is_served = |version: &&str| group.versions.iter().any(|served| served.version == **version);
        CUSTOM_VERSIONS
            .into_iter()
            .find(|version| is_served(version))
            .ok_or_else(unserved)
    }

    async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, String> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| orlop_client::message(&error))
    }
}

/// The parameters that aren't empty, as the end of an address.
fn query<const N: usize>(parameters: [(&str, &str); N]) -> String {
    let mut text = String::new();
    for (name, value) in parameters.into_iter().filter(|(_, value)| !value.is_empty()) {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&escape(value));
    }
    text
}
