//! The file: a header, then one transaction a line.
//!
//! The header names how many replicas, transactions and operations follow, and the set that they end in. A transaction
//! names, by their indexes in the file, the transactions that it causally follows (its *parents*), the replica that made
//! it, when, and what it did: `["add", path]`, `["remove", path]`, or `["touch", ""]`, which changes no path.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

/// What gzip files begin with.
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// What the header says of its kind.
const KIND: &str = "or-set-history";

/// Why a file is not a history.
pub type BadHistory = Box<dyn std::error::Error>;

/// A whole file.
#[derive(Debug)]
pub struct History {
    /// How many replicas there are; they are numbered from 0.
    pub replicas: usize,
    /// In an order in which each comes after its parents.
    pub transactions: Vec<Transaction>,
    /// The set that all replicas end with, sorted.
    pub expected: Vec<String>,
}

/// What one replica did at one moment.
#[derive(Debug, Deserialize)]
pub struct Transaction {
    /// The transactions that its replica had seen, apart from what those had seen in turn.
    pub parents: Vec<usize>,
    /// Who did it.
    pub replica: usize,
    /// When, by that replica's wall clock: milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What was done, one after the other.
    pub ops: Vec<(Verb, String)>,
}

/// What an operation does to its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Adds it.
    Add,
    /// Removes it, as far as the replica had seen it added.
    Remove,
    /// Nothing.
    Touch,
}

#[derive(Deserialize)]
struct Header {
    kind: String,
    replicas: usize,
    txns: usize,
    ops: usize,
    #[serde(rename = "final")]
    expected: Vec<String>,
}

impl History {
    /// Reads a file, plain or compressed.
    pub fn read(path: &Path) -> Result<Self, BadHistory> {
        let named = |error: BadHistory| format!("{}: {error}", path.display());
        let open = || -> Result<Box<dyn BufRead>, BadHistory> {
            let mut file = File::open(path)?;
            let mut magic = Vec::new();
            (&mut file).take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic)?;
            file.seek(SeekFrom::Start(0))?;
            if magic == GZIP_MAGIC {
                Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))))
            } else {
                Ok(Box::new(BufReader::new(file)))
            }
        };
        Ok(open().and_then(Self::parse).map_err(named)?)
    }

    /// Reads the lines of a file, and checks that they are what the header says.
    pub fn parse(lines: impl BufRead) -> Result<Self, BadHistory> {
        let mut lines = lines.lines().enumerate();
        let (_, header) = lines.next().ok_or("the file is empty: it begins with a header")?;
        let header: Header = serde_json::from_str(&header?).map_err(|error| format!("the header: {error}"))?;
        if header.kind != KIND {
            return Err(format!("its kind is {:?}, not {KIND:?}", header.kind).into());
        }
        let mut transactions = Vec::new();
        for (number, line) in lines {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let at = |what: &dyn std::fmt::Display| format!("line {}: {what}", number + 1);
            let transaction: Transaction = serde_json::from_str(&line).map_err(|error| at(&error))?;
            if transaction.parents.iter().any(|&parent| parent >= transactions.len()) {
                return Err(at(&"a transaction comes after its parents").into());
            }
            if transaction.replica >= header.replicas {
                return Err(at(&format!("there are {} replicas, numbered from 0", header.replicas)).into());
            }
            transactions.push(transaction);
        }
        let mut expected = header.expected;
        expected.sort_unstable();
        let history = Self { replicas: header.replicas, transactions, expected };
        let (txns, ops) = (history.transactions.len(), history.ops());
        if (txns, ops) != (header.txns, header.ops) {
            let promised = format!("{} transactions with {} operations", header.txns, header.ops);
            return Err(format!("the header promises {promised}, but there are {txns} with {ops}").into());
        }
        Ok(history)
    }

    /// How many operations there are.
    pub fn ops(&self) -> usize {
        self.transactions.iter().map(|transaction| transaction.ops.len()).sum()
    }
}
