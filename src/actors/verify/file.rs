//! The data file itself: its meta pages, its length, the pages of its trees, the list of free ones.
//!
//! LMDB trusts all of these, and a free page that is in use is overwritten by the next commit. So each page must belong
//! to exactly one tree or to the list.

use super::report::{Finding, Findings, remedy};
use crate::actors::storage::{
    frozen::{FREE, View},
    lmdb::TABLES,
    pages::{Fault, Order, Pages},
};

/// Looks at all pages of a commit.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let pages = view.pages();
    let offset_of = |page: u64| page.saturating_mul(u64::try_from(pages.page_bytes()).unwrap_or(u64::MAX));
    let fault = |table: &str, Fault { page, what }: Fault| {
        let what = format!("page {page} of the table \"{table}\" is damaged: {what}");
        Finding::damage(what, remedy::RESTORE).offset(Some(offset_of(page)))
    };
    for damaged in view.faults() {
        findings.add(fault("names of the tables", *damaged));
    }
    let mut used = PageSet::new(pages.count());
    let before = findings.damaged();
    for (name, tree) in view.trees() {
        let mut faults = Vec::new();
        let order = if name == FREE { Order::Numbers } else { Order::Bytes };
        let mut take = |first, count| used.take(first, count);
        let rows = pages.census(tree, order, &mut take, &mut |damaged| faults.push(damaged));
        if faults.is_empty() && rows != tree.entries {
            let what = format!("the table \"{name}\" has {rows} rows, and says that it has {}", tree.entries);
            findings.add(Finding::damage(what, remedy::RESTORE).offset(Some(offset_of(tree.root))));
        }
        for damaged in faults {
            findings.add(fault(name, damaged));
        }
    }
    names(view, findings);
    view.free_rows(&mut |row| {
        let place = view.offset_of(row);
        let bad = |what: String| Finding::damage(what, remedy::RESTORE).offset(place);
        match Pages::free_pages(row) {
            None => findings.add(bad(format!("a row of the {FREE} is cut short"))),
            Some(numbers) => {
                for page in numbers {
                    if used.take(page, 1).is_err() {
                        let what =
                            format!("page {page} is on the {FREE}, and is in use or on it twice or not in the file");
                        findings.add(bad(what));
                    }
                }
            }
        }
    });
    // The two meta pages are neither in use nor free.
    let lost = pages.count().saturating_sub(2).saturating_sub(used.taken);
    if lost > 0 && findings.damaged() == before {
        let what = format!("{lost} pages of the data file are neither in use nor free");
        findings.add(Finding::warning(what, "nothing is lost but the room that they take"));
    }
}

/// The tables by their names: one that nobody knows, beside one that is missing, is that one under a damaged name.
fn names(view: &View<'_>, findings: &mut Findings) {
    let mut named: Vec<&[u8]> = Vec::new();
    view.name_rows(&mut |name, _| named.push(name));
    let missing = TABLES.iter().map(|(_, name)| *name).filter(|name| !named.contains(&name.as_bytes()));
    let missing: Vec<&str> = missing.collect();
    view.name_rows(&mut |name, row| {
        if TABLES.iter().any(|(_, known)| known.as_bytes() == name) {
            return;
        }
        let shown = String::from_utf8_lossy(name);
        let finding = if missing.is_empty() {
            let what = format!("the data file has a table {shown:?}, which this version does not know");
            Finding::warning(what, "upgrade xaeroflux, if there is a newer version")
        } else {
            let what = format!("the data file has a table {shown:?}, and none of the name {}", missing.join(" or "));
            Finding::damage(what, remedy::RESTORE)
        };
        findings.add(finding.offset(view.offset_of(row)));
    });
}

/// A set of pages.
struct PageSet {
    bits: Vec<u64>,
    count: u64,
    taken: u64,
}

impl PageSet {
    fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(0);
        Self { bits: vec![0; words], count, taken: 0 }
    }

    /// Adds these pages, of which none may be there.
    fn take(&mut self, first: u64, count: u64) -> Result<(), &'static str> {
        if first < 2 || first.saturating_add(count) > self.count {
            return Err("it lies outside of the file");
        }
        for page in first..first + count {
            let word = usize::try_from(page / 64).ok().and_then(|word| self.bits.get_mut(word));
            let Some(word) = word else { return Err("it lies outside of the file") };
            if *word >> (page % 64) & 1 == 1 {
                return Err("another row or table uses it as well");
            }
            *word |= 1 << (page % 64);
            self.taken += 1;
        }
        Ok(())
    }
}
