//! `matchConditions` of authorization webhooks: which questions they are asked. Pure.
use orlop_api::cel::{
    Activation, Budget, CompileError, Context, Declarations, Program, REQUEST_MAX, Type, Value as Cel,
};
use serde_json::{Value, json};

/// What conditions call the question.
const REQUEST: &str = "request";

/// Conditions that all have to hold.
#[derive(Clone, Debug, Default)]
pub struct Conditions(Vec<Program>);

/// What they say to a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    Asked,
    Not,
    /// They have no answer.
    Failed(String),
}

/// Compiles one of them.
///
/// # Errors
/// It is none.
pub fn compile(text: &str) -> Result<Program, CompileError> {
    let texts = || Type::list(Type::String);
    let selector = |name: &str| {
        let requirement = Type::object(
            format!("{name}Requirement"),
            [
                ("key", Type::String),
                ("operator", Type::String),
                ("values", texts()),
            ],
        );
        Type::object(
            format!("{name}Attributes"),
            [
                ("requirements", Type::list(requirement)),
                ("rawSelector", Type::String),
            ],
        )
    };
    let resource = Type::object(
        "kubernetes.ResourceAttributes",
        [
            ("namespace", Type::String),
            ("verb", Type::String),
            ("group", Type::String),
            ("version", Type::String),
            ("resource", Type::String),
            ("subresource", Type::String),
            ("name", Type::String),
            ("fieldSelector", selector("FieldSelector")),
            ("labelSelector", selector("LabelSelector")),
        ],
    );
    let path = [("path", Type::String), ("verb", Type::String)];
    let spec = Type::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", resource),
            (
                "nonResourceAttributes",
                Type::object("kubernetes.NonResourceAttributes", path),
            ),
            ("user", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
            ("uid", Type::String),
        ],
    );
    Program::compile(text, &Declarations::default().with(REQUEST, spec))
}

impl Conditions {
    pub fn new(programs: Vec<Program>) -> Self {
        Self(programs)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `spec`: of a SubjectAccessReview of v1. One that does not hold settles it, whatever the others come to.
    pub fn judge(&self, spec: &Value) -> Match {
        if self.0.is_empty() {
            return Match::Asked;
        }
        let whole = whole(spec);
        let names = Activation::default().with(REQUEST, Cel::of(&whole, None));
        let mut context = Context {
            budget: Budget::new(REQUEST_MAX),
            authorizer: None,
        };
        let mut failures = Vec::new();
        for program in &self.0 {
            match program.eval(&names, &mut context) {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => return Match::Not,
                Ok(_) => failures.push("a match condition is no yes or no".to_owned()),
                Err(error) => failures.push(error.to_string()),
            }
        }
        match failures.is_empty() {
            true => Match::Asked,
            false => Match::Failed(failures.join(", ")),
        }
    }
}

/// The question with all texts that conditions may name, also those that are empty.
fn whole(spec: &Value) -> Value {
    let mut whole = json!({"user": "", "uid": "", "groups": [], "extra": {}});
    let texts: [(&str, &[&str]); 2] = [
        (
            "resourceAttributes",
            &[
                "namespace",
                "verb",
                "group",
                "version",
                "resource",
                "subresource",
                "name",
            ],
        ),
        ("nonResourceAttributes", &["path", "verb"]),
    ];
    for (place, texts) in texts {
        if let Some(given) = spec[place].as_object() {
            let empty = texts.iter().map(|text| ((*text).to_owned(), json!("")));
            let mut part: serde_json::Map<String, Value> = empty.collect();
            part.extend(given.clone());
            whole[place] = part.into();
        }
    }
    for member in ["user", "uid", "groups", "extra"] {
        if let Some(given) = spec.get(member) {
            whole[member] = given.clone();
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_hold_settles_it() {
        let conditions =
            |texts: &[&str]| Conditions(texts.iter().map(|text| compile(text).unwrap()).collect());
        let pods = json!({"user": "alice", "groups": ["devs"], "resourceAttributes": {"resource": "pods",
            "labelSelector": {"requirements": [{"key": "tier", "operator": "In", "values": ["a"]}]}}});
        let path = json!({"user": "alice", "nonResourceAttributes": {"path": "/metrics"}});
        let by_label =
            "request.?resourceAttributes.labelSelector.requirements.orValue([]).exists(r, r.key=='tier')";
        let failed = Match::Failed("no such key: resourceAttributes".to_owned());
        for (texts, of_pods, of_path) in [
            (&["has(request.resourceAttributes)"][..], Match::Asked, Match::Not),
            (&["request.resourceAttributes.name == ''"], Match::Asked, failed),
            (
                &[
                    "request.resourceAttributes.namespace == ''",
                    "has(request.resourceAttributes)",
                ],
                Match::Asked,
                Match::Not,
            ),
            (
                &["request.groups.exists(g, g == 'devs')"],
                Match::Asked,
                Match::Not,
            ),
            (
                &["request.uid == '' && request.extra.size() == 0"],
                Match::Asked,
                Match::Asked,
            ),
            (&[by_label], Match::Asked, Match::Not),
        ] {
            let conditions = conditions(texts);
            assert_eq!(conditions.judge(&pods), of_pods, "{texts:?}");
            assert_eq!(conditions.judge(&path), of_path, "{texts:?}");
        }
        assert!(compile("request.nothing == ''").is_err());
    }
}
