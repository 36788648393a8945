//! The stored form of a record, read without copying.
//!
//! ```text
//!   0..4   header checksum: crc32c of the seal and of bytes 8 to the end of the set name (encrypted: to
//!          the end of the 16 bytes in which the set name ends)
//!   4..8   record checksum: the same crc32c carried on over everything behind those
//!   8..9   magic 0xA7
//!   9..10  flags: 1 tombstone, 2 key stored, 4 packed by LZ4, 8 packed by Zstandard, 16 encrypted,
//!          32 over a tombstone
//!  10..12  generation
//!  12..15  payload bytes
//!  15..16  bytes of set name
//!  16..36  digest
//!  36..46  version: regime 4 | sequence 6, big-endian
//!  46..48  bins
//!  48..52  void time, seconds since 2010, 0 never; in a tombstone the log's fill number at the delete
//!  52..58  last update, ms since 2010
//!  58..59  how often defrag has moved this version, 255 for that and more
//!  59..60  zero
//!  60..    set name | key: length 4, bytes (if stored) | bins
//!  bin     name length 1 | particle type 1 | value length, LEB128 | name | value
//! ```
//!
//! A *plain* record is as above. In a *packed* one the set name is followed by 4 bytes, how many bytes key
//! and bins take when unpacked, and then by those, packed. In an *encrypted* one everything from byte 16 to
//! the end of its last 16 bytes is encrypted, and the checksums are of the encrypted bytes; so they can be
//! checked without a key. Packing and encryption are `karst_storage::log::codec`'s.
//!
//! Numbers are little-endian unless said otherwise. The *seal* binds a record to the one place where
//! it is valid: device, block fill and start. A record that was written elsewhere, or before the block
//! was last opened, fails its checksums even though every byte of it is intact.
//!
//! The header, and the set name with it, has a checksum of its own so that a record whose payload is damaged
//! is still known by its digest, version and set, and stepped over by its exact size. Its length in bytes is
//! never encrypted.

use crate::bin::{BinRef, NAME_BYTES_MAX};
use crate::key::{Digest, SET_BYTES_MAX};
use crate::mutation::{Mutation, is_planted};
use crate::time::UPDATE_TIME_MS_MAX;
use crate::value::ParticleType;

/// Size of the fixed part of a stored record in bytes.
pub const HEADER_BYTES: usize = 60;

/// Most bytes of a record behind its header: what 24 bits can tell.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 24) - 1;

/// Most bins of one record.
pub const BINS_MAX: usize = 32_767;

const MAGIC: u8 = 0xa7;
const FLAG_TOMBSTONE: u8 = 1;
const FLAG_KEY: u8 = 2;
const FLAG_LZ4: u8 = 4;
const FLAG_ZSTD: u8 = 8;
const FLAG_ENCRYPTED: u8 = 16;
const FLAG_OVER_TOMBSTONE: u8 = 32;

/// Where the encrypted part of an encrypted record begins. What lies before is in clear.
pub const ENCRYPTED_FROM: usize = 16;

/// The unit of encryption, and of the space that records own.
pub const CIPHER_BLOCK_BYTES: usize = 16;

/// Where a record says how often it was moved.
const MOVES_AT: usize = 58;

/// Where the header's checksum begins to cover; the checksums themselves lie before.
const COVERED_FROM: usize = 8;

/// Where a record is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The device's own number, drawn when it was first taken into use.
    pub device: u64,
    /// How many blocks of the namespace had been opened when the record's block was.
    pub fill: u64,
    /// Byte offset of the record on the device.
    pub start: u64,
}

impl Seal {
    /// crc32c of the seal and the bytes.
    pub fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&self.device.to_le_bytes());
        if !is_planted(Mutation::SealWithoutFill) {
            place[8..16].copy_from_slice(&self.fill.to_le_bytes());
        }
        place[16..].copy_from_slice(&self.start.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
    }

    /// The checksum of the header at the front of `record`.
    fn header_checksum(&self, record: &[u8], form: &Form) -> u32 {
        self.checksum(&record[COVERED_FROM..form.header_end()])
    }
}

