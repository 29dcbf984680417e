//! The pages of a data file, read without LMDB.
//!
//! LMDB trusts its pages: one flipped bit in a page number leads it out of its map, and the process dies. Whoever looks
//! for damage must not believe what it looks at. So here are LMDB's B-trees once more, for reading only: each page says
//! itself that it is the one that was looked for, nothing is taken from beyond the end of the file, keys ascend, and what
//! breaks a rule is a [`Fault`] with the number of its page. Since the values are slices of one mapping, the place of every
//! byte in the file is known.
//!
//! The layout is that of LMDB 0.9 on a 64-bit machine, as in [`tail`](super::tail): a page has its number (8), padding
//! (2), flags (2), the end of the table of its nodes (2) and the begin of the nodes (2), then the table and the nodes. A
//! node has the halves of the length of its data (or of the number of its child), flags, the length of its key, key, data.

use std::cmp::Ordering;

use super::preflight::Meta;

const PAGE_HEADER: usize = 16;
const FLAGS_AT: usize = 10;
const LOWER_AT: usize = 12;
const UPPER_AT: usize = 14;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const KINDS: u16 = 0x27;
const NODE_HEADER: usize = 8;
const BIG_DATA: u16 = 0x01;
const SUB_TABLE: u16 = 0x02;
/// Bytes of the description of a table in the main tree.
const TABLE_BYTES: usize = 48;
const NO_PAGE: u64 = u64::MAX;

/// Deepest tree that LMDB makes. More levels are pages that lead in a circle.
const MAX_DEPTH: usize = 32;

/// A page that is not what its tree says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The number of the page.
    pub(crate) page: u64,
    /// The rule of the format that it breaks.
    pub(crate) what: &'static str,
}

/// Key and value of a row.
pub(crate) type Row<'m> = (&'m [u8], &'m [u8]);

/// The bytes of a data file and the size of its pages.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'m> {
    bytes: &'m [u8],
    page: usize,
    /// The last page that the newest commit counts.
    last: u64,
}

/// One tree of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) root: u64,
    pub(crate) depth: u16,
    pub(crate) entries: u64,
}

impl Tree {
    /// A tree without rows.
    pub(crate) const EMPTY: Self = Self { root: NO_PAGE, depth: 0, entries: 0 };

    /// The tree that these bytes describe.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let depth = bytes.get(6..)?.first_chunk().map(|depth| u16::from_le_bytes(*depth))?;
        let number = |at: usize| bytes.get(at..)?.first_chunk().map(|number| u64::from_le_bytes(*number));
        Some(Self { root: number(40)?, depth, entries: number(32)? })
    }
}

/// A page that was checked.
#[derive(Clone, Copy)]
struct Page<'m> {
    number: u64,
    bytes: &'m [u8],
    is_leaf: bool,
    nodes: usize,
    /// Where the nodes begin.
    upper: usize,
}

/// A node of a page.
struct Node<'m> {
    flags: u16,
    /// The length of the data, or the number of the child.
    number: u64,
    key: &'m [u8],
    rest: &'m [u8],
}

impl<'m> Pages<'m> {
    /// The pages of a file with this meta page.
    pub(super) fn new(bytes: &'m [u8], meta: &Meta) -> Self {
        let page = usize::try_from(meta.page_size).unwrap_or(usize::MAX);
        Self { bytes, page, last: meta.last_page }
    }

    /// Bytes of one page.
    pub(crate) const fn page_bytes(&self) -> usize {
        self.page
    }

