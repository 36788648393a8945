//! What a tombstone remembers, and when it may go.
//!
//! A tombstone covers every older copy of its record, wherever one may still lie. All of them were
//! appended before it, so they lie in fills up to the log's fill number at the delete: that number is
//! what the tombstone bears ([`Cover`]), in the 32 bits in which a record bears its void time.
//!
//! It may go when no block of any device can give back bytes of a fill up to its cover
//! ([`Cover::is_idle`]), and no replica can hold an older copy, which is not for the log to know. Nothing
//! depends on time, and all that is uncertain counts as "an older copy may exist".

/// The largest fill number that is told exactly; larger ones are rounded up.
const EXACT_MAX: u64 = (1 << 31) - 1;

/// Says that the other 31 bits are an exponent and a mantissa.
const ROUNDED: u32 = 1 << 31;

const MANTISSA_BITS: u32 = 26;

/// Smallest shift of a mantissa: with it the rounded numbers go on where the exact ones end.
const SHIFT_MIN: u32 = 6;

/// The newest fill in which an older copy of a deleted record may lie.
///
/// Exact up to 2^31 - 1. Above, 26 bits of it are kept and the rest is rounded up, so a cover never
/// says less than is true and says at most a 2^25th more: a tombstone stays a little longer than it
/// has to, and still goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover(pub u32);

impl Cover {
    /// The cover of a delete at this fill number.
    pub fn up_to(fill: u64) -> Cover {
        if fill <= EXACT_MAX {
            return Cover(fill as u32);
        }
        let mut shift = (u64::BITS - fill.leading_zeros())
            .saturating_sub(MANTISSA_BITS)
            .max(SHIFT_MIN);
        let mut mantissa = fill.div_ceil(1 << shift);
        if mantissa == 1 << MANTISSA_BITS {
            (mantissa, shift) = (mantissa >> 1, shift + 1);
        }
        Cover(ROUNDED | (shift - SHIFT_MIN) << MANTISSA_BITS | mantissa as u32)
    }

    /// The fill number, never below the one that the cover was made from.
    pub fn fill(self) -> u64 {
        if self.0 & ROUNDED == 0 {
            return u64::from(self.0);
        }
        let shift = SHIFT_MIN + ((self.0 & !ROUNDED) >> MANTISSA_BITS);
        let mantissa = u64::from(self.0 & ((1 << MANTISSA_BITS) - 1));
        mantissa << shift // at most 37 + 26 bits
    }

    /// Whether no block can hold an older copy any more. `oldest_fill` is
    /// [`Log::oldest_fill`](crate::log::Log::oldest_fill).
    pub fn is_idle(self, oldest_fill: u64) -> bool {
        self.fill() < oldest_fill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cover_never_says_less_than_the_fill_and_hardly_more() {
        let edges = (0..63).flat_map(|bit| {
            let power = 1u64 << bit;
            [power.saturating_sub(1), power, power + 1, power + power / 3]
        });
        let mut before = (0, 0);
        let mut fills: Vec<u64> = edges.filter(|fill| *fill < 1 << 62).collect();
        fills.sort_unstable();
        for fill in fills {
            let told = Cover::up_to(fill).fill();
            assert!(told >= fill, "{fill} became {told}");
            assert!(told - fill <= fill >> 25, "{fill} became {told}");
            assert!(fill > EXACT_MAX || told == fill);
            assert!(before.0 > fill || before.1 <= told, "order is kept");
            before = (fill, told);
        }
    }

    #[test]
    fn a_tombstone_is_idle_only_when_every_fill_it_covers_is_gone() {
        for fill in [
            0,
            1,
            99,
            EXACT_MAX,
            EXACT_MAX + 1,
            u64::from(u32::MAX),
            1 << 40,
        ] {
            let cover = Cover::up_to(fill);
            assert!(!cover.is_idle(fill), "{fill}");
            assert!(!cover.is_idle(0));
            assert!(cover.is_idle(fill + (fill >> 25) + 1), "{fill}");
        }
    }
}
