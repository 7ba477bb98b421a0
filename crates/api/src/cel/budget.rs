//! Evaluation is bounded: every step costs, and a request has so much to spend.
use std::fmt;

/// What one expression may cost, in steps.
pub const EXPRESSION_MAX: u64 = 1_000_000;
/// What all expressions of one request may cost together.
pub const REQUEST_MAX: u64 = 10_000_000;
/// What the conditions of a webhook or policy may cost together.
pub const CONDITIONS_MAX: u64 = 2_500_000;
/// How it is told that there is nothing left to spend.
pub const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
/// Characters and items that are looked at for the price of one step.
const WEIGHT_PER_STEP: u64 = 10;

/// Bytes that are copied, or counted, for the price of one step.
const COPIED_PER_STEP: usize = 1024;

const NO_SUCH_OVERLOAD: &str = "no such overload";

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Failed(String),
    /// The expression was stopped.
    TooExpensive,
}

impl Error {
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }

    pub fn no_such_key(key: impl fmt::Display) -> Self {
        Self::Failed(format!("no such key: {key}"))
    }

    pub fn no_such_overload() -> Self {
        Self::failed(NO_SUCH_OVERLOAD)
    }

    /// Whether what was put together doesn't fit.
    pub fn is_no_such_overload(&self) -> bool {
        matches!(self, Self::Failed(why) if why == NO_SUCH_OVERLOAD)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::TooExpensive => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

impl std::error::Error for Error {}

/// What is left to spend.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    expression: u64,
    request: u64,
}

impl Budget {
    pub const fn new(request: u64) -> Self {
        Self {
            expression: EXPRESSION_MAX,
            request,
        }
    }

    /// The next expression begins.
    pub fn begin(&mut self) {
        self.expression = EXPRESSION_MAX;
    }

    /// Whether the request has nothing left.
    pub fn is_spent(&self) -> bool {
        self.request == 0
    }

    pub fn spend(&mut self, steps: u64) -> Result<(), Error> {
        self.request = self.request.saturating_sub(steps);
        self.expression = self.expression.saturating_sub(steps);
        if self.expression == 0 || self.request == 0 {
            return Err(Error::TooExpensive);
        }
        Ok(())
    }

    /// For copying so many bytes, or counting characters in them: nothing, if they are few.
    pub fn copy(&mut self, bytes: usize) -> Result<(), Error> {
        match bytes / COPIED_PER_STEP {
            0 => Ok(()),
            steps => self.spend(steps as u64),
        }
    }

    /// For looking at so many characters or items.
    pub fn look(&mut self, weight: u64) -> Result<(), Error> {
        self.spend(weight / WEIGHT_PER_STEP + 1)
    }
}
