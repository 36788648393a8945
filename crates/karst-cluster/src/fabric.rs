//! Messages between nodes, and how they lie on a connection.
//!
//! A connection carries requests one way and their replies the other way, in any order: a reply bears the
//! number of its request. A frame is
//!
//! ```text
//!  0.. 4  bytes of the payload
//!  4.. 8  crc32c of all that follows
//!  8      kind
//!  9..16  0
//! 16..24  number of the request
//! 24..    payload
//! ```
//!
//! All numbers are little-endian. The first request of a connection is [`Hello`]; whoever does not like it
//! closes the connection.
//!
//! What comes from a peer is not trusted: it is parsed into the types here or refused, and a connection
//! that brought something else is closed.

use karst_data::key::Digest;

use crate::map::Regime;
use crate::node::{ClusterId, NodeId};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Most bytes of a payload: the largest request of a client, and room for what comes with it.
pub const PAYLOAD_BYTES_MAX: usize = 130 << 20;

/// Most digests that one message names.
pub const DIGESTS_MAX: usize = 4096;

/// The version of these messages. A node of another one is refused.
pub const FABRIC_VERSION: u16 = 1;

/// Parts into which a partition is divided to be compared, by the third byte of its digests.
pub const RANGES: usize = 256;

/// What a frame brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first request: [`Hello`].
    Hello = 1,
    /// A record as the primary now has it: [`Replicate`]. Answered with an [`Ack`].
    Replicate = 2,
    /// A client's message for the primary: [`Proxy`]. Answered with the reply to the client.
    Proxy = 3,
    /// Asks for the hashes of a partition's ranges: [`OfPartition`]. Answered with [`RANGES`] numbers, and how
    /// many records and tombstones there are.
    Hashes = 4,
    /// Asks what a range holds: [`ListRange`]. Answered with [`Listed`] entries.
    List = 5,
    /// Asks for whole records: [`Fetch`]. Answered with records one behind the other.
    Fetch = 6,
    /// Asks whether somebody is there. Its payload is empty, and so is that of the reply.
    Ping = 7,
    /// A write that was made when the sender was the primary, for the one of now to take over: [`Replicate`]
    /// under the regime of now. Answered with an [`Ack`].
    Late = 8,
    /// Asks whether a regime stands: [`OfPartition`]. The reply is empty if it does, else [`Ack::Stale`] or
    /// [`Ack::Early`]. Who leads a strongly consistent partition asks so before it answers a read without a lease.
    Stands = 9,
    /// Of a request that was carried out.
    Reply = 128,
    /// Of a request that was not, and why: an [`Ack`].
    Refused = 129,
}

impl Kind {
    fn read(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Replicate,
            3 => Kind::Proxy,
            4 => Kind::Hashes,
            5 => Kind::List,
            6 => Kind::Fetch,
            7 => Kind::Ping,
            8 => Kind::Late,
            9 => Kind::Stands,
            128 => Kind::Reply,
            129 => Kind::Refused,
            _ => return None,
        })
    }
}

/// How a request from another node went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ack {
    /// It was carried out, and is as durable as the namespace asks.
    Done = 0,
    /// It was decided under a regime that is over here: look at the map again.
    Stale = 1,
    /// Its regime has not come here yet: ask again in a moment.
    Early = 2,
    /// This node has no such namespace, or not that role: look at the map again.
    Misled = 3,
    /// There is no room for it.
    Full = 4,
    /// A device failed, or the record cannot be kept for another reason that stays.
    Failed = 5,
}

impl Ack {
    /// Reads the payload of a reply.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn read(payload: &[u8]) -> Result<Ack, Malformed> {
        Ok(match payload {
            [0] => Ack::Done,
            [1] => Ack::Stale,
            [2] => Ack::Early,
            [3] => Ack::Misled,
            [4] => Ack::Full,
            [5] => Ack::Failed,
            _ => return Err(Malformed("no such acknowledgement")),
        })
    }
}

