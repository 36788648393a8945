//! A data core's way to its devices: operations go in, futures come out.
//!
//! Owns the core's [`Queue`] and everything in flight on it. Operations of one turn of the runtime are
//! submitted together: at the turn's end, or as soon as `SUBMIT_EVERY` are waiting, so that device
//! and CPU do not take turns. Operations that the queue has no room for wait in a backlog, in order;
//! what may be in flight at all is bounded by the connections' own limits.
//!
//! A future that is dropped leaves its operation running: buffers belong to the queue until the
//! kernel gives them back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use karst_io::Queue;
use karst_io::buffer::{AlignedBuffer, BufferPool};
use karst_io::op::{Completion, Op};
use karst_io::wait::EventFd;
use slab::Slab;
use tokio::sync::Notify;

/// Operations that wait at most before they are submitted in the middle of a turn.
const SUBMIT_EVERY: usize = 8;

/// Bytes of idle read buffers that a core keeps.
const POOL_BYTES_MAX: usize = 8 << 20;

enum Waiter {
    /// Its future was polled, or not yet.
    Pending(Option<Waker>),
    /// The operation is over and its future has not seen it.
    Over(Completion),
    /// Nobody waits any more.
    Abandoned,
}

struct Inner {
    queue: Queue,
    waiters: Slab<Waiter>,
    backlog: VecDeque<(usize, Op)>,
    unsubmitted: usize,
    completions: Vec<Completion>,
    buffers: BufferPool,
}

/// See [the module](self).
pub struct Disk {
    inner: RefCell<Inner>,
    turn_ends: Notify,
    event: EventFd,
}

/// One operation; resolves when it is over.
pub struct Operation {
    disk: Rc<Disk>,
    ticket: usize,
}

impl Disk {
    /// Takes over a queue. The core's runtime has to run [`Disk::reap`] and [`Disk::submit`].
    ///
    /// # Errors
    /// When the queue's eventfd cannot be registered with the runtime.
    pub fn new(queue: Queue) -> io::Result<Rc<Disk>> {
        let event = EventFd::new(queue.event_fd())?;
        let inner = Inner {
            queue,
            waiters: Slab::new(),
            backlog: VecDeque::new(),
            unsubmitted: 0,
            completions: Vec::new(),
            buffers: BufferPool::new(POOL_BYTES_MAX),
        };
        Ok(Rc::new(Disk {
            inner: RefCell::new(inner),
            turn_ends: Notify::new(),
            event,
        }))
    }

    /// A buffer of exactly this many bytes.
    pub fn buffer(&self, bytes: usize) -> AlignedBuffer {
        self.inner.borrow_mut().buffers.take(bytes)
    }

    /// Takes a buffer back.
    pub fn give_back(&self, buffer: AlignedBuffer) {
        self.inner.borrow_mut().buffers.give(buffer);
    }

    /// Starts an operation.
    pub fn start(self: &Rc<Disk>, op: Op) -> Operation {
        let mut inner = self.inner.borrow_mut();
        let ticket = inner.waiters.insert(Waiter::Pending(None));
        inner.offer(ticket, op);
        if inner.unsubmitted >= SUBMIT_EVERY {
            inner.submit();
        } else {
            self.turn_ends.notify_one();
        }
        Operation {
            disk: self.clone(),
            ticket,
        }
    }

    /// Submits at the end of every turn in which something was started; never returns.
    pub async fn submit(self: Rc<Disk>) {
        loop {
            self.turn_ends.notified().await;
            self.inner.borrow_mut().submit();
        }
    }

    /// Takes completions as the kernel announces them and wakes who waits; never returns.
    ///
    /// # Errors
    /// When the eventfd cannot be read: the core cannot go on.
    pub async fn reap(self: Rc<Disk>) -> io::Result<()> {
        loop {
            self.event.readable().await?;
            self.inner.borrow_mut().reap();
        }
    }
}

impl Inner {
    /// Hands an operation to the queue, behind those that wait already.
    fn offer(&mut self, ticket: usize, op: Op) {
        if !self.backlog.is_empty() {
            self.backlog.push_back((ticket, op));
            return;
        }
        match self.queue.submit(ticket as u64, op) {
            Ok(()) => self.unsubmitted += 1,
            Err(op) => self.backlog.push_back((ticket, op)),
        }
    }

    fn submit(&mut self) {
        if self.unsubmitted == 0 {
            return;
        }
        self.unsubmitted = 0;
        if let Err(error) = self.queue.flush() {
            // What was not taken stays in the queue and goes out with the next submission.
            tracing::error!(%error, "the device queue refused a submission");
            self.unsubmitted = 1;
        }
    }

    fn reap(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        self.queue.reap(&mut completions);
        for completion in completions.drain(..) {
            self.end(completion);
        }
        self.completions = completions;
        while let Some((ticket, op)) = self.backlog.pop_front() {
            if let Err(op) = self.queue.submit(ticket as u64, op) {
                self.backlog.push_front((ticket, op));
                break;
            }
            self.unsubmitted += 1;
        }
        self.submit();
    }

    fn end(&mut self, completion: Completion) {
        let ticket = completion.ticket as usize;
        match std::mem::replace(&mut self.waiters[ticket], Waiter::Over(completion)) {
            Waiter::Pending(Some(waker)) => waker.wake(),
            Waiter::Pending(None) => {}
            Waiter::Over(_) => unreachable!("an operation ends once"),
            Waiter::Abandoned => {
                if let Waiter::Over(Completion {
                    buffer: Some(buffer),
                    ..
                }) = self.waiters.remove(ticket)
                {
                    self.buffers.give(buffer);
                }
            }
        }
    }
}

impl Future for Operation {
    type Output = Completion;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let mut inner = self.disk.inner.borrow_mut();
        match &mut inner.waiters[self.ticket] {
            Waiter::Pending(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            over @ Waiter::Over(_) => {
                let Waiter::Over(completion) = std::mem::replace(over, Waiter::Abandoned) else {
                    unreachable!("it was just matched");
                };
                Poll::Ready(completion)
            }
            Waiter::Abandoned => unreachable!("a finished operation is not polled again"),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.borrow_mut();
        match &mut inner.waiters[self.ticket] {
            waiting @ Waiter::Pending(_) => *waiting = Waiter::Abandoned,
            Waiter::Over(_) | Waiter::Abandoned => {
                inner.waiters.remove(self.ticket);
            }
        }
    }
}
