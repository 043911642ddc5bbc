//! Balance: what one subscription was told of missed publications of one publisher, against what it should have been.

/// The number of publications of one publisher that were reported to one subscription as missed, and the number that
/// should have been.
#[derive(Default)]
pub struct Balance {
    /// The number that was reported.
    pub told: u64,
    /// Reported as possibly missed, after which their number may or may not be reported.
    pub doubted: u64,
    /// The number that should have been by now, at least.
    pub floor: u64,
    /// The number that may have been, at most.
    pub ceiling: u64,
    /// Missing publications of streams that have ended since.
    pub later: u64,
}

impl Balance {
    /// Requires that at least this number was reported by now. Returns how many were not; they count as reported.
    pub fn settle(&mut self, least: u64) -> u64 {
        let missing = least.saturating_sub(self.told + self.doubted);
        self.told += missing;
        missing
    }

    /// Notes a report of possibly missed publications: this number need not be reported any more.
    pub fn doubt(&mut self, least: u64) {
        self.doubted += least.saturating_sub(self.told + self.doubted);
    }
}
