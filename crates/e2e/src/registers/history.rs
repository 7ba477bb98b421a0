//! What clients did to registers, and what they were told.

/// What a register holds. Every write writes another one, so that a value says who wrote it.
pub type Value = u64;

/// What registers hold at first.
pub const INITIAL: Value = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Write(Value),
    /// Writes `new` if the register still holds `expected`.
    Swap {
        expected: Value,
        new: Value,
    },
}

impl Action {
    /// What it writes, if it does.
    pub fn writes(self) -> Option<Value> {
        match self {
            Action::Read => None,
            Action::Write(new) | Action::Swap { new, .. } => Some(new),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was read; `None`: there is no such register.
    Read(Option<Value>),
    /// The write was acknowledged.
    Done,
    /// The swap was refused, for the register held something else.
    Refused,
    /// No answer, or one that leaves it open: the write may have taken effect, or may do so later.
    Unknown,
}

/// A call whose outcome matters; those that certainly had no effect are left out of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub register: usize,
    pub client: usize,
    /// Nanoseconds since the history began.
    pub began: u64,
    pub ended: u64,
    pub action: Action,
    pub outcome: Outcome,
}

impl Call {
    /// Whether its answer shows that `value` was in the register.
    pub fn shows(&self, value: Value) -> bool {
        match (self.action, self.outcome) {
            (_, Outcome::Read(read)) => read == Some(value),
            (Action::Swap { expected, .. }, Outcome::Done) => expected == value,
            _ => false,
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = |time: u64| time as f64 / 1e6;
        write!(
            formatter,
            "register {} client {} {:.1}–{:.1} ms: {:?} → {:?}",
            self.register,
            self.client,
            milliseconds(self.began),
            milliseconds(self.ended),
            self.action,
            self.outcome
        )
    }
}
