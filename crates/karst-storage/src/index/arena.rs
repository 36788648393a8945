//! Pages of entries, shared by all partitions of a namespace.
//!
//! Owns one mapping, reserved up front and touched page by page: reserving costs address space, not
//! memory. A directory takes whole pages of 64 entries and alone touches them, under its partition's
//! mutex, until it gives them back.
//!
//! Invariants
//!   a page is fresh, in use by exactly one directory, or returned; never two of these
//!   pages below `fresh` were handed out at least once; those from it on are untouched and zero
//!   a returned page's first four bytes name the next returned page
//!
//! Returned pages are handed out again before fresh ones. They stay resident: an index that was
//! large once will be large again, and giving pages back to the system would split huge pages.
//!
//! When all pages are in use, [`ArenaFull`] says so and nothing has changed.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use karst_io::buffer::Region;
use parking_lot::Mutex;

use super::entry::Entry;

/// Entries of a page.
pub(super) const PAGE_ENTRIES: usize = 64;

/// Size of a page in bytes.
pub(super) const PAGE_BYTES: usize = PAGE_ENTRIES * size_of::<Entry>();

const _: () = assert!(PAGE_BYTES == 4096); // so that pages and the system's pages coincide

/// Every page of the arena is in use: the namespace holds as many records as it was set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {pages_max} index pages of 64 records are in use")]
pub struct ArenaFull {
    /// Pages of the arena.
    pub pages_max: u32,
}

/// The right to one page: who has it may read the page, who has it for change may write it.
///
/// Neither cloned nor made up: it comes from [`EntryArena::take`] and goes to [`EntryArena::give`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page(u32);

/// A namespace's index memory.
pub struct EntryArena {
    region: Region,
    pages_max: u32,
    /// Pages handed out at least once.
    fresh: AtomicU32,
    in_use: AtomicU32,
    returned: Mutex<Returned>,
}

/// The chain of returned pages.
struct Returned {
    first: u32,
    count: u32,
}

impl EntryArena {
    /// Reserves address space for `entries_max` records, rounded up to whole pages. The last page of
    /// each partition is part empty, so allow 64 more per partition than there are to be records.
    ///
    /// # Errors
    /// `InvalidInput` if that is none or more than 2^38 - 64; whatever the system says if it refuses.
    pub fn new(entries_max: u64) -> io::Result<EntryArena> {
        let pages_max = u32::try_from(entries_max.div_ceil(PAGE_ENTRIES as u64))
            .ok()
            .filter(|pages_max| *pages_max > 0);
        let pages_max = pages_max.ok_or_else(|| {
            let message = format!("an index of {entries_max} records; 1 to 2^38 - 64 can be had");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        let region = Region::reserve(pages_max as usize * PAGE_BYTES)?;
        assert!(region.len() >= pages_max as usize * PAGE_BYTES);
        assert!(region.as_ptr().cast::<Entry>().is_aligned());
        let returned = Mutex::new(Returned { first: 0, count: 0 });
        let (fresh, in_use) = (AtomicU32::new(0), AtomicU32::new(0));
        Ok(EntryArena {
            region,
            pages_max,
            fresh,
            in_use,
            returned,
        })
    }

    /// Asks the system for huge pages, which spare a lookup most of its address translation. Memory
    /// then becomes resident in steps of 2 MiB.
    ///
    /// # Errors
    /// What the system says; the arena works all the same.
    pub fn advise_huge_pages(&self) -> io::Result<()> {
        self.region.advise_huge_pages()
    }

    /// Pages of the arena.
    pub fn pages_max(&self) -> u32 {
        self.pages_max
    }

    /// Pages that directories hold now.
    pub fn pages_in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Memory behind the pages in use and the returned ones, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.fresh.load(Ordering::Relaxed)) * PAGE_BYTES as u64
    }

    /// A page for the caller alone, its contents of no meaning.
    pub(super) fn take(&self) -> Result<Page, ArenaFull> {
        let page = match self.take_returned() {
            Some(page) => page,
            None => self.take_fresh()?,
        };
        assert!(page.0 < self.pages_max);
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Ok(page)
    }

    fn take_returned(&self) -> Option<Page> {
        let mut returned = self.returned.lock();
        returned.count = returned.count.checked_sub(1)?;
        let page = Page(returned.first);
        // SAFETY: the page is on the chain, so nobody else has it until `returned` is unlocked, and
        // `give` left the next one's number there. It lies inside the mapping and is aligned.
        returned.first = unsafe { self.start_of(&page).cast::<u32>().read() };
        Some(page)
    }

