//! What of all this runs: it is three controllers by upstream's names.

use crate::selection::Selection;

/// Which objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The slices of Services with a selector.
    pub slices: bool,
    /// Their Endpoints.
    pub endpoints: bool,
    /// The slices of Endpoints that somebody wrote by hand.
    pub mirrors: bool,
}

impl Kept {
    /// Those whose controllers run.
    pub fn new(selection: &Selection) -> Self {
        Self {
            slices: selection.runs("endpointslice-controller"),
            endpoints: selection.runs("endpoints-controller"),
            mirrors: selection.runs("endpointslice-mirroring-controller"),
        }
    }

    /// Whether there is anything to do.
    pub fn any(self) -> bool {
        self.slices || self.endpoints || self.mirrors
    }
}
