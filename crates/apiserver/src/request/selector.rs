//! Which objects of a collection are wanted.
use super::Query;
use crate::cache::{Interest, Object};
use crate::resources::Resource;
use crate::status::ApiError;
use orlop_api::selector::{FieldOperator, FieldSelector, LabelSelector, Operator, Requirement};

/// Where a term's value is found in a cached object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Name,
    Namespace,
    /// Index into the object's fields.
    Field(usize),
}

#[derive(Clone, Debug)]
struct Term {
    source: Source,
    operator: FieldOperator,
    value: String,
}

/// Namespace, label selector and field selector of a request, ready to be applied to cached objects.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub namespace: String,
    labels: LabelSelector,
    terms: Vec<Term>,
}

impl Filter {
    /// Reads the selectors of a request for `resource` in `namespace` (`""`: everywhere).
    pub fn parse(resource: &Resource, namespace: &str, query: &Query) -> Result<Self, ApiError> {
        let labels = match query.get("labelSelector") {
            Some(text) => LabelSelector::parse(text).map_err(|e| ApiError::bad_request(e.to_string()))?,
            None => LabelSelector::everything(),
        };
        let fields = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        let terms = fields
            .terms
            .into_iter()
            .map(|term| {
                Ok(Term {
                    source: source(resource, &term.field)?,
                    operator: term.operator,
                    value: term.value,
                })
            })
            .collect::<Result<_, ApiError>>()?;
        Ok(Self {
            namespace: namespace.to_owned(),
            labels,
            terms,
        })
    }

    pub fn matches(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || object.namespace() == self.namespace)
            && self.terms.iter().all(|term| term.matches(object))
            && self.labels.requirements.iter().all(|r| requirement(r, object))
    }

    /// True when no selector narrows the collection (a namespace may).
    pub fn is_plain(&self) -> bool {
        self.labels.is_everything() && self.terms.is_empty()
    }

    /// A label that must have one of some values, if the selector says so.
    pub fn required_label(&self) -> Option<(&str, &[String])> {
        self.labels
            .requirements
            .iter()
            .find(|r| matches!(r.operator, Operator::In | Operator::Equals))
            .map(|r| (r.key.as_str(), r.values.as_slice()))
    }

    /// What changes a watch with this filter has to look at when objects are converted before it is applied: their
    /// labels and fields may be others then.
    pub fn wide_interest(&self) -> Interest<'_> {
        let name = self.terms.iter().find_map(|term| {
            (term.source == Source::Name && term.operator == FieldOperator::Equals)
                .then_some(Interest::Name(&term.value))
        });
        name.unwrap_or(match self.namespace.as_str() {
            "" => Interest::All,
            namespace => Interest::Namespace(namespace),
        })
    }

    /// What changes a watch with this filter has to look at: by whatever it demands that few objects have.
    pub fn interest(&self) -> Interest<'_> {
        let equal = |term: &&Term| term.operator == FieldOperator::Equals;
        let by_term = self
            .terms
            .iter()
            .filter(equal)
            .filter_map(|term| match term.source {
                Source::Name => Some(Interest::Name(&term.value)),
                Source::Field(index) => Some(Interest::Field(index, &term.value)),
                Source::Namespace => None,
            });
        // A name says more than a field's value.
        let by_term = by_term.min_by_key(|interest| matches!(interest, Interest::Field(..)));
        by_term
            .or_else(|| match self.required_label()? {
                (label, [value]) => Some(Interest::LabelValue(label, value)),
                (label, _) => Some(Interest::Label(label)),
            })
            .unwrap_or(match self.namespace.as_str() {
                "" => Interest::All,
                namespace => Interest::Namespace(namespace),
            })
    }

    /// The value a field must have, if the selector says so.
    pub fn required(&self, resource: &Resource, field: &str) -> Option<&str> {
        let wanted = source(resource, field).ok()?;
        self.terms
            .iter()
            .find(|t| t.source == wanted && t.operator == FieldOperator::Equals)
            .map(|t| t.value.as_str())
    }
}

fn source(resource: &Resource, field: &str) -> Result<Source, ApiError> {
    match field {
        "metadata.name" => return Ok(Source::Name),
        "metadata.namespace" if resource.namespaced => return Ok(Source::Namespace),
        // Cluster-scoped kinds without a table of fields take it and find it empty.
        "metadata.namespace" if resource.fields.is_empty() => return Ok(Source::Namespace),
        _ => {}
    }
    // An old alias that some clients still send.
    let name = if resource.plural == "pods" && field == "spec.host" {
        "spec.nodeName"
    } else {
        field
    };
    if let Some(index) = resource.fields.iter().position(|f| f.name == name) {
        return Ok(Source::Field(index));
    }
    Err(ApiError::bad_request(
        if resource.fields.is_empty() && resource.custom.is_none() {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        },
    ))
}

