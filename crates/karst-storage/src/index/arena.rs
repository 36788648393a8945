//! Pages of entries, shared by all partitions of a namespace.
//!
//! Owns one region, reserved up front and used page by page: reserving costs address space, not
//! memory. A directory takes whole pages of 64 entries and alone touches them, under its partition's
//! mutex, until it gives them back.
//!
//! The region is anonymous, or shared memory that outlives the process ([`EntryArena::create`],
//! [`EntryArena::attach`]). Memory of a shared one is allocated before it is touched, 2 MiB at a time:
//! best ahead of use ([`EntryArena::prepare_ahead`]), else by the insert that needs it.
//!
//! Invariants
//!   a page is fresh, in use by exactly one directory, or returned; never two of these
//!   pages below `fresh` were handed out at least once; those from it on have vacant slots only
//!   a page that is handed out has vacant slots only
//!   all pages below `fresh` are backed
//!
//! Returned pages are handed out again before fresh ones. They stay resident: an index that was
//! large once will be large again, and giving pages back to the system would split huge pages. A page
//! that is given back is not written to: directories are dropped when a process ends, and what they
//! held in shared memory is for the next one. So a partition that is to leave a shared index while it
//! serves must be emptied before its directory is dropped, or it is back after a restart.
//!
//! When no page can be had, [`ArenaFull`] says so and nothing has changed.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use karst_data::key::PartitionId;
use karst_io::buffer::Region;
use parking_lot::Mutex;

use super::entry::Entry;
use super::front::{FRONT_BYTES, Front, Owner, Refused, State};
use super::undo::{Control, SlotNumber};

/// Entries of a page.
pub(super) const PAGE_ENTRIES: usize = 64;

/// Size of a page in bytes.
pub(super) const PAGE_BYTES: usize = PAGE_ENTRIES * size_of::<Entry>();

const _: () = assert!(PAGE_BYTES == 4096); // so that pages and the system's pages coincide

/// Shared memory is allocated in pieces of this size, the size of a huge page.
const CHUNK_BYTES: usize = 2 << 20;

/// Most memory that one step of [`EntryArena::prepare_ahead`] allocates.
const PREPARE_BYTES_MAX: usize = 16 << 20;

/// No page can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArenaFull {
    /// Every page is in use: the namespace holds as many records as it was set up for.
    #[error("all {pages_max} index pages of 64 records are in use")]
    Limit {
        /// Pages of the arena.
        pages_max: u32,
    },
    /// The arena may grow, but the memory file system that it lies in is full.
    #[error(
        "no memory for another 2 MiB of the index, which has {pages} pages of 64 records \
         (system error {errno}: {})",
        io::Error::from_raw_os_error(*.errno)
    )]
    Memory {
        /// Pages that have memory.
        pages: u32,
        /// What the system said.
        errno: i32,
    },
}

/// The right to one page: who has it may read the page, who has it for change may write it.
///
/// Neither cloned nor made up: it comes from [`EntryArena::take`] and goes to [`EntryArena::give`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page(u32);

impl Page {
    /// The number of one of its slots among all of the arena.
    #[inline]
    pub(super) fn slot(&self, slot: usize) -> SlotNumber {
        SlotNumber(u64::from(self.0) * PAGE_ENTRIES as u64 + slot as u64)
    }
}

/// A namespace's index memory.
pub struct EntryArena {
    region: Region,
    pages_max: u32,
    /// Pages handed out at least once.
    fresh: AtomicU32,
    in_use: AtomicU32,
    returned: Mutex<Returned>,
    /// How much of the region was gathered into huge pages, or would not be, in bytes.
    gathered: Mutex<usize>,
}

impl EntryArena {
    /// Reserves address space for `entries_max` records, rounded up to whole pages. The last page of
    /// each partition is part empty, so allow 64 more per partition than there are to be records.
    ///
    /// # Errors
    /// `InvalidInput` if that is none or more than 2^38 - 64; whatever the system says if it refuses.
    pub fn new(entries_max: u64) -> io::Result<EntryArena> {
        let region = Region::reserve(EntryArena::region_bytes(entries_max)?)?;
        EntryArena::over(region, entries_max)
    }