/// Bytes of a peer that are none of these messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// A frame on a connection, its payload still to be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it brings.
    pub kind: Kind,
    /// Which request it is, or answers.
    pub number: u64,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a whole frame from the front of what has arrived, with the bytes it filled; `None` while
    /// more has to come.
    ///
    /// # Errors
    /// When it is no frame: the connection is of no use any more.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Malformed> {
        let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            kind,
            zeros @ ..,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = header;
        let size = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        if size > PAYLOAD_BYTES_MAX {
            return Err(Malformed("a frame is too large"));
        }
        let kind = Kind::read(*kind).ok_or(Malformed("a frame of no known kind"))?;
        if *zeros != [0; 7] {
            return Err(Malformed("a frame's header has set what is to be zero"));
        }
        let Some(payload) = rest.get(..size) else {
            return Ok(None);
        };
        let checksum = u32::from_le_bytes([*e, *f, *g, *h]);
        let end = FRAME_HEADER_BYTES + size;
        if crc32c::crc32c(&bytes[8..end]) != checksum {
            return Err(Malformed("a frame's checksum does not match"));
        }
        let number = Reader(&header[16..]).u64()?;
        let frame = Frame {
            kind,
            number,
            payload,
        };
        Ok(Some((frame, end)))
    }
}

/// Appends a frame to what is to be sent; `payload` appends its payload.
pub fn put(out: &mut Vec<u8>, kind: Kind, number: u64, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 8]);
    out.extend([kind as u8, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(number.to_le_bytes());
    payload(out);
    let size = out.len() - start - FRAME_HEADER_BYTES;
    assert!(
        size <= PAYLOAD_BYTES_MAX,
        "whoever makes a message bounds it"
    );
    let checksum = crc32c::crc32c(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&(size as u32).to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Who opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster that it is in.
    pub cluster: ClusterId,
    /// Which of its nodes it is.
    pub node: NodeId,
}

impl Hello {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend(FABRIC_VERSION.to_le_bytes());
        out.extend(self.cluster.0);
        out.extend(self.node.0.to_le_bytes());
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is of another version, or none.
    pub fn read(payload: &[u8]) -> Result<Hello, Malformed> {
        let mut reader = Reader(payload);
        if reader.u16()? != FABRIC_VERSION {
            return Err(Malformed("a node of another fabric version"));
        }
        let hello = Hello {
            cluster: ClusterId(reader.array()?),
            node: NodeId(reader.u64()?),
        };
        reader.end()?;
        Ok(hello)
    }
}

/// Names a partition and the regime under which something is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfPartition<'a> {
    /// The namespace's name.
    pub namespace: &'a [u8],
    /// The partition's number.
    pub partition: u16,
    /// The regime that the asker goes by.
    pub regime: Regime,
}

impl<'a> OfPartition<'a> {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(self.namespace.len() as u8);
        out.extend(self.namespace);
        out.extend(self.partition.to_le_bytes());
        out.extend(self.regime.0.to_le_bytes());
    }

    fn take(reader: &mut Reader<'a>) -> Result<OfPartition<'a>, Malformed> {
        let length = reader.u8()?;
        Ok(OfPartition {
            namespace: reader.bytes(length.into())?,
            partition: reader.u16()?,
            regime: Regime(reader.u32()?),
        })
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(payload: &'a [u8]) -> Result<OfPartition<'a>, Malformed> {
        let mut reader = Reader(payload);
        let of = OfPartition::take(&mut reader)?;
        reader.end()?;
        Ok(of)
    }
}

/// A record as the primary now has it, in stored form: plain, its checksums not filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicate<'a> {
    /// Its partition.
    pub of: OfPartition<'a>,
    /// The record.
    pub record: &'a [u8],
}

impl<'a> Replicate<'a> {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.of.put(out);
        out.extend(self.record);
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(payload: &'a [u8]) -> Result<Replicate<'a>, Malformed> {
        let mut reader = Reader(payload);
        Ok(Replicate {
            of: OfPartition::take(&mut reader)?,
            record: reader.0,
        })
    }
}

/// A client's message for the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy<'a> {
    /// The client's number of the row, if it is one of a batch.
    pub row: Option<u32>,
    /// The message without its frame header.
    pub message: &'a [u8],
}

impl<'a> Proxy<'a> {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.row.is_some()));
        out.extend(self.row.unwrap_or(0).to_le_bytes());
        out.extend(self.message);
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(payload: &'a [u8]) -> Result<Proxy<'a>, Malformed> {
        let mut reader = Reader(payload);
        let is_row = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("a proxied message of no known sort")),
        };
        let row = reader.u32()?;
        Ok(Proxy {
            row: is_row.then_some(row),
            message: reader.0,
        })
    }
}

