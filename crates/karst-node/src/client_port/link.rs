//! The replies of one connection, in the order of its requests.
//!
//! A request that is answered at once appends to what is ready to be sent. One that has to wait takes
//! a *slot*; replies behind it queue up until the slot is filled. What is ready leaves in one write.
//!
//! Bounds: [`Link::is_blocked`] tells the connection to stop taking requests when too many slots are
//! taken, or too many bytes are unsent or will be once what waits is answered.
//!
//! Requests on one record are *carried out* in their order too, not only answered: while one waits for
//! the record's bytes, [`Link::bars`] holds those behind it that it must not be overtaken by.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf, BytesMut};
use karst_data::key::Digest;

/// Most requests of one connection that may be waiting at once.
const SLOTS_MAX: usize = 1024;

/// Unsent bytes, those expected of waiting requests included, beyond which no more requests are taken
/// from a connection.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// Capacity that an idle connection's buffer may keep.
const IDLE_BYTES_MAX: usize = 64 << 10;

/// Which record a request is about, and whether it changes it. Records are told apart by a part of
/// their digest: to take two for one costs a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    record: u64,
    writes: bool,
}

impl Subject {
    /// The subject of a single-record request.
    pub(super) fn of(digest: &Digest, writes: bool) -> Subject {
        let [a, b, c, d, e, f, g, h, ..] = digest.0;
        Subject {
            record: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            writes,
        }
    }

    /// Whether a later request must not overtake this one. Two reads may.
    fn bars(self, later: Subject) -> bool {
        self.record == later.record && (self.writes || later.writes)
    }
}

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
    /// Bytes that waiting requests hold or will answer with.
    expected_bytes: usize,
    /// What those that wait to be carried out are about, with the numbers of their slots.
    subjects: Vec<(u64, Subject)>,
}

/// See [the module](self).
#[derive(Default)]
pub(super) struct Link {
    replies: RefCell<Replies>,
    /// The next request, while it is barred.
    barred: Cell<Option<Subject>>,
    waker: Cell<Option<Waker>>,
}

/// A place in the order of replies; filled exactly once.
pub(super) struct Place {
    link: Rc<Link>,
    number: u64,
    expected_bytes: usize,
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

    /// Takes a place for a reply that comes later. `expected_bytes` is what the request holds until
    /// then or will answer with, about; `subject` is given if it was not carried out yet.
    pub(super) fn hold(self: &Rc<Link>, expected_bytes: usize, subject: Option<Subject>) -> Place {
        let mut replies = self.replies.borrow_mut();
        replies.slots.push_back(Slot::Waiting);
        replies.expected_bytes += expected_bytes;
        let number = replies.first + replies.slots.len() as u64 - 1;
        replies
            .subjects
            .extend(subject.map(|subject| (number, subject)));
        Place {
            link: self.clone(),
            number,
            expected_bytes,
        }
    }

    /// Whether a request has to wait for one before it on the same record. If so the connection is
    /// blocked until that one is answered.
    pub(super) fn bars(&self, subject: Subject) -> bool {
        let bars = self
            .replies
            .borrow()
            .subjects
            .iter()
            .any(|(_, first)| first.bars(subject));
        self.barred.set(bars.then_some(subject));
        bars
    }

    /// Whether the connection can take no request for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_full() || self.barred.get().is_some_and(|subject| self.bars(subject))
    }

    /// Whether the connection should take no more requests for now.
    pub(super) fn is_full(&self) -> bool {
        let (slots, expected_bytes) = {
            let replies = self.replies.borrow();
            (replies.slots.len(), replies.expected_bytes)
        };
        slots >= SLOTS_MAX || self.unsent_bytes() + expected_bytes >= UNSENT_BYTES_MAX
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
                None => {
                    replies.forget_sent();
                    return Ok(false);
                }
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

impl Replies {
    /// Gives back the room of what was sent once it is the larger part: a client that takes a little at
    /// a time may never let the buffer run empty.
    fn forget_sent(&mut self) {
        if self.sent >= IDLE_BYTES_MAX && self.sent >= self.ready.len() / 2 {
            self.ready.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Place {
    /// Puts the reply into its place and wakes the connection if it can be sent.
    pub(super) fn fill(self, reply: Vec<u8>) {
        let replies = &mut *self.link.replies.borrow_mut();
        let at = (self.number - replies.first) as usize;
        replies.expected_bytes -= self.expected_bytes;
        replies.held_bytes += reply.len();
        replies.slots[at] = Slot::Filled(reply);
        let subject = replies
            .subjects
            .iter()
            .position(|(number, _)| *number == self.number);
        if let Some(at) = subject {
            replies.subjects.swap_remove(at); // their order does not matter
        }
        let mut moved = subject.is_some(); // a barred request may go on
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
        let second = link.hold(0, None);
        link.append(|out| out.push(3));
        link.append(|out| out.push(4));
        let fifth = link.hold(0, None);
        link.append(|out| out.push(6));
        assert_eq!(sent(&link), [1]);
        fifth.fill(vec![5]);
        assert!(sent(&link).is_empty());
        assert!(!link.is_settled());
        second.fill(vec![2]);
        assert_eq!(sent(&link), [2, 3, 4, 5, 6]);
        assert!(link.is_settled());
    }

    #[test]
    fn a_client_that_never_catches_up_does_not_make_the_buffer_grow() {
        let link = Link::default();
        for turn in 0..1000 {
            link.append(|out| out.extend(vec![turn as u8; 10_000]));
            let mut left = 9_990; // a little less than what comes
            let sent = link.send(|bytes| {
                let count = bytes.len().min(left);
                left -= count;
                Ok::<_, ()>((count > 0).then_some(count))
            });
            assert_eq!(sent, Ok(false));
        }
        assert_eq!(link.unsent_bytes(), 1000 * 10);
        assert!(link.replies.borrow().ready.len() < 4 * IDLE_BYTES_MAX);
    }

    #[test]
    fn a_connection_is_full_at_its_bounds() {
        let link = Rc::new(Link::default());
        link.append(|out| out.resize(UNSENT_BYTES_MAX, 0));
        assert!(link.is_full());
        let link = Rc::new(Link::default());
        let held: Vec<_> = (0..SLOTS_MAX).map(|_| link.hold(0, None)).collect();
        assert!(link.is_full());
        held.into_iter().for_each(|place| place.fill(Vec::new()));
        assert!(!link.is_full());
        let expected = link.hold(UNSENT_BYTES_MAX, None);
        assert!(link.is_full());
        expected.fill(Vec::new());
        assert!(!link.is_full());
    }

    #[test]
    fn a_request_is_barred_by_an_unfinished_one_on_its_record_unless_both_only_read() {
        let link = Rc::new(Link::default());
        let subject = |record, writes| Subject { record, writes };
        let reading = link.hold(0, Some(subject(1, false)));
        assert!(!link.bars(subject(1, false)));
        assert!(!link.bars(subject(2, true)));
        assert!(!link.is_blocked());
        let writing = link.hold(0, Some(subject(2, true)));
        assert!(link.bars(subject(2, false)));
        assert!(link.is_blocked());
        writing.fill(Vec::new());
        assert!(!link.is_blocked());
        assert!(link.bars(subject(1, true)));
        reading.fill(Vec::new());
        assert!(!link.is_blocked());
    }
}