/// Why bytes are not the record that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlatError {
    /// Too few bytes for a header or for the payload it names.
    #[error("{found} bytes hold no record of {needed}")]
    Short {
        /// Bytes the record would need.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// No record starts here.
    #[error("no record starts here")]
    Magic,
    /// The header's checksum does not match: rot, a torn or misdirected write, or a stale block.
    #[error("the checksum of the record's header does not match")]
    Header,
    /// The header is sound and what follows it is not: rot, or a torn write.
    #[error("the record's checksum does not match")]
    Payload,
    /// The checksums match but the content contradicts itself.
    #[error("{0}")]
    Content(&'static str),
}

/// The fixed facts of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The record's name.
    pub digest: Digest,
    /// Counts writes; 1 on a new record, never 0.
    pub generation: u16,
    /// Seconds since 2010, 0 never; in a tombstone the log's fill number at the delete.
    pub void_time_s: u32,
    /// Last update in ms since 2010.
    pub update_time_ms: u64,
    /// Regime and sequence, packed so that byte order is version order.
    pub version: [u8; 10],
    /// The record is deleted; this is the memory of it.
    pub tombstone: bool,
    /// An earlier version of the record was a tombstone, or had expired or been evicted, when the next one
    /// was written over it: versions from before that must not come back when this one goes.
    pub over_tombstone: bool,
    /// How often defrag has moved this version, [`u8::MAX`] for that and more: of two copies of a version
    /// the one that was moved more often is the later, whichever of their blocks was opened first.
    pub moves: u8,
}

impl Meta {
    /// Of the memory of a deleted record. `fill` is the log's fill number at the delete.
    pub fn tombstone(digest: Digest, version: [u8; 10], update_time_ms: u64, fill: u32) -> Meta {
        Meta {
            digest,
            generation: 1,
            void_time_s: fill,
            update_time_ms,
            version,
            tombstone: true,
            over_tombstone: false,
            moves: 0,
        }
    }
}

/// How key and bins of a record are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// An LZ4 block.
    Lz4,
    /// A Zstandard frame.
    Zstd,
}

/// In which form a record is stored: what its first 16 bytes say, which are never encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// How it is packed, if it is.
    pub packing: Option<Packing>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Bytes behind the header, padding not counted.
    pub payload_bytes: u32,
    /// Bytes of the set name, which are the first of those.
    pub set_bytes: u8,
}

/// What the header of a stored record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The record's fixed facts.
    pub meta: Meta,
    /// Whether its key is stored with it.
    pub stores_key: bool,
    form: Form,
    bin_count: u16,
}

/// A set name by value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SetName {
    length: u8,
    bytes: [u8; SET_BYTES_MAX],
}

/// A record without its key and bins: what the index wants to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its fixed facts.
    pub meta: Meta,
    /// Set name, empty for none.
    pub set: SetName,
    /// Whether its key is stored with it.
    pub stores_key: bool,
}

/// A stored record whose checksums were found right.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its fixed facts.
    pub meta: Meta,
    /// Set name, empty for none.
    pub set: &'a [u8],
    /// The key as the client sent it, its type byte first, when it asked to store it.
    pub key: Option<&'a [u8]>,
    bins: &'a [u8],
    bin_count: u16,
}

/// Takes a little-endian number of `N` bytes at `at`; the caller has checked the bounds.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// Size in bytes that the header at the front of `bytes` gives its record, checksums unchecked.
///
/// # Errors
/// As [`Form::read`].
pub fn size_of_record_at(bytes: &[u8]) -> Result<usize, FlatError> {
    Ok(Form::read(bytes)?.end())
}

