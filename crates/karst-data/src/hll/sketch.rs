//! Sketches: their shape, their registers, and how they are joined.

use crate::bit::window::{load, store};
use crate::call::CallError;

/// Bytes before the registers.
const HEADER_BYTES: usize = 11;

/// Bits of a register that hold the rank.
const RANK_BITS: u8 = 6;

/// Where the count that was last computed lies.
const COUNT: std::ops::Range<usize> = 3..11;

/// How many registers there are and what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) index_bits: u8,
    pub(super) minhash_bits: u8,
}

impl Shape {
    pub(super) fn is_index_bits(bits: i64) -> bool {
        (4..=16).contains(&bits)
    }

    pub(super) fn is_minhash_bits(bits: i64) -> bool {
        bits == 0 || (4..=51).contains(&bits)
    }

    /// A shape of parts that are in range, unless both take more bits than one word of the hash has.
    pub(super) fn new(index_bits: u8, minhash_bits: u8) -> Option<Shape> {
        (index_bits + minhash_bits <= 64).then_some(Shape {
            index_bits,
            minhash_bits,
        })
    }

    /// The shape in which several sketches can be joined: the fewest registers, and minhashes if all have
    /// the same.
    pub(super) fn common(shapes: impl Iterator<Item = Shape>) -> Option<Shape> {
        shapes.reduce(|a, b| Shape {
            index_bits: a.index_bits.min(b.index_bits),
            minhash_bits: if a.minhash_bits == b.minhash_bits {
                a.minhash_bits
            } else {
                0
            },
        })
    }

    pub(super) fn registers(self) -> u64 {
        1 << self.index_bits
    }

    fn register_bits(self) -> u32 {
        u32::from(RANK_BITS + self.minhash_bits)
    }

    fn bytes(self) -> usize {
        let bits = self.registers() * u64::from(self.register_bits());
        HEADER_BYTES + bits.div_ceil(8) as usize
    }
}

/// A sketch, read where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View<'a> {
    pub(super) shape: Shape,
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// Takes bytes for a sketch; `None` if they are none.
    pub(super) fn new(bytes: &'a [u8]) -> Option<View<'a>> {
        let &[0, index_bits, minhash_bits, ..] = bytes else {
            return None;
        };
        let in_range = Shape::is_index_bits(i64::from(index_bits))
            && Shape::is_minhash_bits(i64::from(minhash_bits));
        if !in_range {
            return None;
        }
        let shape = Shape::new(index_bits, minhash_bits)?;
        (bytes.len() == shape.bytes()).then_some(View { shape, bytes })
    }

    /// A stored sketch, which was checked when it was stored.
    pub(super) fn stored(bytes: &'a [u8]) -> Result<View<'a>, CallError> {
        View::new(bytes).ok_or(CallError::Corrupt)
    }

    /// The count as it was last computed, if nothing was added since.
    pub(super) fn known_count(&self) -> Option<u64> {
        let bytes = self.bytes[COUNT].try_into().unwrap_or_default();
        Some(u64::from_le_bytes(bytes)).filter(|count| *count != 0)
    }

    pub(super) fn register(&self, register: u64) -> u64 {
        let bits = self.shape.register_bits();
        let registers = &self.bytes[HEADER_BYTES..];
        load(registers, register * u64::from(bits), bits)
    }

    /// All registers in order.
    pub(super) fn registers(self) -> impl Iterator<Item = u64> + 'a {
        (0..self.shape.registers()).map(move |register| self.register(register))
    }

    /// Whether nothing was ever added.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes[HEADER_BYTES..].iter().all(|byte| *byte == 0)
    }

    /// A copy.
    pub(super) fn to_sketch(self) -> Sketch {
        Sketch {
            shape: self.shape,
            bytes: self.bytes.to_vec(),
        }
    }
}

/// A sketch in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sketch {
    shape: Shape,
    bytes: Vec<u8>,
}

impl Sketch {
    /// An empty one.
    pub(super) fn new(shape: Shape) -> Sketch {
        let mut bytes = vec![0; shape.bytes()];
        bytes[1] = shape.index_bits;
        bytes[2] = shape.minhash_bits;
        Sketch { shape, bytes }
    }

    /// The join of some sketches in this shape.
    pub(super) fn union<'v>(shape: Shape, views: impl Iterator<Item = View<'v>>) -> Sketch {
        let mut union = Sketch::new(shape);
        for view in views {
            union.join(view);
        }
        union
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            shape: self.shape,
            bytes: &self.bytes,
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Keeps a count, or that none is known: zero.
    pub(super) fn set_count(&mut self, count: u64) {
        self.bytes[COUNT].copy_from_slice(&count.to_le_bytes());
    }

    pub(super) fn set_register(&mut self, register: u64, value: u64) {
        let bits = self.shape.register_bits();
        let registers = &mut self.bytes[HEADER_BYTES..];
        store(registers, register * u64::from(bits), bits, value);
    }

    /// Offers a value to a register; whether it was greater than what is there. The count is forgotten then.
    pub(super) fn offer(&mut self, register: u64, value: u64) -> bool {
        let greater = self.view().register(register) < value;
        if greater {
            self.set_register(register, value);
            self.set_count(0);
        }
        greater
    }

    /// Offers every register of a sketch of the same shape, whose registers are ranks alone: four in three bytes.
    fn join_ranks(&mut self, other: View<'_>) {
        let (count, registers) = self.bytes.split_at_mut(HEADER_BYTES);
        let (own, _) = registers.as_chunks_mut::<3>();
        let (others, _) = other.bytes[HEADER_BYTES..].as_chunks::<3>();
        let mut raised = false;
        for (own, other) in own.iter_mut().zip(others) {
            let [was, is] =
                [&*own, other].map(|bytes| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]));
            let rank = |word: u32, at: u32| word & 0x3f << at;
            let joined = [0, 6, 12, 18].map(|at| rank(was, at).max(rank(is, at)));
            let joined = joined[0] | joined[1] | joined[2] | joined[3];
            raised |= joined != was;
            own.copy_from_slice(&joined.to_be_bytes()[1..]);
        }
        if raised {
            count[COUNT].fill(0);
        }
    }

    /// Offers every register of another sketch, which has at least as many. Minhashes are left out if this
    /// sketch has none.
    pub(super) fn join(&mut self, other: View<'_>) {
        let dropped =
            other.shape.minhash_bits - self.shape.minhash_bits.min(other.shape.minhash_bits);
        if self.shape == other.shape && other.shape.minhash_bits == 0 {
            return self.join_ranks(other);
        }
        let mask = self.shape.registers() - 1;
        for (register, value) in (0..).zip(other.registers()) {
            self.offer(register & mask, value >> dropped);
        }
    }
}
