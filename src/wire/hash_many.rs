//! BLAKE3 of many short inputs at once.
//!
//! One short input keeps a single lane of the processor's vectors busy: 256 bytes take 300 ns by themselves and 40 ns
//! among others. The engine hashes each payload and each event id, so this is a good part of what an event costs.
//!
//! Inputs of the same number of blocks go through the vectors together; a last block that is not full is added to each
//! by itself. What comes out is what [`blake3::hash`] and [`blake3::derive_key`] give, which the test holds it to for
//! every length. The crate lends its vector code only through a module that it does not promise to keep; all use of it
//! is here, and where it goes, a loop over [`blake3::Hasher`] takes its place.

use blake3::{
    BLOCK_LEN, IncrementCounter,
    hazmat::{HasherExt, hash_derive_key_context},
    platform::{Platform, le_bytes_from_words_32, words_from_le_bytes_32},
};

/// Longest input that is hashed together with others, in bytes: one chunk of BLAKE3. A longer one fills the vectors
/// enough by itself, or takes so long that the rest does not matter.
pub(crate) const SHORT: usize = 1024;

// Flags of the compression function: section 2.2 of the BLAKE3 paper.
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

/// The initial value, which is the key where there is none: section 2.1.
const IV: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

/// BLAKE3 in one of its modes, for many inputs.
pub(crate) struct HashMany {
    platform: Platform,
    key: [u32; 8],
    /// The key in the form of key derivation, or none.
    context: Option<[u8; 32]>,
}

impl HashMany {
    /// As [`blake3::hash`].
    pub(crate) fn plain() -> Self {
        Self { platform: Platform::detect(), key: IV, context: None }
    }

    /// As [`blake3::derive_key`] with this context.
    pub(crate) fn derive_key(context: &str) -> Self {
        let context = hash_derive_key_context(context);
        Self { platform: Platform::detect(), key: words_from_le_bytes_32(&context), context: Some(context) }
    }

    /// The hash of one input.
    pub(crate) fn one(&self, input: &[u8]) -> [u8; 32] {
        let mut hasher = match &self.context {
            None => blake3::Hasher::new(),
            Some(context) => blake3::Hasher::new_from_context_key(context),
        };
        *hasher.update(input).finalize().as_bytes()
    }

    /// The hashes of the inputs, in their order.
    pub(crate) fn all(&self, inputs: &[&[u8]]) -> Vec<[u8; 32]> {
        let mut hashes = vec![[0; 32]; inputs.len()];
        let mut rest = hashes.as_mut_slice();
        for run in inputs.chunk_by(|left, right| shape(left) == shape(right)) {
            let (out, after) = rest.split_at_mut(run.len());
            rest = after;
            self.run(run, out);
        }
        hashes
    }

    /// Appends the hashes of inputs of one block each, in their order: what the nodes of a tree are.
    pub(crate) fn blocks_into(&self, inputs: &[&[u8; BLOCK_LEN]], out: &mut Vec<[u8; 32]>) {
        let start = out.len();
        out.resize(start + inputs.len(), [0; 32]);
        let (_, hashes) = out.split_at_mut(start);
        self.full_blocks(inputs, true, hashes);
    }

    /// The hash of an input of one block.
    pub(crate) fn block(&self, input: &[u8; BLOCK_LEN]) -> [u8; 32] {
        let mut hash = [[0; 32]];
        self.full_blocks(&[input], true, &mut hash);
        let [hash] = hash;
        hash
    }

    /// The hashes of inputs of one shape.
    fn run(&self, inputs: &[&[u8]], out: &mut [[u8; 32]]) {
        let Some((blocks, is_whole)) = inputs.first().and_then(|input| shape(input)).filter(|_| inputs.len() > 1)
        else {
            for (input, hash) in inputs.iter().zip(out) {
                *hash = self.one(input);
            }
            return;
        };
        match blocks {
            1 => self.blocks::<64>(inputs, is_whole, out),
            2 => self.blocks::<128>(inputs, is_whole, out),
            3 => self.blocks::<192>(inputs, is_whole, out),
            4 => self.blocks::<256>(inputs, is_whole, out),
            5 => self.blocks::<320>(inputs, is_whole, out),
            6 => self.blocks::<384>(inputs, is_whole, out),
            7 => self.blocks::<448>(inputs, is_whole, out),
            8 => self.blocks::<512>(inputs, is_whole, out),
            9 => self.blocks::<576>(inputs, is_whole, out),
            10 => self.blocks::<640>(inputs, is_whole, out),
            11 => self.blocks::<704>(inputs, is_whole, out),
            12 => self.blocks::<768>(inputs, is_whole, out),
            13 => self.blocks::<832>(inputs, is_whole, out),
            14 => self.blocks::<896>(inputs, is_whole, out),
            15 => self.blocks::<960>(inputs, is_whole, out),
            16 => self.blocks::<1024>(inputs, is_whole, out),
            _ => {}
        }
        if !is_whole {
            for (input, hash) in inputs.iter().zip(out) {
                self.last_block(input, blocks, hash);
            }
        }
    }

