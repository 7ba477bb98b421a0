//! Configuration of EventRateLimit: how many events are taken, of all or of each.
use crate::settings::{self, Problems, Section, SettingsError};
use orlop_api::validation::FieldError;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const KIND: &str = "Configuration";
const GROUPS: &[(&str, &[&str])] = &[("eventratelimit.admission.k8s.io", &["v1alpha1"])];
const TYPES: &[&str] = &["Server", "Namespace", "User", "SourceAndObject"];
/// Keys that are remembered of a limit if nothing else is said; upstream's.
const KEYS_MAX: usize = 4096;

/// All limits; an event has to keep within each.
#[derive(Debug, Default)]
pub struct EventRates(Vec<Limit>);

/// One of them.
#[derive(Debug)]
pub struct Limit {
    /// `Server`, `Namespace`, `User` or `SourceAndObject`: whose events are counted together.
    pub sort: &'static str,
    per_second: f64,
    burst: f64,
    keys_max: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// What is left for one key.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl EventRates {
    pub(super) fn read(config: &Value) -> Result<Self, SettingsError> {
        settings::expect(config, KIND, GROUPS)?;
        let mut problems = Problems::default();
        let whole = Section::whole(config);
        whole.only(&["limits"], &mut problems);
        let entries = whole.list("limits", &mut problems);
        if entries.is_empty() {
            problems.add(FieldError::invalid("limits", "", "must not be empty"));
        }
        let mut limits = Vec::new();
        for entry in &entries {
            entry.only(&["type", "qps", "burst", "cacheSize"], &mut problems);
            let sort = entry.text("type", &mut problems);
            let Some(sort) = TYPES.iter().find(|known| **known == sort) else {
                problems.add(FieldError::not_supported(entry.at("type"), sort, TYPES));
                continue;
            };
            let mut positive = |member: &str| {
                let given = entry.number(member, &mut problems).unwrap_or(0);
                if given <= 0 {
                    problems.add(FieldError::invalid(entry.at(member), given, "must be positive"));
                }
                given as f64
            };
            let (per_second, burst) = (positive("qps"), positive("burst"));
            let keys = entry.number("cacheSize", &mut problems).unwrap_or(0);
            if keys < 0 {
                problems.add(FieldError::invalid(
                    entry.at("cacheSize"),
                    keys,
                    "must not be negative",
                ));
            }
            let keys = usize::try_from(keys).unwrap_or_default();
            limits.push(Limit {
                sort,
                per_second,
                burst,
                keys_max: if keys == 0 { KEYS_MAX } else { keys },
                buckets: Mutex::default(),
            });
        }
        problems.or(Self(limits))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts an event against every limit; answers those that it breaks, with its key there.
    pub fn broken(&self, key: impl Fn(&str) -> String, now: Instant) -> Vec<(&'static str, String)> {
        let each = self.0.iter().filter_map(|limit| {
            let key = key(limit.sort);
            (!limit.takes(&key, now)).then_some((limit.sort, key))
        });
        each.collect()
    }
}

impl Limit {
    fn takes(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= self.keys_max {
            // Who has been quiet for longest is nearest to a full bucket.
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                buckets.remove(&oldest);
            }
        }
        let full = Bucket {
            tokens: self.burst,
            at: now,
        };
        let bucket = buckets.entry(key.to_owned()).or_insert(full);
        let passed: Duration = now.saturating_duration_since(bucket.at);
        bucket.tokens = (bucket.tokens + passed.as_secs_f64() * self.per_second).min(self.burst);
        bucket.at = now;
        let takes = bucket.tokens >= 1.0;
        if takes {
            bucket.tokens -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_key_has_a_bucket_of_its_own_and_the_quietest_makes_room() {
        let config = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": KIND, "limits": [
            {"type": "Namespace", "qps": 1, "burst": 2, "cacheSize": 2}, {"type": "Server", "qps": 100, "burst": 5}]});
        let rates = EventRates::read(&config).unwrap();
        let began = Instant::now();
        let broken = |namespace: &str, seconds: u64| -> Vec<String> {
            let key = |sort: &str| match sort {
                "Namespace" => namespace.to_owned(),
                _ => String::new(),
            };
            let broken = rates.broken(key, began + Duration::from_secs(seconds));
            broken
                .into_iter()
                .map(|(sort, key)| format!("{sort} {key}"))
                .collect()
        };
        assert!(broken("a", 0).is_empty() && broken("a", 0).is_empty());
        assert_eq!(broken("a", 0), ["Namespace a"]);
        assert!(broken("b", 0).is_empty());
        assert!(broken("a", 1).is_empty(), "one came back");
        assert_eq!(broken("a", 1), ["Namespace a"]);
        // b makes room for c, and has a new bucket when it comes back.
        assert!(broken("c", 2).is_empty() && broken("b", 2).is_empty() && broken("b", 2).is_empty());
        assert_eq!(broken("b", 2), ["Namespace b"]);
        let told = EventRates::read(
            &json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": KIND,
            "limits": [{"type": "User", "qps": 0, "burst": 1}]}),
        );
        assert_eq!(
            told.unwrap_err().to_string(),
            "limits[0].qps: Invalid value: 0: must be positive"
        );
    }
}
