//! One server node and the connections to it.
//!
//! A node owns a fixed number of pipelined connections ([`pipe`]) for single records and batches,
//! opened when first needed and opened again when they end, and a bounded pool of exclusive ones
//! ([`exclusive`]) for info and scans. It does not know which partitions it owns. It does know whether it
//! could be reached lately and how many errors it caused ([`breaker`]), so that others are asked instead.
//!
//! Invariants
//!   at most one attempt to open each pipelined connection runs at a time
//!   at most [`SCANS_MAX`] connections carry scans and [`INFOS_MAX`] info; scans whose readers are slow
//!   thus never keep the tend task from asking

pub(crate) mod breaker;
pub(crate) mod exclusive;
pub(crate) mod frames;
pub(crate) mod pipe;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use crate::error::{CloseReason, Error, Result};
use crate::retry::{self, Access};
use breaker::Breaker;
use exclusive::{Exclusive, Failed};
use pipe::{Lost, Pipe, Refused};

/// Most scans of one node at a time; more wait.
const SCANS_MAX: usize = 64;

/// Most info requests to one node at a time; more wait.
const INFOS_MAX: usize = 16;

/// Most idle exclusive connections kept.
const IDLE_MAX: usize = 8;

/// How a client connects to its nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolConfig {
    /// Pipelined connections to each node.
    pub(crate) pipes: usize,
    /// Requests in flight on each of them.
    pub(crate) depth: usize,
    /// Longest time to open a connection.
    pub(crate) connect_timeout: Duration,
    /// Errors within `error_window` from which on a node is avoided; 0 for never.
    pub(crate) errors_max: u32,
    /// For how long errors count.
    pub(crate) error_window: Duration,
}

/// Place of one pipelined connection.
#[derive(Default)]
struct PipeSlot {
    pipe: ArcSwapOption<Pipe>,
    /// Held by whoever opens it.
    opening: tokio::sync::Mutex<()>,
}

/// A server node.
pub(crate) struct Node {
    name: String,
    address: SocketAddr,
    config: PoolConfig,
    pipes: Box<[PipeSlot]>,
    /// Counts up; its remainder is the connection to use next.
    turn: AtomicUsize,
    idle: Mutex<Vec<Exclusive>>,
    scan_room: Semaphore,
    info_room: Semaphore,
    /// The last attempt to reach it failed.
    down: AtomicBool,
    breaker: Breaker,
    made: Instant,
    /// Its rack in each namespace, as far as it was asked.
    racks: ArcSwap<BTreeMap<String, u32>>,
}

impl Node {
    pub(crate) fn new(name: String, address: SocketAddr, config: PoolConfig) -> Node {
        Node {
            name,
            address,
            config,
            pipes: (0..config.pipes).map(|_| PipeSlot::default()).collect(),
            turn: AtomicUsize::new(0),
            idle: Mutex::default(),
            scan_room: Semaphore::new(SCANS_MAX),
            info_room: Semaphore::new(INFOS_MAX),
            down: AtomicBool::new(false),
            breaker: Breaker::new(config.errors_max, config.error_window),
            made: Instant::now(),
            racks: ArcSwap::default(),
        }
    }

    /// The name the node gives itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Notes whether it can be reached.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// Notes its rack in each namespace.
    pub(crate) fn set_racks(&self, racks: BTreeMap<String, u32>) {
        self.racks.store(Arc::new(racks));
    }

    /// The place of its rack among `preferred`, behind all of them if it is none of these.
    pub(crate) fn rack_rank(&self, namespace: &str, preferred: &[u32]) -> usize {
        let racks = self.racks.load();
        let own = racks.get(namespace);
        let place = own.and_then(|own| preferred.iter().position(|rack| rack == own));
        place.unwrap_or(preferred.len())
    }

    /// Whether others should be asked before it.
    pub(crate) fn is_shunned(&self, now: Instant) -> bool {
        self.down.load(Ordering::Relaxed) || self.avoided(now).is_some()
    }

    /// Errors it caused lately, if they are so many that nothing should be sent to it.
    fn avoided(&self, now: Instant) -> Option<u32> {
        self.breaker.open(now.saturating_duration_since(self.made))
    }

    /// Notes that a request to it failed.
    pub(crate) fn note(&self, error: &Error) {
        if error.is_strain() {
            self.breaker.note(self.made.elapsed());
        }
    }

    /// Refuses while the node is avoided.
    fn check(&self) -> Result<()> {
        match self.avoided(Instant::now()) {
            None => Ok(()),
            Some(errors) => Err(Error::Avoided {
                node: self.name.clone(),
                errors,
            }),
        }
    }

    /// Closes all connections: they belong to a process that has ended.
    pub(crate) fn disconnect(&self) {
        self.idle.lock().clear();
        let pipes = self.pipes.iter().filter_map(|slot| slot.pipe.swap(None));
        pipes.for_each(|pipe| pipe.close());
    }

    /// A connection for one request: the next in turn, or another open one if that has no room.
    pub(crate) async fn pipe(&self, deadline: Instant) -> Result<Arc<Pipe>> {
        self.check()?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let slot = &self.pipes[turn % self.pipes.len()];
        let Some(pipe) = open_pipe(slot) else {
            return self.reopen(slot, deadline).await;
        };
        if pipe.room() > 0 {
            return Ok(pipe);
        }
        let mut others = self.pipes.iter().filter_map(open_pipe);
        let free = others.find(|other| other.room() > 0);
        Ok(free.unwrap_or(pipe))
    }