impl Form {
    /// Reads the form of the record at the front of `bytes`, its checksums unchecked.
    ///
    /// # Errors
    /// Too few bytes for a header, no magic, or flags that contradict each other.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Form, FlatError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FlatError::Short {
                needed: HEADER_BYTES,
                found: bytes.len(),
            });
        }
        if bytes[8] != MAGIC {
            return Err(FlatError::Magic);
        }
        let flags = bytes[9];
        const PACKED: u8 = FLAG_LZ4 | FLAG_ZSTD;
        const KNOWN: u8 = FLAG_TOMBSTONE | FLAG_KEY | PACKED | FLAG_ENCRYPTED | FLAG_OVER_TOMBSTONE;
        if flags & !KNOWN != 0 {
            return Err(FlatError::Content("it bears a flag that is not known"));
        }
        let packing = match (flags & FLAG_LZ4 != 0, flags & FLAG_ZSTD != 0) {
            (false, false) => None,
            (true, false) => Some(Packing::Lz4),
            (false, true) => Some(Packing::Zstd),
            (true, true) => return Err(FlatError::Content("it is packed in two ways")),
        };
        let form = Form {
            packing,
            encrypted: flags & FLAG_ENCRYPTED != 0,
            payload_bytes: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], 0]),
            set_bytes: bytes[15],
        };
        if usize::from(form.set_bytes) > SET_BYTES_MAX {
            return Err(FlatError::Content("the set name is longer than it may be"));
        }
        if u32::from(form.set_bytes) > form.payload_bytes {
            return Err(FlatError::Content("the set name is longer than its record"));
        }
        whole(bytes, form.header_end())?;
        Ok(form)
    }

    /// Reads the form of the record at the front of `bytes` and checks its header: the rest of the
    /// record may be damaged, or not be there.
    ///
    /// # Errors
    /// Whatever makes the bytes not the header that this seal promises.
    #[inline]
    pub fn check_header(bytes: &[u8], seal: &Seal) -> Result<Form, FlatError> {
        let form = Form::read(bytes)?;
        if u32::from_le_bytes(field(bytes, 0)) != seal.header_checksum(bytes, &form) {
            return Err(FlatError::Header);
        }
        Ok(form)
    }

    /// Checks what lies behind a header that was found right.
    ///
    /// # Errors
    /// Whatever makes the bytes not a whole record.
    #[inline]
    pub fn check_payload(&self, bytes: &[u8]) -> Result<(), FlatError> {
        let record = whole(bytes, self.end())?;
        let header = u32::from_le_bytes(field(record, 0));
        let checksum = crc32c::crc32c_append(header, &record[self.header_end()..]);
        if u32::from_le_bytes(field(record, 4)) != checksum {
            return Err(FlatError::Payload);
        }
        Ok(())
    }

    /// Checks the whole record at the front of `bytes`.
    ///
    /// # Errors
    /// Whatever makes the bytes not the record that this seal promises.
    pub fn check(bytes: &[u8], seal: &Seal) -> Result<Form, FlatError> {
        let form = Form::check_header(bytes, seal)?;
        form.check_payload(bytes)?;
        Ok(form)
    }

    /// Whether key and bins lie there as they are.
    pub fn is_plain(&self) -> bool {
        self.packing.is_none() && !self.encrypted
    }

    /// Size of the record in bytes, padding not counted.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes as usize
    }

    /// Where the stored bytes of the record end: an encrypted one fills its last 16 bytes.
    pub fn end(&self) -> usize {
        if self.encrypted {
            self.size_bytes().next_multiple_of(CIPHER_BLOCK_BYTES)
        } else {
            self.size_bytes()
        }
    }

    /// Where the set name ends, and what is packed begins.
    pub fn front_bytes(&self) -> usize {
        HEADER_BYTES + usize::from(self.set_bytes)
    }

    /// Where the header's checksum ceases to cover: behind the set name, and in an encrypted record behind
    /// the 16 bytes in which that ends.
    fn header_end(&self) -> usize {
        if self.encrypted {
            self.front_bytes().next_multiple_of(CIPHER_BLOCK_BYTES)
        } else {
            self.front_bytes()
        }
    }

    /// Writes the form into the header of a record.
    ///
    /// # Panics
    /// When the payload is larger than the format can tell.
    pub fn write(&self, record: &mut [u8]) {
        let packing = match self.packing {
            None => 0,
            Some(Packing::Lz4) => FLAG_LZ4,
            Some(Packing::Zstd) => FLAG_ZSTD,
        };
        let encrypted = if self.encrypted { FLAG_ENCRYPTED } else { 0 };
        let kept = FLAG_TOMBSTONE | FLAG_KEY | FLAG_OVER_TOMBSTONE;
        record[9] = record[9] & kept | packing | encrypted;
        assert!(self.payload_bytes as usize <= PAYLOAD_BYTES_MAX);
        record[12..15].copy_from_slice(&self.payload_bytes.to_le_bytes()[..3]);
        record[15] = self.set_bytes;
    }
}

