//! A small growable array of what a directory owns: its segments of heads, its pages.
//!
//! One pointer away from the directory, so that a lookup touches two cache lines to get through it.
//! Growth copies the table, and nothing it points at: eight bytes for every 256 buckets. That is 8 KiB
//! in a node of a billion records, and 512 KiB in a partition that is as full as one can be.

/// What the system's allocator spends on one allocation beyond the bytes asked for.
pub(super) const ALLOCATION_BYTES: usize = 16;

/// Elements that the first allocation holds.
const FIRST: usize = 4;

/// An array that grows and shrinks at its end.
pub(super) struct Table<T> {
    elements: Vec<T>,
}

impl<T> Table<T> {
    /// An empty one, which owns no memory.
    pub(super) fn new() -> Self {
        Table {
            elements: Vec::new(),
        }
    }

    /// Makes room for as many more elements as one knows will come.
    pub(super) fn reserve(&mut self, more: usize) {
        self.elements.reserve_exact(more);
    }

    /// Elements in it.
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    /// The element at `index`, which must be below `len`.
    #[inline]
    pub(super) fn at(&self, index: usize) -> &T {
        &self.elements[index]
    }

    /// The element at `index`, which must be below `len`.
    #[inline]
    pub(super) fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.elements[index]
    }

    /// Adds at the end.
    pub(super) fn push(&mut self, element: T) {
        if self.elements.len() == self.elements.capacity() {
            self.elements.reserve_exact(self.elements.len().max(FIRST));
        }
        self.elements.push(element);
    }

    /// Takes the last one, and gives memory back once three quarters of it are idle.
    pub(super) fn pop(&mut self) -> Option<T> {
        let element = self.elements.pop();
        if self.elements.len() < self.elements.capacity() / 4 {
            self.elements.shrink_to(self.elements.len() * 2);
        }
        element
    }

    /// Heap memory of the table, in bytes; not what the elements own in turn.
    pub(super) fn heap_bytes(&self) -> usize {
        match self.elements.capacity() {
            0 => 0,
            capacity => capacity * size_of::<T>() + ALLOCATION_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_index_and_idle_memory_is_given_back() {
        let mut table = Table::<usize>::new();
        assert_eq!(table.heap_bytes(), 0);
        (0..1000).for_each(|element| table.push(element));
        assert!((0..1000).all(|index| *table.at(index) == index));
        let full_bytes = table.heap_bytes();
        assert!(full_bytes >= 1000 * size_of::<usize>());
        while let Some(element) = table.pop() {
            assert_eq!(element, table.len());
        }
        assert!(table.heap_bytes() < full_bytes / 100);
    }
}