    /// The number of pages that the newest commit counts.
    pub(crate) const fn count(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// The place in the file of bytes that were read from it.
    pub(crate) fn offset_of(&self, slice: &[u8]) -> Option<u64> {
        let offset = slice.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        (offset + slice.len() <= self.bytes.len()).then(|| u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// The table of this name in the main tree; [`Tree::EMPTY`] where there is none.
    pub(crate) fn table(&self, main: Tree, name: &str) -> Result<Tree, Fault> {
        let mut cursor = Cursor::new(*self, main);
        cursor.seek(name.as_bytes())?;
        match cursor.current()? {
            Some((key, value)) if key == name.as_bytes() => {
                let fault = Fault { page: main.root, what: "a table in the main tree is described by something else" };
                value.get(..TABLE_BYTES).and_then(Tree::parse).ok_or(fault)
            }
            _ => Ok(Tree::EMPTY),
        }
    }

    fn page(&self, number: u64) -> Result<Page<'m>, Fault> {
        let fault = |what| Fault { page: number, what };
        if number < 2 || number > self.last {
            return Err(fault("it lies outside of the file that the meta page describes"));
        }
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(self.page));
        let end = start.and_then(|start| start.checked_add(self.page));
        let bytes = start.zip(end).and_then(|(start, end)| self.bytes.get(start..end));
        let bytes = bytes.ok_or_else(|| fault("it lies beyond the end of the file"))?;
        let short = || fault("it is too short for its header");
        if u64_at(bytes, 0).ok_or_else(short)? != number {
            return Err(fault("it has the number of another page"));
        }
        let flags = u16_at(bytes, FLAGS_AT).ok_or_else(short)?;
        let is_leaf = match flags & KINDS {
            LEAF => true,
            BRANCH => false,
            OVERFLOW => return Err(fault("it is part of a large value, not of a tree")),
            _ => return Err(fault("it is no page of a tree")),
        };
        let lower = usize::from(u16_at(bytes, LOWER_AT).ok_or_else(short)?);
        let upper = usize::from(u16_at(bytes, UPPER_AT).ok_or_else(short)?);
        if lower < PAGE_HEADER || lower > upper || upper > self.page || !(lower - PAGE_HEADER).is_multiple_of(2) {
            return Err(fault("the table of its nodes makes no sense"));
        }
        let nodes = (lower - PAGE_HEADER) / 2;
        if nodes == 0 || (!is_leaf && nodes < 2) {
            return Err(fault("it has too few nodes"));
        }
        Ok(Page { number, bytes, is_leaf, nodes, upper })
    }

    fn node(&self, page: &Page<'m>, index: usize) -> Result<Node<'m>, Fault> {
        let fault = Fault { page: page.number, what: "one of its nodes leads out of it" };
        let at = u16_at(page.bytes, PAGE_HEADER + 2 * index).map(usize::from).ok_or(fault)?;
        if at < page.upper {
            return Err(Fault { page: page.number, what: "one of its nodes lies in its table or its free room" });
        }
        let node = page.bytes.get(at..).ok_or(fault)?;
        let field = |at: usize| u16_at(node, at).map(u64::from).ok_or(fault);
        let (low, high, flags, key) = (field(0)?, field(2)?, field(4)?, field(6)?);
        let key_bytes = usize::try_from(key).unwrap_or(usize::MAX);
        let (key, rest) = node.get(NODE_HEADER..).and_then(|rest| rest.split_at_checked(key_bytes)).ok_or(fault)?;
        if !page.is_leaf {
            return Ok(Node { flags: 0, number: low | high << 16 | flags << 32, key, rest });
        }
        let (number, flags) = (low | high << 16, u16::try_from(flags).unwrap_or(0));
        let inline = if flags & BIG_DATA == 0 { number } else { 8 };
        let rest = usize::try_from(inline).ok().and_then(|length| rest.get(..length)).ok_or(fault)?;
        Ok(Node { flags, number, key, rest })
    }

    /// The value of a leaf's node, wherever it lies.
    fn value(&self, page: &Page<'m>, node: &Node<'m>) -> Result<&'m [u8], Fault> {
        if node.flags & BIG_DATA == 0 {
            return Ok(node.rest);
        }
        let first = u64_at(node.rest, 0).unwrap_or(NO_PAGE);
        let (bytes, _) = self.large(first).map_err(|what| Fault { page: first, what })?;
        let length = usize::try_from(node.number).unwrap_or(usize::MAX);
        let value = bytes.get(PAGE_HEADER..).and_then(|bytes| bytes.get(..length));
        value.ok_or(Fault { page: page.number, what: "a large value is longer than its pages" })
    }

    /// The pages of a large value, and how many they are.
    fn large(&self, first: u64) -> Result<(&'m [u8], u64), &'static str> {
        const OUTSIDE: &str = "the pages of a large value lie outside of the file";
        if first < 2 || first > self.last {
            return Err(OUTSIDE);
        }
        let start = usize::try_from(first).ok().and_then(|first| first.checked_mul(self.page)).ok_or(OUTSIDE)?;
        let bytes = self.bytes.get(start..).ok_or(OUTSIDE)?;
        let header = bytes.get(..PAGE_HEADER).ok_or(OUTSIDE)?;
        if u64_at(header, 0) != Some(first) {
            return Err("it has the number of another page");
        }
        if u16_at(header, FLAGS_AT).is_none_or(|flags| flags & KINDS != OVERFLOW) {
            return Err("it is no page of a large value");
        }
        let low = u16_at(header, LOWER_AT).map_or(0, u64::from);
        let count = low | u16_at(header, UPPER_AT).map_or(0, u64::from) << 16;
        if count == 0 || count > self.count().saturating_sub(first) {
            return Err(OUTSIDE);
        }
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(self.page)).ok_or(OUTSIDE)?;
        Ok((bytes.get(..length).ok_or(OUTSIDE)?, count))
    }

    /// Tells of every page of a tree, and of every fault; a tree goes on behind a page that is damaged.
    ///
    /// `used` gets the first page and the number of pages of each run. Returns how many rows there are.
    pub(crate) fn census(
        &self,
        tree: Tree,
        order: Order,
        used: &mut dyn FnMut(u64, u64) -> Result<(), &'static str>,
        damaged: &mut dyn FnMut(Fault),
    ) -> u64 {
        if tree.root == NO_PAGE {
            return 0;
        }
        let mut census =
            Census { pages: *self, depth: usize::from(tree.depth), order, used, damaged, previous: None, rows: 0 };
        census.visit(tree.root, 1, &[]);
        census.rows
    }

    /// The numbers of pages in a row of the list of free pages.
    pub(crate) fn free_pages(row: &[u8]) -> Option<impl Iterator<Item = u64> + '_> {
        let (count, rest) = row.split_first_chunk::<8>()?;
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let (numbers, _) = rest.as_chunks::<8>();
        Some(numbers.get(..count)?.iter().map(|number| u64::from_le_bytes(*number)))
    }
}

