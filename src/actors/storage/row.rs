//! Rows with a checksum: LMDB has none, and what is read back here decides what is signed and what counts.

/// A row with its CRC32C behind it.
pub(crate) fn checked(row: &[u8]) -> Vec<u8> {
    [row, &crc32c::crc32c(row).to_le_bytes()].concat()
}

/// A row without its CRC32C, where that holds.
pub(crate) fn unchecked(row: &[u8]) -> Option<&[u8]> {
    let (body, crc) = row.split_last_chunk::<4>()?;
    (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_back_and_an_altered_one_is_not() {
        let row = checked(b"seven bytes and more");
        assert_eq!(unchecked(&row), Some(b"seven bytes and more".as_slice()));
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unchecked(&bad), None, "bit {bit}");
        }
        assert_eq!(unchecked(&row[..3]), None);
    }
}
