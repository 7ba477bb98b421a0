//! Configuration files of upstream's forms (`apiserver.config.k8s.io` and its kind), read strictly: a member that nobody
//! knows is a mistake, and every mistake is told with its field.
mod reload;

pub(crate) use reload::Reloads;

use orlop_api::duration::parse_go_duration;
use orlop_api::validation::{FieldError, FieldErrorKind};
use orlop_api::wire;
use serde_json::Value;
use std::time::Duration;

/// A configuration that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it is a {found}; it has to be a {wanted}")]
    Kind { found: String, wanted: String },
    #[error("{}", FieldError::summary(.0))]
    Invalid(Vec<FieldError>),
}

impl From<FieldError> for SettingsError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

/// What was found to be wrong.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldError>);

impl Problems {
    pub fn add(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// `made`, unless something is wrong.
    ///
    /// # Errors
    /// All that is.
    pub fn or<T>(self, made: T) -> Result<T, SettingsError> {
        match self.0.is_empty() {
            true => Ok(made),
            false => Err(SettingsError::Invalid(self.0)),
        }
    }
}

/// Reads a file's text.
///
/// # Errors
/// It is neither YAML nor JSON.
pub fn parse(text: &str) -> Result<Value, SettingsError> {
    wire::from_yaml(text.as_bytes()).map_err(|error| SettingsError::Unreadable(error.to_string()))
}

/// Checks what a configuration says it is. `groups`: with their versions.
///
/// # Errors
/// It is something else.
pub fn expect(config: &Value, kind: &str, groups: &[(&str, &[&str])]) -> Result<(), SettingsError> {
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or_default();
    let known = groups
        .iter()
        .any(|(own, versions)| *own == group && versions.contains(&version));
    if known && text("kind") == kind {
        return Ok(());
    }
    let wanted: Vec<String> = groups
        .iter()
        .map(|(group, versions)| format!("{group}/{}", versions.join(" or ")))
        .collect();
    Err(SettingsError::Kind {
        found: format!("{:?} of {:?}", text("kind"), text("apiVersion")),
        wanted: format!("{kind} of {}", wanted.join(", or of ")),
    })
}

/// An object within a configuration, and where it is.
#[derive(Clone, Debug)]
pub struct Section<'v> {
    value: &'v Value,
    path: String,
}

static ABSENT: Value = Value::Null;

impl<'v> Section<'v> {
    /// The whole, whose `kind` and `apiVersion` were checked.
    pub fn whole(value: &'v Value) -> Self {
        Self {
            value,
            path: String::new(),
        }
    }

    /// The path to this section.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path to a member.
    pub fn at(&self, member: &str) -> String {
        match self.path.is_empty() {
            true => member.to_owned(),
            false => format!("{}.{member}", self.path),
        }
    }

    pub fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    /// Tells members that are none of these.
    pub fn only(&self, known: &[&str], problems: &mut Problems) {
        let members = match self.value {
            Value::Null => return,
            Value::Object(members) => members,
            _ => return problems.add(of_another_type(&self.path, "an object")),
        };
        let of_whole = |member: &str| self.path.is_empty() && matches!(member, "kind" | "apiVersion");
        let unknown = members
            .keys()
            .filter(|member| !known.contains(&member.as_str()) && !of_whole(member));
        for member in unknown {
            problems.add(FieldError {
                field: self.at(member),
                kind: FieldErrorKind::Invalid,
                detail: "unknown field".to_owned(),
            });
        }
    }

    /// A member that is an object; an absent one has nothing in it.
    pub fn section(&self, member: &str) -> Section<'v> {
        Section {
            value: self.value.get(member).unwrap_or(&ABSENT),
            path: self.at(member),
        }
    }

    /// A member that is a list of objects.
    pub fn list(&self, member: &str, problems: &mut Problems) -> Vec<Section<'v>> {
        let path = self.at(member);
        let items = match self.value.get(member) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                problems.add(of_another_type(&path, "a list"));
                return Vec::new();
            }
        };
        let numbered = items.iter().enumerate();
        numbered
            .map(|(number, value)| Section {
                value,
                path: format!("{path}[{number}]"),
            })
            .collect()
    }

    /// A member that is a text, if it is there.
    pub fn given(&self, member: &str, problems: &mut Problems) -> Option<&'v str> {
        match self.value.get(member)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            _ => {
                problems.add(of_another_type(&self.at(member), "a string"));
                None
            }
        }
    }

    /// The same, with nothing for an absent one.
    pub fn text(&self, member: &str, problems: &mut Problems) -> &'v str {
        self.given(member, problems).unwrap_or_default()
    }

    /// A member that is a list of texts.
    pub fn texts(&self, member: &str, problems: &mut Problems) -> Vec<String> {
        self.list(member, problems)
            .iter()
            .filter_map(|item| match item.value {
                Value::String(text) => Some(text.clone()),
                _ => {
                    problems.add(of_another_type(&item.path, "a string"));
                    None
                }
            })
            .collect()
    }

    pub fn flag(&self, member: &str, problems: &mut Problems) -> Option<bool> {
        match self.value.get(member)? {
            Value::Null => None,
            Value::Bool(flag) => Some(*flag),
            _ => {
                problems.add(of_another_type(&self.at(member), "true or false"));
                None
            }
        }
    }

    pub fn number(&self, member: &str, problems: &mut Problems) -> Option<i64> {
        match self.value.get(member)? {
            Value::Null => None,
            value => value.as_i64().or_else(|| {
                problems.add(of_another_type(&self.at(member), "a whole number"));
                None
            }),
        }
    }

    /// A member that is a duration such as `30s`.
    pub fn duration(&self, member: &str, problems: &mut Problems) -> Option<Duration> {
        let text = self.given(member, problems)?;
        let duration = parse_go_duration(text);
        if duration.is_none() {
            problems.add(of_another_type(&self.at(member), "a duration such as 30s"));
        }
        duration
    }

    /// The value itself.
    pub fn value(&self) -> &'v Value {
        self.value
    }
}

fn of_another_type(path: &str, wanted: &str) -> FieldError {
    FieldError {
        field: path.to_owned(),
        kind: FieldErrorKind::TypeInvalid,
        detail: format!("it has to be {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_with_their_fields() {
        let config = parse(
            "apiVersion: a.b/v1\nkind: Plan\nextra: 1\nsteps:\n- name: one\n  nmae: x\n  wait: soon\n- name: 5\n",
        )
        .unwrap();
        assert!(expect(&config, "Plan", &[("a.b", &["v1", "v1beta1"])]).is_ok());
        assert_eq!(
            expect(&config, "Other", &[("a.b", &["v1", "v1beta1"])])
                .unwrap_err()
                .to_string(),
            "it is a \"Plan\" of \"a.b/v1\"; it has to be a Other of a.b/v1 or v1beta1"
        );
        let mut problems = Problems::default();
        let whole = Section::whole(&config);
        whole.only(&["steps"], &mut problems);
        for step in whole.list("steps", &mut problems) {
            step.only(&["name", "wait"], &mut problems);
            step.text("name", &mut problems);
            step.duration("wait", &mut problems);
        }
        assert_eq!(
            problems.or(()).unwrap_err().to_string(),
            "[extra: unknown field, steps[0].nmae: unknown field, \
             steps[0].wait: it has to be a duration such as 30s, steps[1].name: it has to be a string]"
        );
    }
}