    fn take_fresh(&self) -> Result<Page, ArenaFull> {
        let next = |fresh| (fresh < self.pages_max).then_some(fresh + 1);
        // No memory is published through this counter: a fresh page is zero for every core.
        let fresh = self
            .fresh
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        fresh.map(Page).map_err(|_| ArenaFull {
            pages_max: self.pages_max,
        })
    }

    /// Takes a page back.
    ///
    /// # Safety
    /// `page` must come from this arena.
    pub(super) unsafe fn give(&self, page: Page) {
        assert!(page.0 < self.fresh.load(Ordering::Relaxed));
        let mut returned = self.returned.lock();
        // SAFETY: the caller had the only right to the page, one of ours by its promise, and hands it
        // over with `page`; `returned` is locked. The page lies inside the mapping and is aligned.
        unsafe { self.start_of(&page).cast::<u32>().write(returned.first) };
        returned.first = page.0;
        returned.count += 1;
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    /// The entries of a page.
    ///
    /// # Safety
    /// `page` must come from this arena.
    #[inline]
    pub(super) unsafe fn entries<'a>(&'a self, page: &'a Page) -> &'a [Entry; PAGE_ENTRIES] {
        // SAFETY: the page lies inside the mapping, which lives as long as `self`, is aligned, and
        // is initialised: zero at first, and any bytes are an entry. By the caller's promise `page`
        // is the one right to it, and it is borrowed, so nobody writes meanwhile.
        unsafe { self.start_of(page).cast().as_ref() }
    }

    /// The entries of a page, for change.
    ///
    /// # Safety
    /// `page` must come from this arena.
    #[inline]
    pub(super) unsafe fn entries_mut<'a>(
        &'a self,
        page: &'a mut Page,
    ) -> &'a mut [Entry; PAGE_ENTRIES] {
        // SAFETY: as in `entries`; `page` is borrowed for change, so nobody else reads or writes.
        unsafe { self.start_of(page).cast().as_mut() }
    }

    /// A page's first byte.
    #[inline]
    fn start_of(&self, page: &Page) -> NonNull<u8> {
        debug_assert!(page.0 < self.pages_max);
        // SAFETY: pages of this arena are numbered below `pages_max`, and the region holds at least
        // that many, so the result lies inside the mapping.
        unsafe { self.region.as_ptr().add(page.0 as usize * PAGE_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_full_arena_says_so_and_serves_again_once_a_page_is_given_back() {
        let arena = EntryArena::new(130).expect("small reservation");
        let mut pages: Vec<_> = (0..3).map(|_| arena.take().expect("three pages")).collect();
        assert_eq!(arena.take(), Err(ArenaFull { pages_max: 3 }));
        assert_eq!(arena.pages_in_use(), 3);
        // SAFETY: the page was taken from this arena.
        unsafe { arena.give(pages.remove(1)) };
        assert_eq!(arena.pages_in_use(), 2);
        assert_eq!(arena.take(), Ok(Page(1)));
        assert_eq!(arena.take(), Err(ArenaFull { pages_max: 3 }));
    }

    #[test]
    fn returned_pages_are_reused_before_fresh_ones() {
        let arena = EntryArena::new(64 * 100).expect("small reservation");
        for _ in 0..5 {
            let pages: Vec<_> = (0..10).map(|_| arena.take().expect("room")).collect();
            // SAFETY: the pages were taken from this arena.
            pages
                .into_iter()
                .for_each(|page| unsafe { arena.give(page) });
        }
        assert_eq!(
            (arena.pages_in_use(), arena.memory_bytes()),
            (0, 10 * PAGE_BYTES as u64)
        );
    }

    #[test]
    fn no_page_is_handed_out_twice_to_threads_that_take_and_give() {
        let arena = EntryArena::new(64 * 64).expect("small reservation");
        let held = Mutex::new(HashSet::new());
        let work = |rounds: u32| {
            for round in 0..rounds {
                let pages: Vec<_> = (0..1 + round % 7)
                    .filter_map(|_| arena.take().ok())
                    .collect();
                assert!(pages.iter().all(|page| held.lock().insert(page.0)));
                for page in pages {
                    assert!(held.lock().remove(&page.0));
                    // SAFETY: the page was taken from this arena.
                    unsafe { arena.give(page) };
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| work(2_000)))));
        assert_eq!(arena.pages_in_use(), 0);
        assert!(
            arena.memory_bytes() <= 28 * PAGE_BYTES as u64,
            "at most 4 x 7 were out at once"
        );
    }

    #[test]
    fn an_arena_for_no_records_or_for_too_many_is_refused() {
        for entries_max in [0, (1 << 38) + 1, u64::MAX] {
            let refused = EntryArena::new(entries_max).err().expect("refused");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