    /// Takes the first `N` bytes of each input through the vectors.
    fn blocks<const N: usize>(&self, inputs: &[&[u8]], is_whole: bool, out: &mut [[u8; 32]]) {
        let inputs: Vec<&[u8; N]> = inputs.iter().filter_map(|input| input.first_chunk()).collect();
        self.full_blocks(&inputs, is_whole, out);
    }

    /// Takes inputs of full blocks through the vectors; `is_whole` says that nothing follows them.
    fn full_blocks<const N: usize>(&self, inputs: &[&[u8; N]], is_whole: bool, out: &mut [[u8; 32]]) {
        let flags_end = if is_whole { CHUNK_END | ROOT } else { 0 };
        let (counter, each) = (0, IncrementCounter::No);
        let out = out.as_flattened_mut();
        self.platform.hash_many(inputs, &self.key, counter, each, self.flags(), CHUNK_START, flags_end, out);
    }

    /// Adds a last block that is not full to what the blocks before it have left in `hash`.
    fn last_block(&self, input: &[u8], blocks: usize, hash: &mut [u8; 32]) {
        let (mut value, start) = if blocks == 0 { (self.key, CHUNK_START) } else { (words_from_le_bytes_32(hash), 0) };
        let rest = input.get(blocks * BLOCK_LEN..).unwrap_or_default();
        let mut block = [0; BLOCK_LEN];
        for (slot, byte) in block.iter_mut().zip(rest) {
            *slot = *byte;
        }
        let length = u8::try_from(rest.len()).unwrap_or(u8::MAX);
        self.platform.compress_in_place(&mut value, &block, length, 0, self.flags() | start | CHUNK_END | ROOT);
        *hash = le_bytes_from_words_32(&value);
    }

    const fn flags(&self) -> u8 {
        if self.context.is_some() { DERIVE_KEY_MATERIAL } else { 0 }
    }
}

/// How many full blocks an input has, and whether that is all of it; `None` for one that is not short.
const fn shape(input: &[u8]) -> Option<(usize, bool)> {
    let (blocks, rest) = (input.len() / BLOCK_LEN, input.len() % BLOCK_LEN);
    if input.len() > SHORT { None } else { Some((blocks, rest == 0 && blocks > 0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_in_every_company_hashes_as_by_itself() {
        let bytes: Vec<u8> = (0..3 * SHORT).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let check = |inputs: &[&[u8]]| {
            let plain = HashMany::plain().all(inputs);
            let derived = HashMany::derive_key("a context").all(inputs);
            for ((input, plain), derived) in inputs.iter().zip(plain).zip(derived) {
                assert_eq!(plain, *blake3::hash(input).as_bytes(), "{} bytes", input.len());
                assert_eq!(derived, blake3::derive_key("a context", input), "{} bytes", input.len());
            }
        };
        check(&[]);
        for length in 0..=SHORT + 65 {
            // Different bytes each, one to more than the widest vectors take.
            let company: Vec<&[u8]> = (0..length % 19 + 1).map(|from| &bytes[from..from + length]).collect();
            check(&company);
        }
        let blocks: Vec<&[u8; BLOCK_LEN]> = (0..40).map(|from| bytes[from..].first_chunk().unwrap()).collect();
        let derived = HashMany::derive_key("a context");
        for count in 0..blocks.len() {
            let mut hashes = vec![[1; 32]];
            derived.blocks_into(&blocks[..count], &mut hashes);
            let expected = blocks[..count].iter().map(|block| blake3::derive_key("a context", &block[..]));
            assert!(hashes.into_iter().eq(std::iter::once([1; 32]).chain(expected)), "{count} blocks");
            assert_eq!(derived.block(blocks[count]), blake3::derive_key("a context", blocks[count]));
        }
        let mixed: Vec<&[u8]> = (0..500).map(|n| &bytes[n..n + (n * n) % (SHORT + 300)]).collect();
        check(&mixed);
    }
}