impl Header {
    /// Reads the header at the front of `bytes`, which is not encrypted, and checks it against its own
    /// checksum alone: the rest of the record may be damaged, or not be there.
    ///
    /// # Errors
    /// Whatever makes the bytes not the header that this seal promises.
    pub fn parse(bytes: &[u8], seal: &Seal) -> Result<Header, FlatError> {
        if Form::check_header(bytes, seal)?.encrypted {
            return Err(FlatError::Content("the record is encrypted"));
        }
        Header::read(bytes)
    }

    /// Reads a header that is not encrypted, its checksum unchecked.
    ///
    /// # Errors
    /// As [`Form::read`], and when the header contradicts itself.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Header, FlatError> {
        let form = Form::read(bytes)?;
        let flags = bytes[9];
        let header = Header {
            meta: Meta {
                digest: Digest(field(bytes, 16)),
                generation: u16::from_le_bytes(field(bytes, 10)),
                void_time_s: u32::from_le_bytes(field(bytes, 48)),
                update_time_ms: read_update_time(bytes),
                version: field(bytes, 36),
                tombstone: flags & FLAG_TOMBSTONE != 0,
                over_tombstone: flags & FLAG_OVER_TOMBSTONE != 0,
                moves: bytes[MOVES_AT],
            },
            stores_key: flags & FLAG_KEY != 0,
            form,
            bin_count: u16::from_le_bytes(field(bytes, 46)),
        };
        let contradiction = match header {
            Header { meta, .. } if meta.generation == 0 => "generation is zero",
            Header { meta, .. } if meta.update_time_ms > UPDATE_TIME_MS_MAX => {
                "the update time is beyond its 40 bits"
            }
            Header { bin_count, .. } if usize::from(bin_count) > BINS_MAX => {
                "there are more bins than a record may have"
            }
            _ => return Ok(header),
        };
        Err(FlatError::Content(contradiction))
    }

    /// Size of the whole record in bytes, padding to the rblock not counted.
    pub fn size_bytes(&self) -> usize {
        self.form.size_bytes()
    }

    /// What the index wants to know of the record at the front of `bytes`, whose header this is.
    /// `None` if they do not hold the set name.
    #[inline]
    pub fn facts(&self, bytes: &[u8]) -> Option<Facts> {
        let set = bytes.get(HEADER_BYTES..self.form.front_bytes())?;
        Some(Facts {
            meta: self.meta,
            set: SetName::new(set)?,
            stores_key: self.stores_key,
        })
    }
}

