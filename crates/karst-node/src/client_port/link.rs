//! The replies of one connection, in the order of its requests.
//!
//! A request that is answered at once appends to what is ready to be sent. One that has to wait takes
//! a *slot*; replies behind it queue up until the slot is filled. What is ready leaves in one write.
//!
//! Bounds: [`Link::is_full`] tells the connection to stop reading requests when too many slots are
//! taken or too many bytes are unsent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf, BytesMut};

/// Most requests of one connection that may be waiting at once.
const SLOTS_MAX: usize = 1024;

/// Unsent bytes beyond which no more requests are taken from a connection.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// Capacity that an idle connection's buffer may keep.
const IDLE_BYTES_MAX: usize = 64 << 10;

enum Slot {
    Waiting,
    Filled(Vec<u8>),
}

#[derive(Default)]
struct Replies {
    ready: Vec<u8>,
    /// How much of `ready` was sent.
    sent: usize,
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    held_bytes: usize,
}

/// See [the module](self).
#[derive(Default)]
pub(super) struct Link {
    replies: RefCell<Replies>,
    waker: Cell<Option<Waker>>,
}

/// A place in the order of replies; filled exactly once.
pub(super) struct Place {
    link: Rc<Link>,
    number: u64,
}

impl Link {
    /// Lets `write` append a reply behind all those before it.
    pub(super) fn append<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let replies = &mut *self.replies.borrow_mut();
        if replies.slots.is_empty() {
            return write(&mut replies.ready);
        }
        if !matches!(replies.slots.back(), Some(Slot::Filled(_))) {
            replies.slots.push_back(Slot::Filled(Vec::new()));
        }
        let Some(Slot::Filled(last)) = replies.slots.back_mut() else {
            unreachable!("it was just pushed");
        };
        let before = last.len();
        let result = write(last);
        replies.held_bytes += last.len() - before;
        result
    }

    /// Takes a place for a reply that comes later.
    pub(super) fn hold(self: &Rc<Link>) -> Place {
        let mut replies = self.replies.borrow_mut();
        replies.slots.push_back(Slot::Waiting);
        let number = replies.first + replies.slots.len() as u64 - 1;
        Place { link: self.clone(), number }
    }

    /// Whether the connection should take no more requests for now.
    pub(super) fn is_full(&self) -> bool {
        let slots = self.replies.borrow().slots.len();
        slots >= SLOTS_MAX || self.unsent_bytes() >= UNSENT_BYTES_MAX
    }

    /// Bytes of replies that were not sent yet.
    pub(super) fn unsent_bytes(&self) -> usize {
        let replies = self.replies.borrow();
        replies.ready.len() - replies.sent + replies.held_bytes
    }

    /// Whether every request so far has its reply ready or sent.
    pub(super) fn is_settled(&self) -> bool {
        self.replies.borrow().slots.is_empty()
    }

    /// Hands what is ready to `send`, which says how much of it it took. Stops when it takes none.
    pub(super) fn send<E>(
        &self,
        mut send: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
    ) -> Result<bool, E> {
        let replies = &mut *self.replies.borrow_mut();
        while replies.sent < replies.ready.len() {
            match send(&replies.ready[replies.sent..])? {
                Some(count) => replies.sent += count,
                None => return Ok(false),
            }
        }
        replies.sent = 0;
        replies.ready.clear();
        if replies.ready.capacity() > IDLE_BYTES_MAX {
            replies.ready = Vec::new();
        }
        Ok(true)
    }

    /// Lets a later [`Place::fill`] wake the connection.
    pub(super) fn listen(&self, context: &Context<'_>) {
        self.waker.set(Some(context.waker().clone()));
    }
}

impl Place {
    /// Puts the reply into its place and wakes the connection if it can be sent.
    pub(super) fn fill(self, reply: Vec<u8>) {
        let replies = &mut *self.link.replies.borrow_mut();
        let at = (self.number - replies.first) as usize;
        replies.held_bytes += reply.len();
        replies.slots[at] = Slot::Filled(reply);
        let mut moved = false;
        while let Some(Slot::Filled(_)) = replies.slots.front() {
            if let Some(Slot::Filled(reply)) = replies.slots.pop_front() {
                replies.first += 1;
                replies.held_bytes -= reply.len();
                replies.ready.extend_from_slice(&reply);
                moved = true;
            }
        }
        if moved && let Some(waker) = self.link.waker.take() {
            waker.wake();
        }
    }
}

/// Removes what was consumed from the front of an input buffer and gives back memory that one large
/// request left behind.
pub(super) fn consume(input: &mut BytesMut, bytes: usize) {
    input.advance(bytes);
    if input.is_empty() && input.capacity() > IDLE_BYTES_MAX {
        *input = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(link: &Link) -> Vec<u8> {
        let mut all = Vec::new();
        let send = |bytes: &[u8]| {
            all.extend_from_slice(&bytes[..1]);
            Ok::<_, ()>(Some(1))
        };
        assert_eq!(link.send(send), Ok(true));
        all
    }

    #[test]
    fn replies_leave_in_the_order_of_requests_whenever_they_come() {
        let link = Rc::new(Link::default());
        link.append(|out| out.push(1));
        let second = link.hold();
        link.append(|out| out.push(3));
        link.append(|out| out.push(4));
        let fifth = link.hold();
        link.append(|out| out.push(6));
        assert_eq!(sent(&link), [1]);
        fifth.fill(vec![5]);
        assert_eq!(sent(&link), []);
        assert!(!link.is_settled());
        second.fill(vec![2]);
        assert_eq!(sent(&link), [2, 3, 4, 5, 6]);
        assert!(link.is_settled());
    }

    #[test]
    fn a_connection_is_full_at_its_bounds() {
        let link = Rc::new(Link::default());
        link.append(|out| out.resize(UNSENT_BYTES_MAX, 0));
        assert!(link.is_full());
        let link = Rc::new(Link::default());
        let held: Vec<_> = (0..SLOTS_MAX).map(|_| link.hold()).collect();
        assert!(link.is_full());
        held.into_iter().for_each(|place| place.fill(Vec::new()));
        assert!(!link.is_full());
    }
}