/// Asks what a range of a partition holds, from a digest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRange<'a> {
    /// The partition.
    pub of: OfPartition<'a>,
    /// Which of its [`RANGES`].
    pub range: u8,
}

impl<'a> ListRange<'a> {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.of.put(out);
        out.push(self.range);
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(payload: &'a [u8]) -> Result<ListRange<'a>, Malformed> {
        let mut reader = Reader(payload);
        let list = ListRange {
            of: OfPartition::take(&mut reader)?,
            range: reader.u8()?,
        };
        reader.end()?;
        Ok(list)
    }
}

/// What one node knows of a record, to be compared with what another does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The record.
    pub digest: Digest,
    /// Regime and sequence, packed.
    pub version: [u8; 10],
    /// Last update in ms since 2010.
    pub update_time_ms: u64,
    /// How often it was written.
    pub generation: u16,
    /// It was deleted.
    pub tombstone: bool,
}

/// Bytes of one [`Listed`].
pub const LISTED_BYTES: usize = 20 + 10 + 8 + 2 + 1;

impl Listed {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.digest.0);
        out.extend(self.version);
        out.extend(self.update_time_ms.to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        out.push(u8::from(self.tombstone));
    }

    /// Reads a whole list.
    ///
    /// # Errors
    /// When it is none.
    pub fn read_all(payload: &[u8]) -> Result<Vec<Listed>, Malformed> {
        let mut reader = Reader(payload);
        let mut all = Vec::with_capacity(payload.len() / LISTED_BYTES);
        while !reader.0.is_empty() {
            all.push(Listed {
                digest: Digest(reader.array()?),
                version: reader.array()?,
                update_time_ms: reader.u64()?,
                generation: reader.u16()?,
                tombstone: reader.u8()? != 0,
            });
        }
        Ok(all)
    }
}

/// Asks for whole records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch<'a> {
    /// Their partition.
    pub of: OfPartition<'a>,
    /// At most [`DIGESTS_MAX`].
    pub digests: Vec<Digest>,
}