/// How the keys of a tree are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Byte by byte.
    Bytes,
    /// As numbers of eight bytes in little-endian order: those of the list of free pages.
    Numbers,
}

impl Order {
    fn is_below(self, left: &[u8], right: &[u8]) -> bool {
        match self {
            Self::Bytes => left < right,
            // A key that is none is below all.
            Self::Numbers => u64_at(left, 0) < u64_at(right, 0),
        }
    }
}

/// A walk over a whole tree.
struct Census<'c, 'm> {
    pages: Pages<'m>,
    depth: usize,
    order: Order,
    used: &'c mut dyn FnMut(u64, u64) -> Result<(), &'static str>,
    damaged: &'c mut dyn FnMut(Fault),
    /// The key of the row before.
    previous: Option<&'m [u8]>,
    rows: u64,
}

impl<'m> Census<'_, 'm> {
    /// `least` is what the keys must not be below.
    fn visit(&mut self, number: u64, level: usize, least: &'m [u8]) {
        if let Err(fault) = self.try_visit(number, level, least) {
            (self.damaged)(fault);
        }
    }

    fn try_visit(&mut self, number: u64, level: usize, least: &'m [u8]) -> Result<(), Fault> {
        let page = self.pages.page(number)?;
        (self.used)(number, 1).map_err(|what| Fault { page: number, what })?;
        if page.is_leaf != (level == self.depth) || level > MAX_DEPTH {
            return Err(Fault { page: number, what: "it is at the wrong depth of its tree" });
        }
        for index in 0..page.nodes {
            let node = self.pages.node(&page, index)?;
            if !page.is_leaf {
                // The first key of a branch is not used.
                let least = if index == 0 { least } else { node.key };
                self.visit(node.number, level + 1, least);
                continue;
            }
            self.rows += 1;
            let follows = self.previous.is_none_or(|previous| self.order.is_below(previous, node.key));
            let is_out_of_order = !follows || self.order.is_below(node.key, least);
            self.previous = Some(node.key);
            if is_out_of_order {
                (self.damaged)(Fault { page: number, what: "its keys are out of order" });
            }
            if node.flags & !(BIG_DATA | SUB_TABLE) != 0 {
                (self.damaged)(Fault { page: number, what: "a node has flags that no row has" });
            }
            if node.flags & BIG_DATA != 0 {
                let first = u64_at(node.rest, 0).unwrap_or(NO_PAGE);
                let run = self.pages.large(first).and_then(|(_, count)| (self.used)(first, count));
                match run {
                    Ok(()) => drop(self.pages.value(&page, &node).map_err(&mut *self.damaged)),
                    Err(what) => (self.damaged)(Fault { page: first, what }),
                }
            }
        }
        Ok(())
    }
}

/// A place among the rows of a tree.
pub(crate) struct Cursor<'m> {
    pages: Pages<'m>,
    tree: Tree,
    /// From the root to the leaf, each with the node that is current.
    path: Vec<(Page<'m>, usize)>,
}

