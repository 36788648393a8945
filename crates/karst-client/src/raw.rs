//! The surface for load generators: requests sent to a node of the caller's choice, answers reduced to
//! result code and size.
//!
//! A [`RawConnection`] is a plain socket without tasks, channels or timers behind it: one task fills
//! its outgoing buffer, and one call of [`RawConnection::turn`] sends everything queued and takes what
//! has arrived. It belongs to the runtime it was connected in; a [`RawMap`] may be shared freely.
//!
//! Nothing is retried and nothing times out: who uses this decides.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use karst_data::key::{Digest, PartitionId};
use karst_wire::command::{CommandError, message};
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::{FrameKind, MessageHeader};
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answer;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::error::{CloseReason, Result};
use crate::pool::frames::FrameBuffer;
use crate::route::Failed;

/// Who owns each partition of one namespace: as it was when this was made, or as it is now while
/// [`Client::keep_current`] runs. Clones are kept current together.
#[derive(Clone, Debug)]
pub struct RawMap {
    namespace: Arc<str>,
    addresses: Vec<SocketAddr>,
    /// By partition, an index into `addresses`.
    owners: Arc<ArcSwap<Vec<u16>>>,
}

impl RawMap {
    /// Addresses of the nodes.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Which of the addresses owns a digest.
    #[inline]
    pub fn owner(&self, digest: &Digest) -> usize {
        usize::from(self.owners.load()[digest.partition().index()])
    }

    /// The map as it is now, for good: for whoever divides keys among nodes and must leave none out.
    #[must_use]
    pub fn frozen(&self) -> RawMap {
        RawMap {
            owners: Arc::new(ArcSwap::new(self.owners.load_full())),
            ..self.clone()
        }
    }

    /// Whether one of the addresses owns any partition.
    #[inline]
    pub fn owns_any(&self, address: usize) -> bool {
        let owners = self.owners.load();
        owners.iter().any(|owner| usize::from(*owner) == address)
    }

    /// Takes in who owns what now. What belongs to nobody, or to a node that was not there at first, stays
    /// with whom it was: a server hands such requests on.
    fn update(&self, client: &Client) {
        let failed = Failed::default();
        let mut owners = self.owners.load().to_vec();
        for (partition, owner) in PartitionId::all().zip(&mut owners) {
            let node = client.owner(&self.namespace, partition, client.master(&failed));
            let known = node.ok().and_then(|node| {
                let mut addresses = self.addresses.iter();
                addresses.position(|address| *address == node.address())
            });
            *owner = known.map_or(*owner, |index| index as u16); // far fewer nodes than partitions
        }
        self.owners.store(Arc::new(owners));
    }
}

impl Client {
    /// The owners of a namespace's partitions, for [`RawConnection`]s.
    ///
    /// # Errors
    /// [`crate::Error::UnknownNamespace`]; [`crate::Error::NoOwner`] if a partition has none.
    pub fn raw(&self, namespace: &str) -> Result<RawMap> {
        let mut addresses: Vec<SocketAddr> = vec![];
        let mut owners = vec![];
        let failed = Failed::default();
        for partition in PartitionId::all() {
            let node = self.owner(namespace, partition, self.master(&failed))?;
            let known = addresses
                .iter()
                .position(|address| *address == node.address());
            let index = known.unwrap_or_else(|| {
                addresses.push(node.address());
                addresses.len() - 1
            });
            owners.push(index as u16); // far fewer nodes than partitions
        }
        Ok(RawMap {
            namespace: namespace.into(),
            addresses,
            owners: Arc::new(ArcSwap::from_pointee(owners)),
        })
    }

    /// Keeps a map current for as long as it is awaited; it never ends by itself.
    pub async fn keep_current(&self, map: &RawMap) -> Infallible {
        let mut version = self.map_version();
        loop {
            map.update(self);
            version = self.map_changed(version).await;
        }
    }
}

/// What is kept of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawReply {
    /// Number of the result code, see [`crate::ResultCode`].
    pub code: u8,
    /// Bytes of the answer, its headers included.
    pub bytes: usize,
}

