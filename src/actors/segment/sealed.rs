//! A sealed segment: a file that never changes, mapped read-only.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;

use super::{
    layout::{BlockRow, Footer, SegmentError, TRAILER_BYTES, as_u64},
    pack::Contents,
};
use crate::{
    actors::storage::{StorageError, block::BlockView, lmdb::Reads},
    wire::frame::FrameError,
};

/// A segment whose footer was checked and whose file has the length that the footer asks for.
///
/// Blocks are checked when they are read, each time: what is in the map may have come from the disk a moment ago.
pub(crate) struct Sealed {
    path: PathBuf,
    footer: Footer,
    map: Mmap,
}

/// Why a segment cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// What the operating system said.
    Io(std::io::Error),
    /// What is wrong with the bytes.
    Damaged(SegmentError),
}

/// A block of a segment, its bytes not looked at.
#[derive(Clone, Copy)]
pub(crate) struct SealedBlock<'t> {
    pub(crate) segment: &'t Sealed,
    pub(crate) row: &'t BlockRow,
}

impl Sealed {
    /// Opens the file. It is looked at by reading before it is mapped, so that a short file is an error and no signal.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let file = File::open(path)?;
        let footer = read_footer(&file)?;
        // SAFETY: the file is sealed: whoever wrote it has closed it, it was renamed into place under this name, and no
        // code of ours opens a file of such a name for writing or truncates one. Its directory is locked against other
        // processes of ours. The length was compared with the footer, so that the map ends where the file does.
        let map = unsafe { Mmap::map(&file)? };
        // What is mapped is what was looked at.
        if as_u64(map.len()) != footer.begins().saturating_add(as_u64(Footer::bytes(footer.rows.len()))) {
            return Err(OpenError::Damaged(SegmentError::Malformed("its length changed while it was opened")));
        }
        Ok(Self { path: path.to_owned(), footer, map })
    }

    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        as_u64(self.map.len())
    }

    /// All of its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The block that holds the entry at this position.
    pub(crate) fn block(&self, position: u64) -> Option<SealedBlock<'_>> {
        let at = self.footer.rows.partition_point(|row| row.end() <= position);
        let row = self.footer.rows.get(at).filter(|row| row.first <= position)?;
        Some(SealedBlock { segment: self, row })
    }

    /// All blocks, in their order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = SealedBlock<'_>> {
        self.footer.rows.iter().map(|row| SealedBlock { segment: self, row })
    }

    /// Compares the checksums of all blocks.
    pub(crate) fn verify(&self) -> Result<(), StorageError> {
        self.blocks().try_for_each(|block| block.verify().and_then(|()| block.view().map(drop)))
    }
}

impl<'t> SealedBlock<'t> {
    /// The bytes of the block.
    pub(crate) fn bytes(&self) -> &'t [u8] {
        let start = usize::try_from(self.row.offset).unwrap_or(usize::MAX);
        let length = usize::try_from(self.row.length).unwrap_or(usize::MAX);
        // The footer's rows lie in the file, and the map is as long as the file: the range is always there.
        self.segment.map.get(start..start.saturating_add(length)).unwrap_or_default()
    }

    /// Compares the checksum of the whole block. After this the checksums of its entries and frames need no look.
    pub(crate) fn verify(&self) -> Result<(), StorageError> {
        let (expected, found) = (self.row.crc, crc32c::crc32c(self.bytes()));
        if expected == found { Ok(()) } else { Err(self.damaged_as_a_whole(&FrameError::Checksum { expected, found })) }
    }

    /// The block, its table checked.
    pub(crate) fn view(&self) -> Result<BlockView<'t>, StorageError> {
        let view = BlockView::open(self.row.first, self.bytes()).map_err(|source| self.damaged_as_a_whole(&source))?;
        if view.end() == self.row.end() {
            Ok(view)
        } else {
            Err(self
                .damaged_as_a_whole(&FrameError::Malformed("it has another number of entries than the footer says")))
        }
    }

    /// Whether the block is what the footer says of it. Each of its events is looked at.
    pub(crate) fn is_as_said(&self, txn: &impl Reads) -> Result<bool, StorageError> {
        let contents = Contents::of(&self.view()?).map_err(|source| self.damaged_as_a_whole(&source))?;
        let row = contents.row(txn, self.row.offset, self.bytes())?;
        let has_right_subject = self.row.uniform.is_none() || self.row.uniform == row.uniform;
        Ok(contents.is_as(self.row) && row.crc == self.row.crc && has_right_subject)
    }

    /// The error that names the part of this block from byte `offset` on, which holds these positions.
    pub(crate) fn damaged(&self, offset: u64, positions: Range<u64>, what: &FrameError) -> StorageError {
        StorageError::DamagedSegment {
            path: self.segment.path.clone(),
            offset: self.row.offset.saturating_add(offset),
            first: positions.start,
            end: positions.end,
            what: Arc::from(what.to_string()),
        }
    }

    fn damaged_as_a_whole(&self, what: &FrameError) -> StorageError {
        self.damaged(0, self.row.first..self.row.end(), what)
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SegmentError> for OpenError {
    fn from(error: SegmentError) -> Self {
        Self::Damaged(error)
    }
}

/// The footer, read and checked without mapping the file.
fn read_footer(file: &File) -> Result<Footer, OpenError> {
    let have = file.metadata()?.len();
    let from_end = |bytes: usize| -> Result<Vec<u8>, std::io::Error> {
        let mut out = vec![0; bytes];
        file.read_exact_at(&mut out, have.saturating_sub(as_u64(bytes)))?;
        Ok(out)
    };
    if have < as_u64(TRAILER_BYTES) {
        return Err(SegmentError::CutShort { have, need: as_u64(TRAILER_BYTES) }.into());
    }
    let length = Footer::length(&from_end(TRAILER_BYTES)?, have)?;
    Ok(Footer::decode(&from_end(length)?, have)?)
}