impl<'m> Cursor<'m> {
    pub(crate) const fn new(pages: Pages<'m>, tree: Tree) -> Self {
        Self { pages, tree, path: Vec::new() }
    }

    /// Goes to the first row whose key is not below `key`, or behind the last row.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.path.clear();
        let mut number = self.tree.root;
        while number != NO_PAGE {
            let page = self.descend(number)?;
            let at = self.search(&page, key)?;
            if page.is_leaf {
                self.path.push((page, at));
                return if at < page.nodes { Ok(()) } else { self.next_leaf() };
            }
            self.path.push((page, at));
            number = self.pages.node(&page, at)?.number;
        }
        Ok(())
    }

    /// Goes to the last row.
    pub(crate) fn seek_last(&mut self) -> Result<(), Fault> {
        self.path.clear();
        let mut number = self.tree.root;
        while number != NO_PAGE {
            let page = self.descend(number)?;
            self.path.push((page, page.nodes - 1));
            if page.is_leaf {
                return Ok(());
            }
            number = self.pages.node(&page, page.nodes - 1)?.number;
        }
        Ok(())
    }

    /// The row that the cursor is at; `None` behind the last one.
    pub(crate) fn current(&self) -> Result<Option<Row<'m>>, Fault> {
        let Some((page, index)) = self.path.last().filter(|(page, index)| page.is_leaf && *index < page.nodes) else {
            return Ok(None);
        };
        let node = self.pages.node(page, *index)?;
        Ok(Some((node.key, self.pages.value(page, &node)?)))
    }

    /// The key that the cursor is at.
    pub(crate) fn key(&self) -> Option<&'m [u8]> {
        let (page, index) = self.path.last().filter(|(page, index)| page.is_leaf && *index < page.nodes)?;
        self.pages.node(page, *index).ok().map(|node| node.key)
    }

    /// Goes to the next row.
    pub(crate) fn step(&mut self) -> Result<(), Fault> {
        if let Some((page, index)) = self.path.last_mut() {
            *index += 1;
            if *index < page.nodes {
                return Ok(());
            }
        }
        self.next_leaf()
    }

    /// Goes to the row before; from behind the last row to that.
    pub(crate) fn step_back(&mut self) -> Result<(), Fault> {
        if self.path.is_empty() {
            return self.seek_last();
        }
        while let Some((page, index)) = self.path.last_mut() {
            if let Some(before) = index.checked_sub(1) {
                *index = before;
                let mut page = *page;
                let mut at = before;
                while !page.is_leaf {
                    page = self.descend(self.pages.node(&page, at)?.number)?;
                    at = page.nodes - 1;
                    self.path.push((page, at));
                }
                return Ok(());
            }
            self.path.pop();
        }
        self.tree = Tree::EMPTY;
        Ok(())
    }

    /// From the end of a leaf to the begin of the next one. Where a page is damaged, the cursor is at the branch above
    /// it, and goes on behind it when it is asked again.
    fn next_leaf(&mut self) -> Result<(), Fault> {
        self.path.pop();
        while let Some((page, index)) = self.path.last_mut() {
            *index += 1;
            if *index >= page.nodes {
                self.path.pop();
                continue;
            }
            let (mut page, mut at) = (*page, *index);
            loop {
                page = self.descend(self.pages.node(&page, at)?.number)?;
                at = 0;
                self.path.push((page, at));
                if page.is_leaf {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Goes on behind a page that is damaged. `false` where there is nothing behind.
    pub(crate) fn skip_damage(&mut self) -> Result<bool, Fault> {
        // The last of the path is the branch whose child is damaged, or a leaf with a damaged value.
        match self.path.last_mut() {
            None => return Ok(false),
            Some((page, _)) if page.is_leaf => self.step()?,
            Some(_) => {
                // `next_leaf` leaves one page first.
                let above = self.path.last().copied();
                self.path.extend(above);
                self.next_leaf()?;
            }
        }
        Ok(!self.path.is_empty())
    }

    fn descend(&self, number: u64) -> Result<Page<'m>, Fault> {
        if self.path.len() >= MAX_DEPTH {
            return Err(Fault { page: number, what: "its tree is deeper than any, so that it goes in a circle" });
        }
        self.pages.page(number)
    }

    /// In a leaf, the first node that is not below the key; in a branch, the last one that is not above it.
    fn search(&self, page: &Page<'m>, key: &[u8]) -> Result<usize, Fault> {
        let (mut low, mut high) = (usize::from(!page.is_leaf), page.nodes);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.pages.node(page, middle)?.key.cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Ok(if page.is_leaf { low } else { low - 1 })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
