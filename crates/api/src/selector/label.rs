//! A label selector that has been read: a conjunction of requirements.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::SelectorError;
use crate::names;

/// What has labels.
pub trait Labels {
    /// The value of one.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: Labels + ?Sized> Labels for Arc<L> {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// Whether all of `wanted` are among the labels: what a selector means that is a map, as `spec.selector` of a Service. Of
/// nothing wanted, every object has all.
pub fn have_all(labels: &(impl Labels + ?Sized), wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.label(key) == Some(value.as_str()))
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    /// `=` and `==`
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

impl Requirement {
    /// Does the label set satisfy it? Negative operators hold for an absent label.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let label = labels.label(&self.key);
        let is_listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::In | Operator::Equals => label.is_some_and(is_listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(is_listed),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |s: Option<&str>| s.and_then(|s| s.parse::<i64>().ok());
                match (number(label), number(self.values.first().map(String::as_str))) {
                    (Some(have), Some(want)) if self.operator == Operator::GreaterThan => have > want,
                    (Some(have), Some(want)) => have < want,
                    _ => false,
                }
            }
        }
    }
}

/// All requirements must hold; none at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing (the meaning of an absent object-form selector).
    pub fn nothing() -> Self {
        LabelSelector {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    pub(super) fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        LabelSelector {
            requirements,
            nothing: false,
        }
    }

    /// True if it has no requirement, so that every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Reads the query form: `a=b,c in (x,y),!d,e>5`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        super::label_parse::parse(text)
    }

    /// Reads the object form; what cannot be any label's selects nothing, but is an error. Validation
    /// (`validation::label_selector`) tells where.
    pub fn from_meta(selector: &meta::LabelSelector) -> Result<Self, SelectorError> {
        let check = |problem: Option<String>| problem.map_or(Ok(()), |problem| Err(SelectorError(problem)));
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            check(key_problem(key, "key"))?;
            check(value_problem(key, 0, value))?;
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: vec![value.clone()],
            });
        }
        for r in selector.match_expressions.iter().flatten() {
            let values = r.values.clone().unwrap_or_default();
            let operator = match r.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            check(key_problem(&r.key, "key"))?;
            match operator {
                Operator::In | Operator::NotIn if values.is_empty() => {
                    return Err(SelectorError(
                        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                            .into(),
                    ));
                }
                Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                    return Err(SelectorError(
                        "values: Invalid value: values set must be empty for exists and does not exist"
                            .into(),
                    ));
                }
                _ => {}
            }
            for (at, value) in values.iter().enumerate() {
                check(value_problem(&r.key, at, value))?;
            }
            requirements.push(Requirement {
                key: r.key.clone(),
                operator,
                values,
            });
        }
        Ok(Self::of(requirements))
    }

    /// Does a label set satisfy every requirement?
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// As [`Self::matches`], for metadata that may have no labels.
    pub fn matches_meta(&self, metadata: &meta::ObjectMeta) -> bool {
        match &metadata.labels {
            Some(labels) => self.matches(labels),
            None => self.matches(&BTreeMap::<String, String>::new()),
        }
    }
}

/// What is wrong with a label's key, at `field`.
pub(super) fn key_problem(key: &str, field: &str) -> Option<String> {
    let problems = names::check_qualified_name(key);
    let told = || {
        format!(
            "{field}: Invalid value: {}: {}",
            names::quoted(key),
            problems.join("; ")
        )
    };
    (!problems.is_empty()).then(told)
}

/// What is wrong with the label's value of that number.
pub(super) fn value_problem(key: &str, at: usize, value: &str) -> Option<String> {
    let problems = names::check_label_value(value);
    let told = || {
        let (value, problems) = (names::quoted(value), problems.join("; "));
        format!("values[{at}][{key}]: Invalid value: {value}: {problems}")
    };
    (!problems.is_empty()).then(told)
}

impl fmt::Display for LabelSelector {
    /// The query form; parses back to the same selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let first = r.values.first().map_or("", String::as_str);
            let mut sorted = r.values.clone();
            sorted.sort();
            let list = sorted.join(",");
            match r.operator {
                Operator::Exists => write!(f, "{}", r.key)?,
                Operator::DoesNotExist => write!(f, "!{}", r.key)?,
                Operator::Equals => write!(f, "{}={first}", r.key)?,
                Operator::NotEquals => write!(f, "{}!={first}", r.key)?,
                Operator::GreaterThan => write!(f, "{}>{first}", r.key)?,
                Operator::LessThan => write!(f, "{}<{first}", r.key)?,
                Operator::In => write!(f, "{} in ({list})", r.key)?,
                Operator::NotIn => write!(f, "{} notin ({list})", r.key)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_map_selects_what_has_all_of_it() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        let labels = map(&[("a", "1"), ("b", "")]);
        assert!(have_all(&labels, &map(&[])));
        assert!(have_all(&labels, &map(&[("b", "")])));
        assert!(have_all(&Arc::new(labels.clone()), &labels));
        assert!(
            !have_all(&labels, &map(&[("a", "1"), ("b", "2")])),
            "another value"
        );
        assert!(
            !have_all(&labels, &map(&[("a", "1"), ("c", "")])),
            "empty is not absent"
        );
    }

    #[test]
    fn object_form() {
        let read = |v: serde_json::Value| LabelSelector::from_meta(&serde_json::from_value(v).unwrap());
        let labels: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
        for (value, want) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "1", "b": "1"}}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                false,
            ),
        ] {
            assert_eq!(read(value.clone()).unwrap().matches(&labels), want, "{value}");
        }
        let whole = json!({"matchLabels": {"b": "1", "a": ""}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["2", "1"]}, {"key": "a", "operator": "NotIn", "values": ["3"]}]});
        assert_eq!(read(whole).unwrap().to_string(), "a=,a notin (3),b=1,c in (1,2)");
        assert!(read(json!({"matchExpressions": [{"key": "a", "operator": "in"}]})).is_err());
        assert!(read(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})).is_err());
        for no_label in [
            json!({"matchLabels": {"-a": "1"}}),
            json!({"matchLabels": {"a": "x."}}),
            json!({"matchExpressions": [{"key": "", "operator": "Exists"}]}),
            json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1", "-5"]}]}),
        ] {
            assert!(read(no_label.clone()).is_err(), "{no_label}");
        }
        assert!(!LabelSelector::nothing().matches(&labels));
    }
}