impl<'a> Record<'a> {
    /// Reads the plain record at the front of `bytes`, which may go on beyond it.
    ///
    /// # Errors
    /// Whatever makes the bytes not the record that this seal promises.
    pub fn parse(bytes: &'a [u8], seal: &Seal) -> Result<Record<'a>, FlatError> {
        Form::check(bytes, seal)?;
        Record::parse_unsealed(bytes)
    }

    /// Reads a plain record that this process wrote and that never left memory, or whose checksums were
    /// found right before.
    ///
    /// # Errors
    /// As [`Record::parse`], the checksums aside.
    pub fn parse_unsealed(bytes: &'a [u8]) -> Result<Record<'a>, FlatError> {
        let form = Form::read(bytes)?;
        if !form.is_plain() {
            return Err(FlatError::Content("the record is packed or encrypted"));
        }
        let record = whole(bytes, form.size_bytes())?;
        Record::read(&Header::read(record)?, record)
    }

    fn read(header: &Header, record: &'a [u8]) -> Result<Record<'a>, FlatError> {
        let (front, rest) = record.split_at(header.form.front_bytes()); // the form was found to fit
        let set = &front[HEADER_BYTES..];
        let (key, bins) = split_key(rest, header.stores_key)?;
        Ok(Record {
            meta: header.meta,
            set,
            key,
            bins,
            bin_count: header.bin_count,
        })
    }

    /// The record as one to be stored, under these facts.
    pub fn draft(&self, meta: Meta) -> Draft<'a, BinIter<'a>> {
        Draft {
            meta,
            set: self.set,
            key: self.key,
            bins: self.bins(),
        }
    }

    /// The record without its key and bins.
    pub fn facts(&self) -> Facts {
        Facts {
            meta: self.meta,
            set: SetName::new(self.set).unwrap_or_default(), // it was read from one byte of length
            stores_key: self.key.is_some(),
        }
    }

    /// The bins in stored order.
    pub fn bins(&self) -> BinIter<'a> {
        BinIter {
            rest: self.bins,
            left: self.bin_count,
        }
    }

    /// How many bins there are.
    pub fn bin_count(&self) -> u16 {
        self.bin_count
    }

    /// The bin of this name.
    pub fn bin(&self, name: &[u8]) -> Option<BinRef<'a>> {
        self.bins().find(|bin| bin.name == name)
    }

    /// Walks every bin once and says whether all of them are well formed; recovery and fuzzing ask.
    pub fn validate(&self) -> Result<(), FlatError> {
        let mut bins = self.bins();
        let walked = bins.by_ref().count();
        if walked != usize::from(self.bin_count) || !bins.rest.is_empty() {
            return Err(FlatError::Content("the bins do not fill the payload"));
        }
        Ok(())
    }
}

impl SetName {
    /// The name, unless it is longer than names may be.
    #[inline]
    pub fn new(name: &[u8]) -> Option<SetName> {
        let mut bytes = [0; SET_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        let length = name.len() as u8; // at most 63
        Some(SetName { length, bytes })
    }
}

impl Default for SetName {
    fn default() -> SetName {
        SetName {
            length: 0,
            bytes: [0; SET_BYTES_MAX],
        }
    }
}

impl std::ops::Deref for SetName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl std::fmt::Debug for SetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

/// The first `size` of the bytes.
fn whole(bytes: &[u8], size: usize) -> Result<&[u8], FlatError> {
    bytes.get(..size).ok_or(FlatError::Short {
        needed: size,
        found: bytes.len(),
    })
}

fn read_update_time(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..6].copy_from_slice(&bytes[52..58]);
    u64::from_le_bytes(wide)
}

fn split_key(rest: &[u8], stored: bool) -> Result<(Option<&[u8]>, &[u8]), FlatError> {
    if !stored {
        return Ok((None, rest));
    }
    let short = FlatError::Content("the key is longer than its record");
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (key, rest) = rest.split_at_checked(length).ok_or(short)?;
    Ok((Some(key), rest))
}

/// Walks the bins of a record; ends early where bytes are malformed.
#[derive(Clone, Debug)]
pub struct BinIter<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for BinIter<'a> {
    type Item = BinRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<BinRef<'a>> {
        if self.left == 0 {
            return None;
        }
        let (&[name_bytes, particle], rest) = self.rest.split_first_chunk::<2>()?;
        if usize::from(name_bytes) > NAME_BYTES_MAX {
            return None;
        }
        let (value_bytes, rest) = read_leb128(rest)?;
        let (name, rest) = rest.split_at_checked(usize::from(name_bytes))?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        let particle = ParticleType::from_wire(particle)?;
        self.rest = rest;
        self.left -= 1;
        Some(BinRef {
            name,
            particle,
            value,
        })
    }
}

/// Reads an unsigned LEB128 number of at most 28 bits.
fn read_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Bytes that a LEB128 number takes.
fn leb128_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// A record to be stored: its facts, and its bins by reference.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a, B> {
    /// The fixed facts.
    pub meta: Meta,
    /// Set name, empty for none.
    pub set: &'a [u8],
    /// The key with its type byte, when it is to be stored.
    pub key: Option<&'a [u8]>,
    /// The bins.
    pub bins: B,
}

impl<'a> Draft<'a, std::iter::Empty<BinRef<'a>>> {
    /// A tombstone, which has neither key nor bins.
    pub fn tombstone(meta: Meta, set: &'a [u8]) -> Self {
        Draft {
            meta,
            set,
            key: None,
            bins: std::iter::empty(),
        }
    }
}

