//! Where the elements of one collection begin: an index made for an operation and dropped after it.

use smallvec::SmallVec;

use super::CdtError;
use crate::msgpack::end_of;

/// Starts of a collection's elements in its packed bytes, and the end of the last one.
pub(crate) type Offsets = SmallVec<[u32; 32]>;

/// Finds `count` elements from `from` on, which must end where the bytes do.
///
/// Elements of a collection mostly resemble the last but one, key like key and value like value, and a
/// guess that holds lets the CPU run ahead: otherwise each step waits for the bytes of the one before.
pub(crate) fn scan(bytes: &[u8], from: usize, count: usize) -> Result<Offsets, CdtError> {
    const FAR: CdtError = CdtError::Damaged("elements beyond its end");
    if u32::try_from(bytes.len()).is_err() || count > bytes.len() {
        return Err(FAR); // every element has a byte
    }
    let mut offsets = Offsets::with_capacity(count + 1);
    let mut at = from;
    let mut guesses = [(0u8, 0usize); 2];
    for number in 0..count {
        offsets.push(at as u32);
        let guess = &mut guesses[number & 1];
        let first = *bytes.get(at).ok_or(FAR)?;
        if first == guess.0 && guess.1 != 0 {
            at += guess.1;
            continue;
        }
        let end = end_of(bytes, at).ok_or(FAR)?;
        // Only a head that tells the whole size may be guessed from.
        let tells = !matches!(first, 0x80..=0x9f | 0xc1 | 0xc4..=0xc9 | 0xd9..=0xdf);
        *guess = (first, if tells { end - at } else { 0 });
        at = end;
    }
    if at != bytes.len() {
        return Err(CdtError::Damaged("it does not end where its elements do"));
    }
    offsets.push(at as u32);
    Ok(offsets)
}
