//! The definitions of RFC 9162, sections 2.1.1, 2.1.3.1 and 2.1.4.1, written down word by word: slow, recursive, and
//! with nothing but the hash. What the other files do faster is held to this.

use super::node::Hash;

/// Different leaves.
pub(super) fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|index| *blake3::hash(&index.to_le_bytes()).as_bytes()).collect()
}

fn node(left: Hash, right: Hash) -> Hash {
    blake3::derive_key("xaeroflux 2026 mmr node v1", &[left, right].concat())
}

/// The largest power of two below the number.
fn k(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// `MTH(D_n)`.
pub(super) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => blake3::derive_key("xaeroflux 2026 mmr node v1", &[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// `PATH(m, D_n)`.
pub(super) fn inclusion(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) =
        if m < k { (inclusion(m, left), root(right)) } else { (inclusion(m - k, right), root(left)) };
    path.push(other);
    path
}

/// `PROOF(m, D_n)`, and no hashes where the RFC defines none.
pub(super) fn consistency(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if m == 0 { Vec::new() } else { subproof(m, leaves, true) }
}

/// `SUBPROOF(m, D_n, b)`.
fn subproof(m: usize, leaves: &[Hash], is_known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if is_known { Vec::new() } else { vec![root(leaves)] };
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) =
        if m <= k { (subproof(m, left, is_known), root(right)) } else { (subproof(m - k, right, false), root(left)) };
    path.push(other);
    path
}