/// A record for a raw request.
#[derive(Clone, Copy, Debug)]
pub struct RawKey<'a> {
    /// Namespace name.
    pub namespace: &'a str,
    /// Set name; empty for "no set".
    pub set: &'a str,
    /// Digest of the key.
    pub digest: Digest,
}

/// A connection that sends requests in the order they are queued and reports answers in that order.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    out: Vec<u8>,
    /// How much of `out` the socket has taken.
    written: usize,
    frames: FrameBuffer,
    in_flight: usize,
}

impl RawConnection {
    /// Connects to a node.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn connect(address: SocketAddr) -> io::Result<RawConnection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(RawConnection {
            stream,
            out: Vec::new(),
            written: 0,
            frames: FrameBuffer::default(),
            in_flight: 0,
        })
    }

    /// Queues a read of all bins. `timeout_ms` is the time the server may take, 0 for its default.
    ///
    /// # Errors
    /// [`crate::Error::Command`] for names the protocol cannot carry; nothing is queued.
    #[inline]
    pub fn queue_get(&mut self, key: &RawKey<'_>, timeout_ms: u32) -> Result<()> {
        let header = MessageHeader {
            info1: Info1::READ | Info1::GET_ALL,
            transaction_ttl: timeout_ms,
            ..MessageHeader::default()
        };
        self.queue(|out| {
            message(out, header, |body| {
                body.namespace(key.namespace);
                body.set(key.set);
                body.digest(&key.digest);
            })
        })
    }

    /// Queues a write of one bin with a blob.
    ///
    /// # Errors
    /// As [`RawConnection::queue_get`].
    #[inline]
    pub fn queue_put(
        &mut self,
        key: &RawKey<'_>,
        bin: &str,
        blob: &[u8],
        timeout_ms: u32,
    ) -> Result<()> {
        let header = MessageHeader {
            info2: Info2::WRITE,
            transaction_ttl: timeout_ms,
            ..MessageHeader::default()
        };
        self.queue(|out| {
            message(out, header, |body| {
                body.namespace(key.namespace);
                body.set(key.set);
                body.digest(&key.digest);
                body.op(OpCode::Write, particle::BLOB, bin, blob);
            })
        })
    }

    fn queue(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), CommandError>,
    ) -> Result<()> {
        encode(&mut self.out)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Requests queued or sent, and not answered yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends everything queued and hands over the answers that have arrived, at least one if any
    /// request is in flight. Reading and writing go on side by side, so full socket buffers on both
    /// sides cannot block each other.
    ///
    /// # Errors
    /// The connection's end or bytes that are no answer; what was in flight is then unknown.
    pub async fn turn(
        &mut self,
        mut on_reply: impl FnMut(RawReply),
    ) -> std::result::Result<(), CloseReason> {
        let mut taken = 0;
        loop {
            self.write_some()?;
            taken += self.take_replies(&mut on_reply)?;
            if self.out.is_empty() && (taken > 0 || self.in_flight == 0) {
                return Ok(());
            }
            let interest = match self.out.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            self.stream.ready(interest).await?;
            self.read_some()?;
        }
    }

    /// Writes as much as the socket takes now.
    fn write_some(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.try_write(&self.out[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once what the socket has now.
    fn read_some(&mut self) -> std::result::Result<(), CloseReason> {
        match self.stream.try_read_buf(self.frames.room()) {
            Ok(0) => Err(CloseReason::ByServer),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_replies(
        &mut self,
        on_reply: &mut impl FnMut(RawReply),
    ) -> std::result::Result<usize, CloseReason> {
        let mut taken = 0;
        while let Some(frame) = self.frames.next().map_err(CloseReason::Frame)? {
            let body = self.frames.body(&frame);
            if frame.kind != FrameKind::Message || self.in_flight == 0 {
                return Err(CloseReason::Unexpected);
            }
            let answer = Answer::single(body).map_err(CloseReason::Answer)?;
            on_reply(RawReply {
                code: answer.header.result_code,
                bytes: body.len() + karst_wire::frame::HEADER_BYTES,
            });
            self.in_flight -= 1;
            taken += 1;
        }
        Ok(taken)
    }
}
