//! A compiled expression.
use super::ast::Expr;
use super::budget::Error;
use super::check::{Declarations, check};
use super::eval::{Activation, eval};
use super::fixed;
use super::functions::Context;
use super::lex::Fault;
use super::parse::parse;
use super::types::Type;
use super::value::Value;
use std::fmt;

/// Longest line that is shown beside what is wrong with it.
const SHOWN_LINE_BYTES_MAX: usize = 16_384;
/// Faults of one text that are told.
const FAULTS_MAX: usize = 100;

/// An expression that was found to be one.
#[derive(Clone, Debug)]
pub struct Program {
    expr: Expr,
    result: Type,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// All that is wrong with it, from its beginning to its end.
    #[error("{}", joined(.0))]
    Text(Vec<Located>),
    /// It can never have a value.
    #[error("{0}")]
    Fixed(String),
}

impl CompileError {
    /// With what failed, in upstream's words.
    pub fn told(&self) -> String {
        match self {
            Self::Text(_) => format!("compilation failed: {self}"),
            Self::Fixed(_) => format!("program instantiation failed: {self}"),
        }
    }
}

/// What is wrong, where, and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    message: String,
    line: usize,
    column: usize,
    /// Nothing, where it is too long to be shown.
    source_line: Option<String>,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = (self.line, self.column + 1);
        write!(f, "ERROR: <input>:{line}:{column}: {}", self.message)?;
        let Some(source_line) = &self.source_line else {
            return Ok(());
        };
        let is_wide = |c: char| c.len_utf8() > 1;
        let mut chars = source_line.chars();
        let before: String = chars
            .by_ref()
            .take(self.column)
            .map(|c| if is_wide(c) { '．' } else { '.' })
            .collect();
        let mark = if chars.next().is_some_and(is_wide) {
            '＾'
        } else {
            '^'
        };
        write!(f, "\n | {}\n | {before}{mark}", source_line.replace('\t', " "))
    }
}

fn joined(located: &[Located]) -> String {
    let told: Vec<String> = located.iter().map(Located::to_string).collect();
    told.join("\n")
}

impl Program {
    /// # Errors
    /// The text cannot be read, names what isn't there, or puts together what doesn't fit.
    pub fn compile(text: &str, declarations: &Declarations) -> Result<Self, CompileError> {
        let compiled = parse(text).and_then(|expr| {
            let result = check(&expr, declarations)?;
            Ok(Self { expr, result })
        });
        let program = compiled.map_err(|mut faults| {
            faults.sort_by_key(|fault| fault.at);
            let told = faults.into_iter().take(FAULTS_MAX);
            CompileError::Text(told.map(|fault| located(text, fault)).collect())
        })?;
        fixed::check(&program.expr).map_err(|error| CompileError::Fixed(error.to_string()))?;
        Ok(program)
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

fn located(text: &str, fault: Fault) -> Located {
    let before = text.get(..fault.at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    Located {
        message: fault.message,
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count(),
        source_line: Some(text[start..].lines().next().unwrap_or_default())
            .filter(|line| line.len() <= SHOWN_LINE_BYTES_MAX)
            .map(str::to_owned),
    }
}
