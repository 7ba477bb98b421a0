//! What lists are narrowed to, as authorizers are told of it.
use orlop_api::selector::{FieldOperator, FieldSelector, LabelSelector, Operator};
use serde_json::{Value, json};

/// A selector of a request, or of a review.
#[derive(Clone, Debug, PartialEq)]
pub enum Selected {
    /// As queries have it.
    Text(String),
    /// `requirements`, each with `key`, `operator` and `values`.
    Requirements(Vec<Value>),
}

impl Selected {
    /// The requirements of a field selector; none if it cannot be read.
    pub fn of_fields(&self) -> Vec<Value> {
        let text = match self {
            Self::Requirements(given) => return given.clone(),
            Self::Text(text) => text,
        };
        let mut terms = FieldSelector::parse(text).map(|s| s.terms).unwrap_or_default();
        let operator = |operator: FieldOperator| match operator {
            FieldOperator::Equals => ("=", "In"),
            FieldOperator::NotEquals => ("!=", "NotIn"),
        };
        terms.sort_by_cached_key(|term| format!("{}{}{}", term.field, operator(term.operator).0, term.value));
        let requirement = |term: &orlop_api::selector::FieldTerm| json!({"key": term.field, "operator": operator(term.operator).1, "values": [term.value]});
        terms.iter().map(requirement).collect()
    }

    /// The same of a label selector. What only queries can say is left out.
    pub fn of_labels(&self) -> Vec<Value> {
        let text = match self {
            Self::Requirements(given) => return given.clone(),
            Self::Text(text) => text,
        };
        let selector = LabelSelector::parse(text).unwrap_or_default();
        let named = selector.requirements.iter().filter_map(|requirement| {
            let operator = match requirement.operator {
                Operator::In | Operator::Equals => "In",
                Operator::NotIn | Operator::NotEquals => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                Operator::GreaterThan | Operator::LessThan => return None,
            };
            let mut values = requirement.values.clone();
            values.sort();
            let mut named = json!({"key": requirement.key, "operator": operator});
            if !values.is_empty() {
                named["values"] = json!(values);
            }
            Some(named)
        });
        named.collect()
    }

    /// The value that a field has to have, if it says so.
    pub fn required_field(&self, field: &str) -> Option<String> {
        if let Self::Text(text) = self {
            let selector = FieldSelector::parse(text).ok()?;
            return selector.required_value(field).map(str::to_owned);
        }
        let given = self.of_fields();
        let own = given
            .iter()
            .find(|r| r["key"] == field && r["operator"] == "In")?;
        match own["values"].as_array()?.as_slice() {
            [one] => one.as_str().map(str::to_owned),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_requirements_in_order() {
        let fields = Selected::Text("spec.nodeName=n,metadata.name!=b,metadata.name!=a".to_owned());
        assert_eq!(
            json!(fields.of_fields()),
            json!([{"key": "metadata.name", "operator": "NotIn", "values": ["a"]},
                {"key": "metadata.name", "operator": "NotIn", "values": ["b"]},
                {"key": "spec.nodeName", "operator": "In", "values": ["n"]}])
        );
        assert_eq!(fields.required_field("spec.nodeName").as_deref(), Some("n"));
        assert_eq!(fields.required_field("metadata.name"), None);
        let labels = Selected::Text("tier in (b,a),allow=true,!x,y>5".to_owned());
        assert_eq!(
            json!(labels.of_labels()),
            json!([{"key": "allow", "operator": "In", "values": ["true"]},
                {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "DoesNotExist"}])
        );
        let given = Selected::Requirements(labels.of_labels());
        assert_eq!(given.of_labels(), labels.of_labels());
        let given = Selected::Requirements(fields.of_fields());
        assert_eq!(given.required_field("spec.nodeName").as_deref(), Some("n"));
    }
}