impl Term {
    fn matches(&self, object: &Object) -> bool {
        let value = match self.source {
            Source::Name => object.name(),
            Source::Namespace => object.namespace(),
            Source::Field(index) => object.field(index).unwrap_or_default(),
        };
        (value == self.value) == (self.operator == FieldOperator::Equals)
    }
}

/// As `Requirement::matches`, without building a map of the object's labels.
fn requirement(requirement: &Requirement, object: &Object) -> bool {
    let label = object.label(&requirement.key);
    let listed = || label.is_some_and(|l| requirement.values.iter().any(|v| v == l));
    match requirement.operator {
        Operator::Exists => label.is_some(),
        Operator::DoesNotExist => label.is_none(),
        Operator::In | Operator::Equals => listed(),
        Operator::NotIn | Operator::NotEquals => !listed(),
        Operator::GreaterThan | Operator::LessThan => {
            let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
            match (
                number(label),
                number(requirement.values.first().map(String::as_str)),
            ) {
                (Some(have), Some(want)) if requirement.operator == Operator::GreaterThan => have > want,
                (Some(have), Some(want)) => have < want,
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn matches(selector: &str) -> Result<bool, ApiError> {
        let resource = resources::find("", "v1", "pods").unwrap();
        let stored = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"d","labels":{"app":"x","n":"4"}},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}}"#;
        let object = Object::from_stored(resource, "d/p".into(), stored, 7, true).unwrap();
        Ok(Filter::parse(resource, "", &Query::parse(selector))?.matches(&object))
    }

    /// L08
    #[test]
    fn labels_select() {
        for (selector, expected) in [
            ("app%20in%20(x,y),n", true),
            ("!app", false),
            ("app!=x", false),
            ("missing!=x", true),
            ("n>3", true),
            ("n<3", false),
        ] {
            let selector = format!("labelSelector={}", selector.replace('=', "%3D"));
            assert_eq!(matches(&selector).unwrap(), expected, "{selector}");
        }
        assert_eq!(matches("labelSelector=a%3D%3D%3Db").unwrap_err().code, 400);
    }

    /// What is woken by an object's own interest sees every change of it.
    #[test]
    fn the_interest_of_a_filter_is_what_few_have() {
        let resource = resources::find("", "v1", "pods").unwrap();
        let node = resource
            .fields
            .iter()
            .position(|f| f.name == "spec.nodeName")
            .unwrap();
        for (query, expected) in [
            ("", Interest::Namespace("d")),
            ("labelSelector=a%3Db", Interest::LabelValue("a", "b")),
            ("labelSelector=a%20in%20(b,c)", Interest::Label("a")),
            ("labelSelector=a!%3Db", Interest::Namespace("d")),
            ("labelSelector=!a", Interest::Namespace("d")),
            (
                "fieldSelector=spec.nodeName%3Dn,metadata.name%3Dp",
                Interest::Name("p"),
            ),
            (
                "fieldSelector=spec.nodeName%3Dn&labelSelector=a%3Db",
                Interest::Field(node, "n"),
            ),
            ("fieldSelector=spec.nodeName!%3Dn", Interest::Namespace("d")),
        ] {
            let filter = Filter::parse(resource, "d", &Query::parse(query)).unwrap();
            assert_eq!(filter.interest(), expected, "{query}");
        }
        let everywhere = Filter::parse(resource, "", &Query::default()).unwrap();
        assert_eq!(everywhere.interest(), Interest::All);
    }

    /// L09
    #[test]
    fn fields_select() {
        assert!(matches("fieldSelector=spec.nodeName%3Dn1,status.phase!%3DSucceeded").unwrap());
        assert!(!matches("fieldSelector=spec.host%3Dn2").unwrap());
        assert!(matches("fieldSelector=spec.hostNetwork%3Dfalse,metadata.namespace%3Dd").unwrap());
        let error = matches("fieldSelector=spec.bogus%3D1").unwrap_err();
        assert_eq!(error.message, "field label not supported: spec.bogus");
        let configmaps = resources::find("", "v1", "configmaps").unwrap();
        let error = Filter::parse(configmaps, "", &Query::parse("fieldSelector=data%3D1")).unwrap_err();
        assert_eq!(
            error.message,
            "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
}
