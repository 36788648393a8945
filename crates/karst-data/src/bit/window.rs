//! Bits of a byte string, up to 64 at a time, at any place.
//!
//! Callers have checked that the bits are inside.

/// Most bits that are moved at once.
pub(crate) const CHUNK_BITS: u64 = 64;

/// Where a bit lies: its byte, and how many bits of that byte come before it.
fn place(at: u64) -> (usize, u32) {
    ((at / 8) as usize, (at % 8) as u32)
}

fn mask(count: u32) -> u64 {
    u64::MAX.checked_shr(64 - count).unwrap_or(0)
}

/// `count` bits from `at` on, as a number. One to 64.
pub(crate) fn load(bytes: &[u8], at: u64, count: u32) -> u64 {
    let (first, before) = place(at);
    let wide = match bytes.get(first..first + 16) {
        Some(sixteen) => u128::from_be_bytes(sixteen.try_into().unwrap_or_default()),
        None => {
            let mut padded = [0; 16];
            let rest = &bytes[first..];
            padded[..rest.len()].copy_from_slice(rest);
            u128::from_be_bytes(padded)
        }
    };
    (wide >> (128 - before - count)) as u64 & mask(count)
}

/// Writes `count` bits from `at` on: the low ones of `value`. One to 64.
pub(crate) fn store(bytes: &mut [u8], at: u64, count: u32, value: u64) {
    let (first, before) = place(at);
    let (last, _) = place(at + u64::from(count) + 7);
    let span = &mut bytes[first..last];
    let mut padded = [0; 16];
    padded[..span.len()].copy_from_slice(span);
    let shift = 128 - before - count;
    let mask = u128::from(mask(count)) << shift;
    let value = u128::from(value) << shift;
    let merged = (u128::from_be_bytes(padded) & !mask | value & mask).to_be_bytes();
    span.copy_from_slice(&merged[..span.len()]);
}

/// The pieces of a range of bits, from the left: where each begins and how many bits it has.
pub(crate) fn chunks(at: u64, size: u64) -> impl DoubleEndedIterator<Item = (u64, u32)> {
    let pieces = size.div_ceil(CHUNK_BITS);
    (0..pieces).map(move |piece| {
        let begin = piece * CHUNK_BITS;
        (at + begin, (size - begin).min(CHUNK_BITS) as u32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_at_any_place_is_loaded_and_nothing_beside_it_changes() {
        for at in 0..24 {
            for count in 1..=64 {
                for filler in [0u8, 0xff] {
                    let mut bytes = [filler; 12];
                    if at + u64::from(count) > 96 {
                        continue;
                    }
                    let value = 0x8bad_f00d_dead_beef & mask(count);
                    store(&mut bytes, at, count, value);
                    assert_eq!(load(&bytes, at, count), value, "{count} at {at}");
                    store(
                        &mut bytes,
                        at,
                        count,
                        if filler == 0 { 0 } else { u64::MAX },
                    );
                    assert_eq!(bytes, [filler; 12], "{count} at {at}");
                }
            }
        }
    }
}