impl<'b, B> Draft<'_, B>
where
    B: Iterator<Item = BinRef<'b>> + Clone,
{
    /// Size in bytes of the stored record, padding to the rblock not counted.
    pub fn size_bytes(&self) -> usize {
        let key = self.key.map_or(0, |key| 4 + key.len());
        let bin =
            |bin: BinRef<'_>| 2 + leb128_bytes(bin.value.len()) + bin.name.len() + bin.value.len();
        HEADER_BYTES + self.set.len() + key + self.bins.clone().map(bin).sum::<usize>()
    }

    /// Writes the plain record into `out`, which must have room for [`Draft::size_bytes`]; what follows
    /// it in `out` is left alone. Returns the size written.
    ///
    /// # Panics
    /// On a draft beyond the limits of the format, which its maker has to refuse before.
    pub fn write(&self, out: &mut [u8], seal: &Seal) -> usize {
        let size = self.lay(out);
        let sealed = reseal(&mut out[..size], seal);
        sealed.expect("a record was just laid there");
        size
    }

    /// The plain record for another node, its checksums not filled in.
    ///
    /// # Panics
    /// As [`Draft::write`].
    pub fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.size_bytes()];
        self.lay(&mut image);
        image
    }

    /// As [`Draft::write`], and leaves the checksums to [`reseal`].
    ///
    /// # Panics
    /// Likewise.
    pub fn lay(&self, out: &mut [u8]) -> usize {
        assert!(self.set.len() <= SET_BYTES_MAX);
        assert!(self.meta.generation != 0);
        assert!(self.meta.update_time_ms <= UPDATE_TIME_MS_MAX);
        let mut writer = Writer {
            out,
            at: HEADER_BYTES,
        };
        writer.put(self.set);
        if let Some(key) = self.key {
            writer.put(&(key.len() as u32).to_le_bytes());
            writer.put(key);
        }
        let mut bin_count = 0;
        for bin in self.bins.clone() {
            assert!(bin.name.len() <= NAME_BYTES_MAX);
            writer.put(&[bin.name.len() as u8, bin.particle as u8]);
            writer.put_leb128(bin.value.len());
            writer.put(bin.name);
            writer.put(bin.value);
            bin_count += 1;
        }
        assert!(bin_count <= BINS_MAX);
        let size = writer.at;
        self.write_header(&mut out[..size], bin_count as u16);
        size
    }

    fn write_header(&self, record: &mut [u8], bin_count: u16) {
        let meta = &self.meta;
        let tombstone = if meta.tombstone { FLAG_TOMBSTONE } else { 0 };
        let key = if self.key.is_some() { FLAG_KEY } else { 0 };
        let over = if meta.over_tombstone {
            FLAG_OVER_TOMBSTONE
        } else {
            0
        };
        record[8] = MAGIC;
        record[9] = tombstone | key | over;
        record[10..12].copy_from_slice(&meta.generation.to_le_bytes());
        let payload = record.len() - HEADER_BYTES;
        assert!(payload <= PAYLOAD_BYTES_MAX);
        record[12..15].copy_from_slice(&payload.to_le_bytes()[..3]);
        record[15] = self.set.len() as u8;
        record[16..36].copy_from_slice(&meta.digest.0);
        record[36..46].copy_from_slice(&meta.version);
        record[46..48].copy_from_slice(&bin_count.to_le_bytes());
        record[48..52].copy_from_slice(&meta.void_time_s.to_le_bytes());
        record[52..58].copy_from_slice(&meta.update_time_ms.to_le_bytes()[..6]);
        record[MOVES_AT] = meta.moves;
        record[59] = 0;
    }
}

/// Counts a move of a written record, which is not encrypted; leaves the checksums to [`reseal`].
///
/// # Errors
/// When the bytes hold no header.
pub fn count_move(bytes: &mut [u8]) -> Result<(), FlatError> {
    Form::read(bytes)?;
    bytes[MOVES_AT] = bytes[MOVES_AT].saturating_add(1);
    Ok(())
}

