//! Handles of entries, and the tagged links that chain them.
//!
//! A link is 32 bits: an 8-bit tag over a 24-bit handle. The tag is a filter, not a fingerprint: an
//! entry contributes one of eight bits, chosen by its hash, and a link's tag is the union over all
//! entries that can be reached through it. A search stops at the first link whose tag lacks its bit,
//! so at one record per bucket seven searches in eight for a stranger touch the bucket head alone.
//!
//! Invariant: a tag is exact, neither missing a bit (a record would be lost) nor keeping one of an
//! entry that is gone (the filter would silt up). `Directory::validate` checks both.

use super::arena::PAGE_ENTRIES;

const HANDLE_BITS: u32 = 24;
const HANDLE_MASK: u32 = (1 << HANDLE_BITS) - 1;

/// Handles below this fit a link, which stores them plus one.
pub(super) const HANDLES_MAX: u32 = HANDLE_MASK - 1;

/// Number of an entry's slot within its directory; slots fill the directory's pages in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) u32);

impl Handle {
    /// Which of the directory's pages holds the slot.
    pub(super) fn page(self) -> usize {
        self.0 as usize / PAGE_ENTRIES
    }

    /// Which slot of that page it is.
    pub(super) fn slot(self) -> usize {
        self.0 as usize % PAGE_ENTRIES
    }
}

/// The way to the next entry of a chain, and which entries may be found that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Link(u32); // tag 8 bits | handle + 1, 24 bits; all zero: the end

impl Link {
    /// Leads nowhere.
    pub(super) const END: Link = Link(0);

    /// Leads to `handle`; `tag` holds the bits of all entries from there on.
    pub(super) fn to(handle: Handle, tag: u8) -> Link {
        assert!(handle.0 < HANDLES_MAX);
        Link(u32::from(tag) << HANDLE_BITS | (handle.0 + 1))
    }

    /// The next entry, unless this is the end.
    pub(super) fn handle(self) -> Option<Handle> {
        (self.0 & HANDLE_MASK).checked_sub(1).map(Handle)
    }

    /// The bits of all entries from here on.
    pub(super) fn tag(self) -> u8 {
        (self.0 >> HANDLE_BITS) as u8
    }

    /// The next entry, if one from there on may have this tag bit.
    pub(super) fn towards(self, bit: u8) -> Option<Handle> {
        if self.tag() & bit == 0 {
            None
        } else {
            self.handle()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_gives_back_the_first_and_the_last_handle_with_any_tag() {
        for handle in [Handle(0), Handle(63), Handle(HANDLES_MAX - 1)] {
            for tag in 0..=u8::MAX {
                let link = Link::to(handle, tag);
                assert_eq!((link.handle(), link.tag()), (Some(handle), tag));
            }
        }
        assert_eq!((Link::END.handle(), Link::END.tag()), (None, 0));
    }

    #[test]
    fn a_link_is_followed_only_for_bits_in_its_tag() {
        let link = Link::to(Handle(5), 0b0010_0100);
        for bit in (0..8).map(|shift| 1 << shift) {
            assert_eq!(
                link.towards(bit).is_some(),
                bit == 0b100 || bit == 0b10_0000
            );
            assert_eq!(Link::END.towards(bit), None);
        }
    }
}