impl<'a> Fetch<'a> {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.of.put(out);
        self.digests.iter().for_each(|digest| out.extend(digest.0));
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or asks for too much.
    pub fn read(payload: &'a [u8]) -> Result<Fetch<'a>, Malformed> {
        let mut reader = Reader(payload);
        let of = OfPartition::take(&mut reader)?;
        let (digests, rest) = reader.0.as_chunks::<20>();
        if !rest.is_empty() || digests.len() > DIGESTS_MAX {
            return Err(Malformed("no list of digests"));
        }
        let digests = digests.iter().copied().map(Digest).collect();
        Ok(Fetch { of, digests })
    }
}

/// Appends one record of a [`Kind::Fetch`] reply.
pub fn put_record(out: &mut Vec<u8>, record: &[u8]) {
    out.extend((record.len() as u32).to_le_bytes());
    out.extend(record);
}

/// The records of a [`Kind::Fetch`] reply, of which some may be missing.
///
/// # Errors
/// When it is none.
pub fn records(payload: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut reader = Reader(payload);
    let mut all = Vec::new();
    while !reader.0.is_empty() {
        let size = reader.u32()? as usize;
        all.push(reader.bytes(size)?);
    }
    Ok(all)
}

/// Takes fields from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let split = self.0.split_at_checked(count);
        let (front, rest) = split.ok_or(Malformed("a message ends too early"))?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(N)?;
        bytes
            .try_into()
            .map_err(|_| Malformed("a message ends too early"))
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn end(&self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            [_, ..] => Err(Malformed("a message is longer than it says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OF: OfPartition<'static> = OfPartition {
        namespace: b"test",
        partition: 4095,
        regime: Regime(7),
    };

    #[test]
    fn what_is_put_is_read_back() {
        let hello = Hello {
            cluster: ClusterId([3; 16]),
            node: NodeId(0xbb9),
        };
        let replicate = Replicate {
            of: OF,
            record: b"record",
        };
        let proxy = Proxy {
            row: Some(9),
            message: b"message",
        };
        let list = ListRange { of: OF, range: 255 };
        let listed = Listed {
            digest: Digest([5; 20]),
            version: [6; 10],
            update_time_ms: 1 << 40,
            generation: 65535,
            tombstone: true,
        };
        let fetch = Fetch {
            of: OF,
            digests: vec![Digest([1; 20]), Digest([2; 20])],
        };
        let bytes = |put: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            put(&mut out);
            out
        };
        assert_eq!(Hello::read(&bytes(&|out| hello.put(out))), Ok(hello));
        assert_eq!(
            Replicate::read(&bytes(&|out| replicate.put(out))),
            Ok(replicate)
        );
        assert_eq!(Proxy::read(&bytes(&|out| proxy.put(out))), Ok(proxy));
        assert_eq!(ListRange::read(&bytes(&|out| list.put(out))), Ok(list));
        let both = bytes(&|out| {
            listed.put(out);
            listed.put(out);
        });
        assert_eq!(Listed::read_all(&both), Ok(vec![listed, listed]));
        assert_eq!(Fetch::read(&bytes(&|out| fetch.put(out))), Ok(fetch));
        let some = bytes(&|out| {
            put_record(out, b"one");
            put_record(out, b"");
        });
        assert_eq!(records(&some), Ok(vec![&b"one"[..], b""]));
    }

    #[test]
    fn a_frame_with_one_bit_turned_is_never_taken() {
        let mut whole = Vec::new();
        put(&mut whole, Kind::Replicate, 42, |out| {
            out.extend(b"payload")
        });
        let read = Frame::read(&whole).unwrap().unwrap();
        assert_eq!(
            (read.0.number, read.0.payload, read.1),
            (42, &b"payload"[..], whole.len())
        );
        for bit in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            match Frame::read(&turned) {
                Err(_) => {}
                Ok(None) => assert!(bit < 32, "only a larger size asks for more: bit {bit}"),
                Ok(Some(_)) => panic!("bit {bit} went unnoticed"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_peer_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::read(&bytes);
            let _ = Hello::read(&bytes);
            let _ = OfPartition::read(&bytes);
            let _ = Replicate::read(&bytes);
            let _ = Proxy::read(&bytes);
            let _ = ListRange::read(&bytes);
            let _ = Listed::read_all(&bytes);
            let _ = Fetch::read(&bytes);
            let _ = records(&bytes);
            let _ = Ack::read(&bytes);
        }

        #[test]
        fn a_frame_is_taken_only_when_all_of_it_is_there(size in 0usize..200, cut in 0usize..224) {
            let mut whole = Vec::new();
            put(&mut whole, Kind::Proxy, 7, |out| out.extend(vec![1; size]));
            let cut = cut.min(whole.len());
            let read = Frame::read(&whole[..cut]).unwrap();
            prop_assert_eq!(read.is_some(), cut == whole.len());
        }
    }
}
