//! `matchConditions`: expressions that narrow what a webhook or policy is about.
use super::Attempt;
use super::scene::Scene;
use orlop_api::cel::{
    Activation, Budget, CONDITIONS_MAX, Context, Declarations, OUT_OF_BUDGET, Program, Value, conditions,
};
use serde_json::Value as Json;

/// Conditions that all have to hold.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    name: String,
    /// What cannot be compiled fails when it is asked.
    program: Result<Program, String>,
}

/// What conditions say about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Applies,
    Not,
    /// They have no answer, and without one the request is refused.
    Failed(String),
}

impl Conditions {
    /// Those of a webhook.
    pub fn of(list: &Json) -> Self {
        Self::compile(list, &conditions())
    }

    pub fn compile(list: &Json, names: &Declarations) -> Self {
        let conditions = list.as_array().into_iter().flatten().map(|condition| {
            let text = |key: &str| condition[key].as_str().unwrap_or_default();
            Condition {
                name: text("name").to_owned(),
                program: Program::compile(text("expression"), names).map_err(|error| error.to_string()),
            }
        });
        Self(conditions.collect())
    }

    /// `required`: whether no answer means refusal.
    pub fn verdict(&self, attempt: &Attempt<'_>, request: &Json, required: bool) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Applies;
        }
        let scene = Scene::of(attempt, request);
        let names = scene.names(None);
        self.decide(&names, &mut scene.context(), required)
    }

    /// Conditions have a budget of their own.
    pub fn decide<'a>(
        &'a self,
        names: &Activation<'a>,
        context: &mut Context<'a>,
        required: bool,
    ) -> Verdict {
        let rest = std::mem::replace(&mut context.budget, Budget::new(CONDITIONS_MAX));
        let verdict = self.decide_within(names, context, required);
        context.budget = rest;
        verdict
    }

    /// One that does not hold settles it, whatever the others come to.
    fn decide_within<'a>(
        &'a self,
        names: &Activation<'a>,
        context: &mut Context<'a>,
        required: bool,
    ) -> Verdict {
        let mut failures = Vec::new();
        for condition in &self.0 {
            let result = match &condition.program {
                Ok(program) => program.eval(names, context).map_err(|error| error.to_string()),
                Err(error) => Err(error.clone()),
            };
            match result {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Verdict::Not,
                Ok(_) => failures.push(format!("matchCondition {:?} is no yes or no", condition.name)),
                Err(_) if context.budget.is_spent() => {
                    failures = vec![OUT_OF_BUDGET.to_owned()];
                    break;
                }
                Err(error) => failures.push(format!(
                    "failed to evaluate matchCondition {:?}: {error}",
                    condition.name
                )),
            }
        }
        match (failures.is_empty(), required) {
            (true, _) => Verdict::Applies,
            (false, true) => Verdict::Failed(failures.join(", ")),
            (false, false) => Verdict::Not,
        }
    }
}