    /// An empty index in shared memory, in state building: what the region held is gone. The region
    /// must be one of [`EntryArena::region_bytes`].
    ///
    /// # Errors
    /// As [`EntryArena::new`]; `StorageFull` when the memory file system is full.
    pub fn create(
        mut region: Region,
        entries_max: u64,
        owner: &Owner<'_>,
    ) -> io::Result<EntryArena> {
        region.clear()?;
        region.back(FRONT_BYTES)?;
        let arena = EntryArena::over(region, entries_max)?;
        arena.front().header.claim(owner);
        Ok(arena)
    }

    /// How large a region an index for `entries_max` records takes, in bytes.
    ///
    /// # Errors
    /// `InvalidInput` as [`EntryArena::new`].
    pub fn region_bytes(entries_max: u64) -> io::Result<usize> {
        let pages = pages_for(entries_max)? as usize;
        Ok(FRONT_BYTES + (pages * PAGE_BYTES).next_multiple_of(CHUNK_BYTES))
    }

    /// An arena over a region whose front is backed. If more pages than asked for are backed, it has
    /// those.
    pub(super) fn over(region: Region, entries_max: u64) -> io::Result<EntryArena> {
        let needed = EntryArena::region_bytes(entries_max)?;
        if region.len() < needed || region.backed_bytes() < FRONT_BYTES {
            let message = format!("a region of {} bytes; {needed} are needed", region.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        assert!(region.as_ptr().cast::<Front>().is_aligned());
        let pages_max = if region.is_shared() {
            pages_for(entries_max)?.max(pages_of(region.backed_bytes()))
        } else {
            pages_for(entries_max)?
        };
        assert!(FRONT_BYTES + pages_max as usize * PAGE_BYTES <= region.len());
        let (fresh, in_use) = (AtomicU32::new(0), AtomicU32::new(0));
        Ok(EntryArena {
            region,
            pages_max,
            fresh,
            in_use,
            returned: Mutex::new(Returned::default()),
            gathered: Mutex::new(0),
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

    /// Takes one step towards having `bytes` of memory allocated beyond the pages in use, and on huge
    /// pages where the kernel grants them. Returns whether there is more to do. Takes up to a tenth of
    /// a second, so it is for a thread that serves nobody. Of no effect on an anonymous arena, and
    /// beyond the arena's limit.
    ///
    /// # Errors
    /// `StorageFull` when the memory file system is full; what else the system says.
    pub fn prepare_ahead(&self, bytes: usize) -> io::Result<bool> {
        if !self.region.is_shared() {
            return Ok(false);
        }
        let used = FRONT_BYTES + self.fresh.load(Ordering::Relaxed) as usize * PAGE_BYTES;
        let wanted = used.saturating_add(bytes).min(self.bytes_max());
        let backed = self.region.backed_bytes();
        let step = wanted.min(backed.saturating_add(PREPARE_BYTES_MAX));
        let backing = self.region.back(step.next_multiple_of(CHUNK_BYTES));
        self.gather();
        backing?;
        Ok(self.region.backed_bytes() < wanted)
    }

    /// Gathers memory that was allocated since into huge pages, whoever allocated it.
    fn gather(&self) {
        let mut gathered = self.gathered.lock();
        let end = self.region.backed_bytes();
        self.region.collapse(*gathered..end); // without huge pages it works as well, more slowly
        *gathered = end - end % CHUNK_BYTES;
    }

    /// Says that what is backed now was gathered by an earlier process.
    pub(super) fn is_gathered(&self) {
        *self.gathered.lock() = self.region.backed_bytes();
    }

    /// Whether the index outlives the process.
    pub fn is_shared(&self) -> bool {
        self.region.is_shared()
    }

    /// The session that the index is of; 0 for none.
    pub fn session(&self) -> u64 {
        self.front().header.session()
    }

    /// Sets the session that the index is of.
    pub fn set_session(&self, session: u64) {
        self.front().header.set_session(session);
    }

    /// What the index is good for; `None` for an anonymous one that was never told.
    pub fn state(&self) -> Option<State> {
        self.front().header.state()
    }

    /// Says what the index is good for. All changes made before are seen by who sees this one.
    pub fn set_state(&self, state: State) {
        self.front().header.set_state(state);
    }

    /// Keeps the name of a set: number 1 first, then 2, and so on, up to [`super::NAMES_MAX`].
    ///
    /// # Panics
    /// If `number` is not the next one, or no set can have this name.
    pub fn add_name(&self, number: u16, name: &[u8]) {
        self.front().add_name(number, name);
    }

    /// The names that were kept, from number 1 on.
    ///
    /// # Panics
    /// If the table is damaged; it is checked at attach.
    pub fn names(&self) -> Vec<Box<[u8]>> {
        self.front().names().expect("names are checked at attach")
    }

    /// Whether this is a complete index of this owner and session.
    pub(super) fn check(&self, owner: &Owner<'_>, session: u64) -> Result<(), Refused> {
        self.front().header.check(owner, session)
    }

    /// What lies before the pages.
    #[inline]
    pub(super) fn front(&self) -> &Front {
        // SAFETY: the region's first bytes are backed (checked in `over`), aligned and initialised, live
        // as long as `self`, and are touched through this type alone, which is all atomics.
        unsafe { self.region.as_ptr().cast::<Front>().as_ref() }
    }

    /// A partition's control line.
    #[inline]
    pub(super) fn control(&self, partition: PartitionId) -> &Control {
        self.front().control(partition.index())
    }

    /// Pages of the arena.
    pub fn pages_max(&self) -> u32 {
        self.pages_max
    }

    /// Pages that directories hold now.
    pub fn pages_in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Pages that have memory; all of them in an anonymous arena.
    pub(super) fn pages_backed(&self) -> u32 {
        pages_of(self.region.backed_bytes()).min(self.pages_max)
    }

    /// Memory of the index in bytes: for an anonymous arena that behind the pages in use and the
    /// returned ones, for a shared one all that is allocated.
    pub fn memory_bytes(&self) -> u64 {
        if self.region.is_shared() {
            self.region.backed_bytes() as u64
        } else {
            u64::from(self.fresh.load(Ordering::Relaxed)) * PAGE_BYTES as u64
        }
    }

    fn bytes_max(&self) -> usize {
        FRONT_BYTES + (self.pages_max as usize * PAGE_BYTES).next_multiple_of(CHUNK_BYTES)
    }

    /// A page for the caller alone, all its slots vacant.
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
        let page = Page(self.returned.lock().pop()?);
        // SAFETY: the page was returned and nobody else has its number now. It lies inside the region,
        // is backed since it was taken the first time, and zeros are entries.
        unsafe { self.start_of(&page).write_bytes(0, PAGE_BYTES) };
        Some(page)
    }

    fn take_fresh(&self) -> Result<Page, ArenaFull> {
        loop {
            let fresh = self.fresh.load(Ordering::Relaxed);
            if fresh == self.pages_max {
                let pages_max = self.pages_max;
                return Err(ArenaFull::Limit { pages_max });
            }
            if fresh >= self.pages_backed() {
                self.back(fresh)?;
            }
            // No memory is published through this counter: a fresh page is vacant for every core.
            let order = Ordering::Relaxed;
            let taken = self
                .fresh
                .compare_exchange_weak(fresh, fresh + 1, order, order);
            if taken.is_ok() {
                return Ok(Page(fresh));
            }
        }
    }

    /// Allocates the piece of memory that a page lies in.
    #[cold]
    fn back(&self, page: u32) -> Result<(), ArenaFull> {
        let end = FRONT_BYTES + (page as usize + 1) * PAGE_BYTES;
        let backing = self.region.back(end.next_multiple_of(CHUNK_BYTES));
        backing.map_err(|cause| ArenaFull::Memory {
            pages: self.pages_backed(),
            errno: cause.raw_os_error().unwrap_or(0),
        })
    }

    /// Takes a page back.
    ///
    /// # Safety
    /// `page` must come from this arena.
    pub(super) unsafe fn give(&self, page: Page) {
        assert!(page.0 < self.fresh.load(Ordering::Relaxed));
        self.returned.lock().push(page.0);
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets up the pages of an arena that is attached: the first `fresh` of them were handed out, and
    /// those with no record in them, `vacant`, are returned.
    pub(super) fn adopt(&self, fresh: u32, vacant: &[u32]) {
        assert!(fresh <= self.pages_backed());
        let before = self.fresh.swap(fresh, Ordering::Relaxed);
        assert!(before == 0, "an arena is attached before it is used");
        let mut returned = self.returned.lock();
        vacant.iter().for_each(|page| returned.push(*page));
    }

    /// The right to a page below `fresh` that was handed out before this process began.
    ///
    /// # Safety
    /// Nobody else may have it, and it may not be among the returned ones.
    pub(super) unsafe fn claim(&self, page: u32) -> Page {
        assert!(page < self.fresh.load(Ordering::Relaxed));
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Page(page)
    }

    /// The entries of any backed page, for who attaches.
    ///
    /// # Safety
    /// Nobody may write to the page meanwhile.
    pub(super) unsafe fn survey(&self, page: u32) -> &[Entry; PAGE_ENTRIES] {
        assert!(page < self.pages_backed());
        // SAFETY: as in `entries`, the caller vouching that nobody writes.
        unsafe { self.start_of(&Page(page)).cast().as_ref() }
    }

    /// Puts back an entry that was being changed.
    ///
    /// # Safety
    /// Nobody may have a page of this arena yet.
    pub(super) unsafe fn restore(&self, slot: SlotNumber, entry: &Entry) -> bool {
        let (page, slot) = (slot.0 / PAGE_ENTRIES as u64, slot.0 % PAGE_ENTRIES as u64);
        if page >= u64::from(self.pages_backed()) {
            return false;
        }
        let page = Page(page as u32);
        // SAFETY: the slot lies inside a backed page, which nobody else has.
        unsafe {
            self.start_of(&page)
                .cast::<Entry>()
                .add(slot as usize)
                .write(*entry)
        };
        true
    }

    /// The entries of a page.
    ///
    /// # Safety
    /// `page` must come from this arena.
    #[inline]
    pub(super) unsafe fn entries<'a>(&'a self, page: &'a Page) -> &'a [Entry; PAGE_ENTRIES] {
        // SAFETY: the page lies inside the mapping, which lives as long as `self`, is backed, aligned,
        // and is initialised: zero at first, and any bytes are an entry. By the caller's promise `page`
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
        // that many behind its front, so the result lies inside the mapping.
        unsafe {
            self.region
                .as_ptr()
                .add(FRONT_BYTES + page.0 as usize * PAGE_BYTES)
        }
    }
}

fn pages_for(entries_max: u64) -> io::Result<u32> {
    let pages = u32::try_from(entries_max.div_ceil(PAGE_ENTRIES as u64)).ok();
    pages.filter(|pages| *pages > 0).ok_or_else(|| {
        let message = format!("an index of {entries_max} records; 1 to 2^38 - 64 can be had");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

/// Whole pages in the first bytes of a region.
fn pages_of(bytes: usize) -> u32 {
    let pages = bytes.saturating_sub(FRONT_BYTES) / PAGE_BYTES;
    u32::try_from(pages).unwrap_or(u32::MAX)
}

/// The numbers of returned pages, last in first out. In pieces, so that one more never moves the others.
#[derive(Default)]
struct Returned {
    pieces: Vec<Box<[u32; PIECE_NUMBERS]>>,
    count: usize,
}

const PIECE_NUMBERS: usize = 1024;

impl Returned {
    fn push(&mut self, page: u32) {
        let (piece, at) = (self.count / PIECE_NUMBERS, self.count % PIECE_NUMBERS);
        if piece == self.pieces.len() {
            self.pieces.push(Box::new([0; PIECE_NUMBERS]));
        }
        self.pieces[piece][at] = page;
        self.count += 1;
    }

    fn pop(&mut self) -> Option<u32> {
        self.count = self.count.checked_sub(1)?;
        let (piece, at) = (self.count / PIECE_NUMBERS, self.count % PIECE_NUMBERS);
        self.pieces.truncate(piece + 2); // keep one to spare
        Some(self.pieces[piece][at])
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
        assert_eq!(arena.take(), Err(ArenaFull::Limit { pages_max: 3 }));
        assert_eq!(arena.pages_in_use(), 3);
        // SAFETY: the page was taken from this arena.
        unsafe { arena.give(pages.remove(1)) };
        assert_eq!(arena.pages_in_use(), 2);
        assert_eq!(arena.take(), Ok(Page(1)));
        assert_eq!(arena.take(), Err(ArenaFull::Limit { pages_max: 3 }));
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
