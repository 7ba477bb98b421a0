//! Calls of literals that have no value: it is known before anything is evaluated.
use super::ast::{Call, Expr, Form, Literal};
use super::budget::{Budget, Error};
use super::eval::{Activation, eval};
use super::functions::{Context, check_pattern};

/// Functions whose value is found at once if their argument is a literal.
const CONVERSIONS: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "string",
    "timestamp",
    "uint",
];
/// What a conversion of a literal may cost.
const COST_MAX: u64 = 100_000;

/// Finds all values that can be known.
///
/// # Errors
/// Why there is none.
pub fn check(expr: &Expr) -> Result<(), Error> {
    let mut result = Ok(());
    expr.form.each(&mut |part| {
        if result.is_ok() {
            result = check(part);
        }
    });
    result?;
    let Form::Call(call) = &expr.form else {
        return Ok(());
    };
    if let Some(text) = pattern_of(call) {
        return check_pattern(text);
    }
    let [argument] = call.arguments.as_slice() else {
        return Ok(());
    };
    if !CONVERSIONS.contains(&call.name.as_str()) || !matches!(argument.form, Form::Literal(_)) {
        return Ok(());
    }
    let mut context = Context {
        budget: Budget::new(COST_MAX),
        authorizer: None,
    };
    eval(expr, &Activation::default(), &mut context).map(drop)
}

/// The pattern of a search, if it is written out.
fn pattern_of(call: &Call) -> Option<&str> {
    if !matches!(call.name.as_str(), "matches" | "find" | "findAll") {
        return None;
    }
    match &call.arguments.get(1)?.form {
        Form::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}
