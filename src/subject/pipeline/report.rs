//! What a pipeline has to say to whoever runs it, besides the events it emits.

use crate::wire::id::Dot;

/// Most reports that a pipeline keeps until they are taken. A log full of unusable events is told by its first thousand,
/// and the rest as a number.
pub const MAX_REPORTS: usize = 1_024;

/// Something that the subject's users should know about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// A fold left an event out of its state. The event stays in the log.
    Skipped {
        /// The source that the event came from.
        source: usize,
        /// The event's name in that source.
        dot: Dot,
        /// The rule that the event breaks.
        rule: &'static str,
    },
    /// A reducer could make nothing of the fold's state, so that nothing was emitted. Said once for each batch.
    CannotReduce {
        /// The fold's name; "unnamed" where it has none.
        fold: String,
        /// The reducer's name.
        reduce: String,
    },
    /// So many more reports were made than fit.
    Omitted(u64),
}

/// The reports since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Reports {
    kept: Vec<Report>,
    omitted: u64,
}

impl Reports {
    pub(super) fn push(&mut self, report: Report) {
        if self.kept.len() < MAX_REPORTS {
            self.kept.push(report);
        } else {
            self.omitted += 1;
        }
    }

    pub(super) fn take(&mut self) -> Vec<Report> {
        let mut reports = std::mem::take(&mut self.kept);
        if self.omitted > 0 {
            reports.push(Report::Omitted(std::mem::take(&mut self.omitted)));
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::XaeroID;

    #[test]
    fn reports_beyond_the_limit_are_counted() {
        let mut reports = Reports::default();
        for seq in 0..MAX_REPORTS as u64 + 3 {
            reports.push(Report::Skipped { source: 0, dot: Dot::new(XaeroID::from([1; 32]), seq), rule: "no" });
        }
        let taken = reports.take();
        assert_eq!(taken.len(), MAX_REPORTS + 1);
        assert_eq!(taken.last(), Some(&Report::Omitted(3)));
        assert!(reports.take().is_empty());
    }
}
