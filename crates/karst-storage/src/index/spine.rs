//! A growable array whose elements never move and whose growth never copies.
//!
//! Chunks double in size: chunk k holds 16 << k elements, and an index finds its chunk by its
//! highest bit. A push allocates at most one chunk, as address space only: nothing is filled in
//! advance, so even the largest chunk costs one system call and its pages as they are first used.

/// Elements of the first chunk.
const FIRST: usize = 16;

/// What the system's allocator spends on one allocation beyond the bytes asked for.
pub(super) const ALLOCATION_BYTES: usize = 16;

/// An array of up to `Spine::CAPACITY` elements, grown and shrunk at its end.
pub(super) struct Spine<T, const CHUNKS: usize> {
    chunks: [Vec<T>; CHUNKS],
    len: usize,
}

impl<T, const CHUNKS: usize> Spine<T, CHUNKS> {
    /// Elements that fit.
    pub(super) const CAPACITY: usize = FIRST * ((1 << CHUNKS) - 1);

    /// An empty one, which owns no memory.
    pub(super) fn new() -> Self {
        Spine {
            chunks: [const { Vec::new() }; CHUNKS],
            len: 0,
        }
    }

    /// Elements in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The element at `index`, which must be below `len`.
    #[inline]
    pub(super) fn at(&self, index: usize) -> &T {
        let (chunk, offset) = locate(index);
        &self.chunks[chunk][offset]
    }

    /// The element at `index`, which must be below `len`.
    #[inline]
    pub(super) fn at_mut(&mut self, index: usize) -> &mut T {
        let (chunk, offset) = locate(index);
        &mut self.chunks[chunk][offset]
    }

    /// Adds at the end.
    pub(super) fn push(&mut self, element: T) {
        assert!(self.len < Self::CAPACITY);
        let (chunk, offset) = locate(self.len);
        let chunk_elements = FIRST << chunk;
        let chunk = &mut self.chunks[chunk];
        if offset == 0 {
            *chunk = Vec::with_capacity(chunk_elements);
        }
        assert!(chunk.len() == offset);
        chunk.push(element);
        self.len += 1;
    }

    /// Takes the last one, and gives back its chunk if that is now empty.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        let (chunk, offset) = locate(self.len);
        let element = self.chunks[chunk].pop();
        assert!(element.is_some());
        if offset == 0 {
            self.chunks[chunk] = Vec::new();
        }
        element
    }

    /// Heap memory of the chunks, in bytes; not what the elements own in turn.
    pub(super) fn heap_bytes(&self) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| chunk.capacity() > 0);
        chunks
            .map(|chunk| chunk.capacity() * size_of::<T>() + ALLOCATION_BYTES)
            .sum()
    }
}

/// The chunk of an index and its offset there.
#[inline]
fn locate(index: usize) -> (usize, usize) {
    let shifted = index + FIRST;
    let chunk = (shifted.ilog2() - FIRST.ilog2()) as usize;
    (chunk, shifted - (FIRST << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_index_and_address_while_the_spine_grows() {
        let mut spine = Spine::<usize, 4>::new();
        let mut addresses = vec![];
        for index in 0..Spine::<usize, 4>::CAPACITY {
            spine.push(index);
            addresses.push(&raw const *spine.at(index));
        }
        for (index, address) in addresses.iter().enumerate() {
            assert_eq!(*spine.at(index), index);
            assert_eq!(&raw const *spine.at(index), *address);
        }
    }

    #[test]
    fn an_emptied_spine_owns_no_memory() {
        let mut spine = Spine::<u32, 4>::new();
        (0..200).for_each(|element| spine.push(element));
        assert!(spine.heap_bytes() >= 200 * 4);
        assert!((0..200).rev().all(|element| spine.pop() == Some(element)));
        assert_eq!((spine.pop(), spine.len(), spine.heap_bytes()), (None, 0, 0));
    }

    #[test]
    fn a_growing_spine_wastes_at_most_half_of_itself() {
        let mut spine = Spine::<u32, 10>::new();
        for len in 1..=10_000usize {
            spine.push(0);
            let overhead = 10 * ALLOCATION_BYTES + FIRST * 4;
            assert!(
                spine.heap_bytes() <= 2 * len * 4 + overhead,
                "{len} elements"
            );
        }
    }
}