    async fn reopen(&self, slot: &PipeSlot, deadline: Instant) -> Result<Arc<Pipe>> {
        let started = Instant::now();
        let Ok(_opening) = timeout_at(deadline.into(), slot.opening.lock()).await else {
            return Err(self.busy_since(started));
        };
        if let Some(pipe) = open_pipe(slot) {
            return Ok(pipe);
        }
        let connect = Pipe::connect(self.address, self.config.depth);
        let pipe = Arc::new(self.within(connect, deadline).await?);
        slot.pipe.store(Some(Arc::clone(&pipe)));
        Ok(pipe)
    }

    /// A connection for one scan.
    pub(crate) async fn lease_for_scan(&self, deadline: Instant) -> Result<Lease<'_>> {
        self.check()?;
        self.lease(&self.scan_room, deadline).await
    }

    /// An exclusive connection, idle or new.
    async fn lease<'a>(&'a self, room: &'a Semaphore, deadline: Instant) -> Result<Lease<'a>> {
        let started = Instant::now();
        let room = timeout_at(deadline.into(), room.acquire()).await;
        let Ok(Ok(permit)) = room else {
            return Err(self.busy_since(started)); // the semaphore itself is never closed
        };
        let connection = match self.usable_idle() {
            Some(connection) => connection,
            None => {
                let connect = Exclusive::connect(self.address);
                self.within(connect, deadline).await?
            }
        };
        Ok(Lease {
            node: self,
            connection,
            _permit: permit,
        })
    }

    fn usable_idle(&self) -> Option<Exclusive> {
        let mut idle = self.idle.lock();
        while let Some(connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    /// Asks info commands; the answers come in the order of the commands.
    pub(crate) async fn info(&self, commands: &[&str], deadline: Instant) -> Result<Vec<String>> {
        let started = Instant::now();
        let mut lease = self.lease(&self.info_room, deadline).await?;
        match lease.connection.info(commands, deadline).await {
            Ok(values) => {
                lease.give_back();
                Ok(values)
            }
            Err(failed) => Err(self.failed(failed, started)),
        }
    }

    /// Closes connections on which the server has fallen silent.
    pub(crate) fn close_stalled(&self, now: Instant) {
        let pipes = self.pipes.iter().filter_map(open_pipe);
        pipes.for_each(|pipe| pipe.close_if_stalled(now));
    }

    /// Opens a connection within the deadline and the configured time.
    async fn within<T>(
        &self,
        connect: impl Future<Output = io::Result<T>>,
        deadline: Instant,
    ) -> Result<T> {
        let own = retry::deadline(Instant::now(), self.config.connect_timeout);
        let deadline = deadline.min(own);
        let connected = timeout_at(deadline.into(), connect).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.set_down(connected.is_err());
        connected.map_err(|error| Error::Connect {
            node: self.name.clone(),
            address: self.address,
            source: Arc::new(error),
        })
    }

    fn busy_since(&self, started: Instant) -> Error {
        Error::Busy {
            node: self.name.clone(),
            after: started.elapsed(),
        }
    }

    /// The error of a request that was not sent.
    pub(crate) fn refused(&self, refused: Refused, started: Instant) -> Error {
        match refused {
            Refused::NoRoom => self.busy_since(started),
            Refused::Closed(reason) => self.lost(reason, false),
            Refused::Command(error) => Error::Command(error),
        }
    }

    /// The error of a request that got no answer.
    pub(crate) fn unanswered(&self, lost: Lost, access: Access, started: Instant) -> Error {
        match lost {
            Lost::Deadline => self.timeout(started, access.doubts_silence()),
            Lost::Closed { reason, sent } => self.lost(reason, sent && access.doubts_silence()),
        }
    }

    /// The error of an exchange on an exclusive connection. These carry reads and info only.
    pub(crate) fn failed(&self, failed: Failed, started: Instant) -> Error {
        match failed {
            Failed::Command(error) => Error::Command(error),
            Failed::Deadline => self.timeout(started, false),
            Failed::Closed(reason) => self.lost(reason, false),
        }
    }

    fn timeout(&self, started: Instant, in_doubt: bool) -> Error {
        Error::Timeout {
            node: self.name.clone(),
            after: started.elapsed(),
            in_doubt,
        }
    }

    fn lost(&self, reason: CloseReason, in_doubt: bool) -> Error {
        Error::ConnectionLost {
            node: self.name.clone(),
            reason,
            in_doubt,
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({} at {})", self.name, self.address)
    }
}

fn open_pipe(slot: &PipeSlot) -> Option<Arc<Pipe>> {
    slot.pipe.load_full().filter(|pipe| pipe.is_open())
}

/// An exclusive connection on loan. Dropped, it is closed; given back, it is kept.
pub(crate) struct Lease<'a> {
    node: &'a Node,
    /// The connection.
    pub(crate) connection: Exclusive,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Keeps the connection for the next caller. Only for one whose last answer was read to its end.
    pub(crate) fn give_back(self) {
        let mut idle = self.node.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(self.connection);
        }
    }
}
