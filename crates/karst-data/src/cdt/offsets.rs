//! Where the elements of one collection begin: an index made for an operation and dropped after it.

use smallvec::SmallVec;

use super::CdtError;
use crate::msgpack::{SIZES, end_of};

/// Starts of a collection's elements in its packed bytes, and the end of the last one.
pub(crate) type Offsets = SmallVec<[u32; 32]>;

/// Finds `count` elements from `from` on, which must end where the bytes do.
///
/// Elements mostly have the size of the last but one, key like key and value like value. Going on by that
/// size, once it is found to be the right one, lets the CPU run ahead; by the size that was just read it
/// would have to wait for every element's first byte.
pub(crate) fn scan(bytes: &[u8], from: usize, count: usize) -> Result<Offsets, CdtError> {
    const FAR: CdtError = CdtError::Damaged("elements beyond its end");
    if u32::try_from(bytes.len()).is_err() || count > bytes.len() {
        return Err(FAR); // every element has a byte
    }
    let mut offsets = Offsets::with_capacity(count + 1);
    let mut at = from;
    let (mut usual, mut other) = (0usize, 0usize);
    for _ in 0..count {
        offsets.push(at as u32);
        let first = *bytes.get(at).ok_or(FAR)?;
        let size = usize::from(SIZES[usize::from(first)]);
        if size == usual && size != 0 {
            at += usual;
        } else {
            at = end_of(bytes, at).ok_or(FAR)?;
            usual = size;
        }
        (usual, other) = (other, usual);
    }
    if at != bytes.len() {
        return Err(CdtError::Damaged("it does not end where its elements do"));
    }
    offsets.push(at as u32);
    Ok(offsets)
}