/// Gives an already written record, in whatever form, the seal of a new place.
///
/// # Errors
/// When the bytes hold no whole record.
pub fn reseal(bytes: &mut [u8], seal: &Seal) -> Result<(), FlatError> {
    let form = Form::read(bytes)?;
    whole(bytes, form.end())?;
    let record = &mut bytes[..form.end()];
    let header = seal.header_checksum(record, &form);
    let checksum = crc32c::crc32c_append(header, &record[form.header_end()..]);
    record[..4].copy_from_slice(&header.to_le_bytes());
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_leb128(&mut self, mut value: usize) {
        assert!(value < 1 << 28);
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEAL: Seal = Seal {
        device: 7,
        fill: 3,
        start: 4096,
    };

    fn meta() -> Meta {
        Meta {
            digest: Digest([5; 20]),
            generation: 9,
            void_time_s: 77,
            update_time_ms: 0x01_2345_6789,
            version: [0, 0, 0, 1, 0, 0, 0, 0, 0, 42],
            tombstone: false,
            over_tombstone: true,
            moves: 3,
        }
    }

    fn stored(set: &[u8], key: Option<&[u8]>, bins: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let bins = bins.iter().map(|(name, value)| BinRef {
            name,
            particle: ParticleType::Blob,
            value,
        });
        let draft = Draft {
            meta: meta(),
            set,
            key,
            bins,
        };
        let mut bytes = vec![0; draft.size_bytes()];
        assert_eq!(draft.write(&mut bytes, &SEAL), bytes.len());
        bytes
    }

    proptest! {
        #[test]
        fn a_stored_record_reads_back_as_it_was_written(
            set in proptest::collection::vec(any::<u8>(), 0..63),
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            bins in proptest::collection::vec((
                proptest::collection::vec(any::<u8>(), 0..15),
                proptest::collection::vec(any::<u8>(), 0..20_000),
            ), 0..9),
        ) {
            let bytes = stored(&set, key.as_deref(), &bins);
            let record = Record::parse(&bytes, &SEAL).unwrap();
            prop_assert_eq!(record.meta, meta());
            prop_assert_eq!(record.set, &set[..]);
            prop_assert_eq!(record.key, key.as_deref());
            record.validate().unwrap();
            let found: Vec<_> =
                record.bins().map(|bin| (bin.name.to_vec(), bin.value.to_vec())).collect();
            prop_assert_eq!(found, bins);
        }

        #[test]
        fn any_changed_byte_is_noticed(at in 0usize..114, flip in 1u8..) {
            let mut bytes = stored(b"cities", None, &[(b"name".to_vec(), vec![8; 40])]);
            prop_assume!(at < bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Record::parse(&bytes, &SEAL).is_err());
        }

        #[test]
        fn random_bytes_are_refused_and_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let mut bytes = bytes;
            if bytes.len() > 16 {
                bytes[8] = MAGIC;
                bytes[13..15].fill(0);
                bytes[15] &= 0x3f; // a set name of some length
            }
            prop_assert!(Record::parse(&bytes, &SEAL).is_err());
            if let Ok(record) = Record::parse_unsealed(&bytes) {
                let _ = record.validate();
            }
        }
    }

    #[test]
    fn a_record_with_a_damaged_payload_is_still_known_by_its_header() {
        let mut bytes = stored(b"cities", None, &[(b"name".to_vec(), vec![8; 40])]);
        let size = bytes.len();
        bytes[size - 1] ^= 1;
        assert_eq!(
            Record::parse(&bytes, &SEAL).unwrap_err(),
            FlatError::Payload
        );
        let header = Header::parse(&bytes, &SEAL).unwrap();
        assert_eq!((header.meta, header.size_bytes()), (meta(), size));
        assert_eq!(&*header.facts(&bytes).unwrap().set, b"cities");
        let front_bytes = HEADER_BYTES + b"cities".len();
        bytes.truncate(front_bytes);
        assert_eq!(Header::parse(&bytes, &SEAL), Ok(header));
        for at in (0..4).chain(COVERED_FROM..front_bytes) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Header::parse(&damaged, &SEAL).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_record_is_valid_only_at_its_own_place_and_fill() {
        let mut bytes = stored(b"", None, &[]);
        for other in [
            Seal { device: 8, ..SEAL },
            Seal { fill: 4, ..SEAL },
            Seal {
                start: 8192,
                ..SEAL
            },
        ] {
            assert_eq!(
                Record::parse(&bytes, &other).unwrap_err(),
                FlatError::Header
            );
        }
        let moved = Seal {
            start: 8192,
            ..SEAL
        };
        reseal(&mut bytes, &moved).unwrap();
        assert!(Record::parse(&bytes, &moved).is_ok());
        assert!(Record::parse(&bytes, &SEAL).is_err());
    }
}
