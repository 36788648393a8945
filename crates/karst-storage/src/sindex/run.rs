//! A run of items: some that follow each other, in one piece of memory that is hardly larger than they are.

use super::{Item, Position, Stamp};

/// Most items of a run: 4 KiB, so that what an insert moves costs less than the way to the run.
pub(super) const ITEMS_MAX: usize = 128;

/// Items for which room is made at a time.
const GROWTH: usize = 8;

/// Most items of two runs that are made one.
const JOINED_MAX: usize = ITEMS_MAX / 2;

/// Never empty, but between the last removal and its end.
#[derive(Debug)]
pub(super) struct Run {
    items: Vec<Item>,
}

impl Run {
    /// A run of one item.
    pub(super) fn of(item: Item) -> Run {
        Run { items: vec![item] } // room for one: most runs of a small index stay so
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= ITEMS_MAX
    }

    /// Position of the first item.
    pub(super) fn first(&self) -> Position {
        self.items[0].position()
    }

    /// Position of the last item.
    pub(super) fn last(&self) -> Position {
        self.items[self.items.len() - 1].position()
    }

    /// Where a position is, or would be.
    pub(super) fn find(&self, position: &Position) -> Result<usize, usize> {
        self.items
            .binary_search_by(|item| item.position().cmp(position))
    }

    pub(super) fn set_stamp(&mut self, index: usize, stamp: Stamp) {
        self.items[index].stamp = stamp;
    }

    pub(super) fn insert(&mut self, index: usize, item: Item) {
        if self.items.len() == self.items.capacity() {
            let growth = if self.items.len() == 1 { 3 } else { GROWTH };
            self.items.reserve_exact(growth);
        }
        self.items.insert(index, item);
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.items.remove(index);
        self.fit();
    }

    pub(super) fn retain(&mut self, keep: &mut dyn FnMut(&Item) -> bool) {
        self.items.retain(keep);
        self.fit();
    }

    /// Gives back what is much more than it takes.
    fn fit(&mut self) {
        if self.items.capacity() > self.items.len() + 3 * GROWTH {
            self.items.shrink_to(self.items.len() + GROWTH);
        }
    }

    /// Splits off the upper half.
    pub(super) fn split(&mut self) -> Run {
        let upper = self.items[self.items.len() / 2..].to_vec();
        self.items.truncate(self.items.len() / 2);
        self.items.shrink_to(self.items.len() + GROWTH);
        Run { items: upper }
    }

    /// Whether this and the next are better one.
    pub(super) fn may_join(&self, next: &Run) -> bool {
        self.len() + next.len() <= JOINED_MAX
    }

    /// Takes the items of the next run.
    pub(super) fn join(&mut self, next: &Run) {
        self.items.reserve_exact(next.len());
        self.items.extend_from_slice(&next.items);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item>()
    }
}
