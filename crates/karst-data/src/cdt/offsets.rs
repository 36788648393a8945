//! Where the elements of one collection begin: found for an operation and forgotten after it.

use smallvec::SmallVec;

use super::CdtError;
use crate::msgpack::{SIZES, end_of};
use crate::work::Work;

/// Starts of a collection's elements in its packed bytes, and the end of the last one.
pub(crate) type Offsets = SmallVec<[u32; 32]>;

const FAR: CdtError = CdtError::Damaged("elements beyond its end");

/// Elements that [`Walker::skip`] steps over at once.
const STRIDE: usize = 32;

/// Steps over elements one after the other.
///
/// Elements mostly have the size of the last but one, key like key and value like value. Going on by that
/// size, once it is found to be the right one, lets the CPU run ahead; by the size that was just read it
/// would have to wait for every element's first byte.
#[derive(Clone, Copy)]
pub(crate) struct Walker<'v> {
    bytes: &'v [u8],
    at: usize,
    /// Size of the last element but one, if its first byte tells it.
    usual: usize,
    /// Size of the last element, likewise.
    other: usize,
}

impl<'v> Walker<'v> {
    pub(crate) fn new(bytes: &'v [u8], from: usize) -> Walker<'v> {
        Walker {
            bytes,
            at: from,
            usual: 0,
            other: 0,
        }
    }

    /// Where the next element begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Steps over one element.
    ///
    /// # Errors
    /// [`CdtError::Damaged`] if there is none.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<(), CdtError> {
        let first = *self.bytes.get(self.at).ok_or(FAR)?;
        let size = usize::from(SIZES[usize::from(first)]);
        if size == self.usual && size != 0 {
            self.at = Some(self.at + size)
                .filter(|end| *end <= self.bytes.len())
                .ok_or(FAR)?;
        } else {
            self.at = end_of(self.bytes, self.at).ok_or(FAR)?;
            self.usual = size;
        }
        std::mem::swap(&mut self.usual, &mut self.other);
        Ok(())
    }

    /// Steps over so many elements.
    ///
    /// # Errors
    /// As [`Walker::step`].
    pub(crate) fn skip(&mut self, count: usize) -> Result<(), CdtError> {
        for _ in 0..count / STRIDE {
            match self.stride_alike() {
                Some(end) => self.at = end,
                None => {
                    for _ in 0..STRIDE {
                        self.step()?;
                    }
                }
            }
        }
        for _ in 0..count % STRIDE {
            self.step()?;
        }
        Ok(())
    }

    /// Steps over [`STRIDE`] elements and notes where they begin.
    #[inline]
    fn note(&mut self, offsets: &mut Offsets) -> Result<(), CdtError> {
        let Some(end) = self.stride_alike() else {
            for _ in 0..STRIDE {
                offsets.push(self.at as u32);
                self.step()?;
            }
            return Ok(());
        };
        let (pair, second) = ((self.usual + self.other) as u32, self.usual as u32);
        let first = self.at as u32;
        let starts: [u32; STRIDE] = std::array::from_fn(|at| {
            first + at as u32 / 2 * pair + if at % 2 == 1 { second } else { 0 }
        });
        offsets.extend_from_slice(&starts);
        self.at = end;
        Ok(())
    }

    /// Where the next [`STRIDE`] elements end, if all have the usual sizes. Each is looked at where it is then;
    /// none waits for the one before.
    fn stride_alike(&self) -> Option<usize> {
        let pair = self.usual + self.other;
        let end = self.at + pair * (STRIDE / 2);
        if self.usual == 0 || self.other == 0 || end > self.bytes.len() {
            return None;
        }
        let size = |first: u8| usize::from(SIZES[usize::from(first)]);
        let mut alike = true;
        for two in self.bytes[self.at..end].chunks_exact(pair) {
            alike &= size(two[0]) == self.usual && size(two[self.usual]) == self.other;
        }
        alike.then_some(end)
    }
}

/// Finds `count` elements from `from` on, which must end where the bytes do.
pub(crate) fn scan(
    bytes: &[u8],
    from: usize,
    count: usize,
    work: &Work,
) -> Result<Offsets, CdtError> {
    if u32::try_from(bytes.len()).is_err() || count > bytes.len() {
        return Err(FAR); // every element has a byte
    }
    work.spend(10 + 2 * count as u64)?;
    let mut offsets = Offsets::with_capacity(count + 1);
    let mut walker = Walker::new(bytes, from);
    for _ in 0..count / STRIDE {
        walker.note(&mut offsets)?;
    }
    for _ in 0..count % STRIDE {
        offsets.push(walker.at() as u32);
        walker.step()?;
    }
    if walker.at() != bytes.len() {
        return Err(CdtError::Damaged("it does not end where its elements do"));
    }
    offsets.push(walker.at() as u32);
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::{write_int, write_typed};

    /// Elements of sizes that change now and then, in the pattern of pairs.
    fn elements(seed: u64) -> (Vec<u8>, Vec<usize>) {
        let mut dice = seed;
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        let mut usual = [3usize, 1];
        for at in 0..200 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if (dice >> 33).is_multiple_of(23) {
                usual[at % 2] = (dice >> 40) as usize % 40;
            }
            starts.push(bytes.len());
            match usual[at % 2] {
                0 => write_int(&mut bytes, 5, false),
                1 => write_int(&mut bytes, 70_000, false),
                2 => bytes.extend([0x92, 1, 0x91, 2]),
                length => write_typed(&mut bytes, 3, &vec![b'x'; length]),
            }
        }
        starts.push(bytes.len());
        (bytes, starts)
    }

    #[test]
    fn a_walker_that_skips_arrives_where_one_that_steps_does() {
        for seed in 0..200 {
            let (bytes, starts) = elements(seed);
            let scanned = scan(&bytes, 0, 200, &Work::unlimited()).unwrap();
            let scanned: Vec<usize> = scanned.iter().map(|at| *at as usize).collect();
            assert_eq!(scanned, starts, "seed {seed}");
            for (from, to) in [(0, 200), (0, 199), (1, 17), (3, 190), (50, 51), (7, 7)] {
                let mut walker = Walker::new(&bytes, 0);
                walker.skip(from).unwrap();
                assert_eq!(walker.at(), starts[from], "seed {seed}");
                walker.skip(to - from).unwrap();
                assert_eq!(walker.at(), starts[to], "seed {seed}");
            }
            assert!(Walker::new(&bytes, 0).skip(201).is_err());
            let short = &bytes[..bytes.len() - 1];
            assert!(Walker::new(short, 0).skip(200).is_err());
        }
    }
}
