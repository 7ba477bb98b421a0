//! A compiled expression.
use super::ast::Expr;
use super::budget::Error;
use super::check::{Declarations, check};
use super::eval::{Activation, eval};
use super::functions::Context;
use super::lex::Fault;
use super::parse::parse;
use super::types::Type;
use super::value::Value;
use std::fmt;

/// An expression that was found to be one.
#[derive(Clone, Debug)]
pub struct Program {
    expr: Expr,
    result: Type,
}

/// Why a text is no expression: what, where, and the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    message: String,
    line: usize,
    column: usize,
    source_line: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ERROR: <input>:{}:{}: {}\n | {}\n | {}^",
            self.line,
            self.column + 1,
            self.message,
            self.source_line,
            ".".repeat(self.column)
        )
    }
}

impl Program {
    /// # Errors
    /// The text cannot be read, names what isn't there, or puts together what doesn't fit.
    pub fn compile(text: &str, declarations: &Declarations) -> Result<Self, CompileError> {
        let compiled = parse(text).and_then(|expr| {
            let result = check(&expr, declarations)?;
            Ok(Self { expr, result })
        });
        compiled.map_err(|fault| located(text, fault))
    }

    /// The type of its values.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// Whether its values can be of that type.
    pub fn can_be(&self, ty: &Type) -> bool {
        self.result == Type::Dyn || self.result == *ty
    }

    /// Whether it uses a variable.
    pub fn mentions(&self, name: &str) -> bool {
        self.expr.mentions(name)
    }

    /// Whether it reads a field of a variable, or asks whether that is there.
    pub fn selects(&self, name: &str, field: &str) -> bool {
        self.expr.selects(name, field)
    }

    pub(super) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// # Errors
    /// There is no value, or finding it would cost more than the budget has.
    pub fn eval<'a>(&'a self, names: &Activation<'a>, context: &mut Context<'a>) -> Result<Value<'a>, Error> {
        context.budget.begin();
        eval(&self.expr, names, context)
    }
}

fn located(text: &str, fault: Fault) -> CompileError {
    let before = text.get(..fault.at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    CompileError {
        message: fault.message,
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count(),
        source_line: text[start..].lines().next().unwrap_or_default().to_owned(),
    }
}
