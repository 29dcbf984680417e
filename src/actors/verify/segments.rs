//! The segments: what the log has left its table for, and what lies there besides.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashSet;

use super::{
    log::{LogWalk, Source},
    report::{Finding, Findings, VerifyReport, remedy},
};
use crate::actors::{
    segment::{
        self, SegmentError,
        layout::file_name,
        list::{Lost, Part},
        sealed::{Sealed, SealedBlock},
    },
    storage::{StorageError, frozen::View},
};

/// What was seen of the segments on the way along the log.
#[derive(Default)]
pub(super) struct SegmentWalk {
    /// The positions that those begin at which the walk went through.
    walked: HashSet<u64>,
    /// Files that are reported already.
    reported: HashSet<u64>,
}

impl SegmentWalk {
    /// Takes the walk through the next block, or past what is lost. `at` is where the log goes on.
    pub(super) fn part(
        &mut self,
        view: &View<'_>,
        walk: &mut LogWalk,
        at: &mut u64,
        findings: &mut Findings,
    ) -> Result<(), StorageError> {
        match view.segments().find(*at) {
            Some(Part::Sealed(sealed)) => {
                self.walked.insert(sealed.footer().first);
                match sealed.block(*at) {
                    Some(block) => {
                        look_at(view, walk, sealed, block, findings)?;
                        *at = block.row.end();
                    }
                    // The rows of a footer follow each other, so that there is one.
                    None => *at = sealed.footer().end,
                }
                walk.resume(*at);
            }
            Some(Part::Lost(lost)) => {
                self.reported.insert(lost.first);
                walk.lost(gone(lost), lost.end, findings);
                *at = lost.end;
            }
            // What lacks is a part as well, so that there is one for every position.
            None => *at = view.trimmed(),
        }
        Ok(())
    }

    /// The files that the log does not go through: written, and not in use yet.
    pub(super) fn rest(
        self,
        segments: &BTreeMap<u64, Result<Arc<Sealed>, String>>,
        report: &mut VerifyReport,
        findings: &mut Findings,
    ) {
        for (first, sealed) in segments {
            let name = path(*first);
            match sealed {
                Ok(sealed) => {
                    report.segments += 1;
                    report.bytes += sealed.file_bytes();
                    if self.walked.contains(first) {
                        continue;
                    }
                    if let Err(error) = segment::check(sealed.bytes()) {
                        let offset = match &error {
                            SegmentError::Block { offset, .. } => Some(*offset),
                            _ => None,
                        };
                        let footer = sealed.footer();
                        let finding = Finding::damage(error.to_string(), AGAIN).file(name).offset(offset);
                        findings.add(finding.positions(footer.first, footer.end.saturating_sub(1)));
                    }
                }
                Err(what) if !self.reported.contains(first) => {
                    findings.add(
                        Finding::damage(format!("a segment cannot be read: {what}"), AGAIN).file(name).offset(Some(0)),
                    );
                }
                Err(_) => {}
            }
        }
    }
}

/// For a segment whose events are in the table still.
const AGAIN: &str = "nothing is lost: start a node on the directory, which writes the segment again";

/// Takes the walk through a block, and compares it with what the footer says.
fn look_at<'v>(
    view: &View<'v>,
    walk: &mut LogWalk,
    sealed: &'v Sealed,
    block: SealedBlock<'v>,
    findings: &mut Findings,
) -> Result<(), StorageError> {
    let file = path(sealed.footer().first);
    let source = Source { file: file.clone(), bytes: sealed.bytes(), table: None };
    let before = findings.damaged();
    walk.block(view, &source, (block.row.first, block.bytes()), findings);
    walk.close(block.row.end(), findings);
    // Where the events say what is wrong, the block has nothing to add.
    if findings.damaged() == before && !block.is_as_said(view).unwrap_or(false) {
        let what = "a block of a segment is not what the footer says of it";
        let finding = Finding::damage(what, remedy::RESTORE).file(file).offset(Some(block.row.offset));
        findings.add(finding.positions(block.row.first, block.row.end().saturating_sub(1)));
    }
    Ok(())
}

fn gone(lost: &Lost) -> Finding {
    let what = format!("a segment of the log cannot be read: {}", lost.what);
    let finding = Finding::damage(what, remedy::RESTORE).file(path(lost.first)).offset(Some(0));
    finding.positions(lost.first, lost.end.saturating_sub(1))
}

fn path(first: u64) -> String {
    format!("segments/{}", file_name(first))
}
