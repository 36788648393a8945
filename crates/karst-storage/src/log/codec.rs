//! Between the plain form of a record and the one that is stored: packing, encryption, checksums.
//!
//! ```text
//!   Draft -- lay --> plain -- pack --> packed, if that is smaller -- encrypt --> reseal --> a block
//!   a block -- check --> decrypt --> unpack --> plain --> Record
//! ```
//!
//! A namespace packs what it writes as its configuration says *now* and unpacks whatever it finds: the
//! record's flags say how it was packed. Encryption is a matter of the whole device and never changes.
//!
//! Without either option nothing is copied and nothing is allocated here.
//!
//! Encryption is AES-256-XTS over bytes 16 to the end of the record's last 16 bytes. The tweak is made of
//! the fill of the block and the record's offset on the device, a pair that is used once, ever; the two keys
//! are drawn from the key file and the device's number. XTS hides content and does not authenticate it:
//! who can write to the device can destroy records, but not make one say what he wants.

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use karst_data::bin::BinRef;
use karst_data::flat::{
    CIPHER_BLOCK_BYTES, Draft, ENCRYPTED_FROM, Facts, FlatError, Form, HEADER_BYTES, Header,
    PAYLOAD_BYTES_MAX, Packing, Record, Seal, count_move, reseal,
};
use karst_data::key::SET_BYTES_MAX;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha512};

use crate::place::RBLOCK_BYTES;

/// Bytes of a key file's key.
pub const MASTER_KEY_BYTES: usize = 32;

/// Levels of Zstandard that may be asked for.
pub const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// Bytes of the number in front of what is packed: how many it takes when unpacked.
const UNPACKED_BYTES: usize = 4;

/// Less than this is not worth packing.
const PACK_BYTES_MIN: usize = 32;

/// Bytes that hold every header and its set name, in whole cipher blocks.
const FRONT_BYTES: usize = (HEADER_BYTES + SET_BYTES_MAX).next_multiple_of(CIPHER_BLOCK_BYTES);

/// Workspaces that are kept for the next record: about one a core is in use at a time.
const WORKSPACES_MAX: usize = 64;

/// How new records are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By LZ4.
    Lz4,
    /// By Zstandard, at this of its [`ZSTD_LEVELS`].
    Zstd(i32),
}

/// The key of a key file.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(pub [u8; MASTER_KEY_BYTES]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)") // a key is never printed
    }
}

impl MasterKey {
    fn derive(&self, purpose: &[u8], device: u64) -> [u8; 64] {
        let hash = Sha512::new()
            .chain_update(self.0)
            .chain_update(purpose)
            .chain_update(device.to_le_bytes());
        hash.finalize().into()
    }

    /// What a device's superblock holds to tell this key from another.
    pub fn check(&self, device: u64) -> [u8; 16] {
        let mut check = [0; 16];
        check.copy_from_slice(&self.derive(b"karst key check", device)[..16]);
        check
    }
}

/// The cipher of one device.
struct Cipher {
    device: u64,
    data: Aes256,
    tweak: Aes256,
}

impl Cipher {
    fn new(master: &MasterKey, device: u64) -> Cipher {
        let keys = master.derive(b"karst data keys", device);
        let half = |at: usize| Aes256::new_from_slice(&keys[at..at + 32]).expect("32 bytes of key");
        Cipher {
            device,
            data: half(0),
            tweak: half(32),
        }
    }

    /// XTS in either direction over whole cipher blocks.
    fn apply(&self, bytes: &mut [u8], seal: &Seal, direction: Direction) {
        assert!(bytes.len().is_multiple_of(CIPHER_BLOCK_BYTES));
        let mut first = Array::from([0; CIPHER_BLOCK_BYTES]);
        first[..8].copy_from_slice(&seal.fill.to_le_bytes());
        first[8..].copy_from_slice(&seal.start.to_le_bytes());
        self.tweak.encrypt_block(&mut first);
        let mut tweak = u128::from_le_bytes(first.into());
        // Blocks are handed to the CPU a few at a time, which it works on side by side.
        for run in bytes.chunks_mut(CIPHER_RUN_BYTES) {
            let mut tweaks = [0u128; CIPHER_RUN_BYTES / CIPHER_BLOCK_BYTES];
            let (blocks, _) = Array::slice_as_chunks_mut(run);
            for (block, mask) in blocks.iter_mut().zip(&mut tweaks) {
                *mask = tweak;
                mask_block(block, tweak);
                tweak = next_tweak(tweak);
            }
            match direction {
                Direction::Encrypt => self.data.encrypt_blocks(blocks),
                Direction::Decrypt => self.data.decrypt_blocks(blocks),
            }
            for (block, mask) in blocks.iter_mut().zip(&tweaks) {
                mask_block(block, *mask);
            }
        }
    }
}

const CIPHER_RUN_BYTES: usize = 32 * CIPHER_BLOCK_BYTES;

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

fn mask_block(block: &mut aes::Block, mask: u128) {
    let masked = u128::from_le_bytes((*block).into()) ^ mask;
    *block = masked.to_le_bytes().into();
}

/// The tweak of the next block: times alpha in GF(2^128).
fn next_tweak(tweak: u128) -> u128 {
    tweak << 1 ^ if tweak >> 127 == 1 { 0x87 } else { 0 }
}

/// What it takes to pack and unpack records one at a time.
#[derive(Default)]
struct Workspace {
    plain: Vec<u8>,
    packed: Vec<u8>,
    packer: Option<zstd::bulk::Compressor<'static>>,
    unpacker: Option<zstd::bulk::Decompressor<'static>>,
}

/// Bytes that were written since the start, before and after packing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedBytes {
    /// As records.
    pub plain: u64,
    /// As they were stored.
    pub stored: u64,
}

impl PackedBytes {
    /// Stored bytes for each byte of records; 1 while nothing was written.
    pub fn ratio(&self) -> f64 {
        if self.plain == 0 {
            1.0
        } else {
            self.stored as f64 / self.plain as f64
        }
    }
}

/// Where a record that is not plain is brought into its plain form, for as long as it is looked at.
#[derive(Debug, Default)]
pub struct Opened(OnceCell<Vec<u8>>);

/// A record that is about to be stored.
pub(crate) struct Packed<'c> {
    codec: &'c Codec,
    workspace: Workspace,
    is_packed: bool,
}

/// How the records of a namespace are stored.
pub struct Codec {
    compression: Compression,
    /// Of each device, if they are encrypted.
    ciphers: Vec<Cipher>,
    workspaces: Mutex<Vec<Workspace>>,
    plain_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    /// No record takes more when it is unpacked.
    record_bytes_max: usize,
}

impl Codec {
    /// A codec for devices with these numbers. `record_bytes_max` bounds what a record may say that it
    /// takes when it is unpacked.
    pub fn new(
        compression: Compression,
        key: Option<&MasterKey>,
        devices: &[u64],
        record_bytes_max: usize,
    ) -> Codec {
        let ciphers = key.iter().flat_map(|key| {
            let cipher = |device: &u64| Cipher::new(key, *device);
            devices.iter().map(cipher)
        });
        Codec {
            compression,
            ciphers: ciphers.collect(),
            workspaces: Mutex::new(Vec::new()),
            plain_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            record_bytes_max,
        }
    }

    /// Records are stored as they are.
    pub fn plain(record_bytes_max: usize) -> Codec {
        Codec::new(Compression::None, None, &[], record_bytes_max)
    }

    /// Whether new records are packed.
    pub fn packs(&self) -> bool {
        self.compression != Compression::None
    }

    /// Whether records are encrypted.
    pub fn encrypts(&self) -> bool {
        !self.ciphers.is_empty()
    }

    /// What was packed since the start.
    pub fn packed_bytes(&self) -> PackedBytes {
        PackedBytes {
            plain: self.plain_bytes.load(Ordering::Relaxed),
            stored: self.stored_bytes.load(Ordering::Relaxed),
        }
    }

    /// Bytes that a record takes on a device whose plain form takes so many, if it is not packed.
    pub(crate) fn unpacked_bytes(&self, plain_bytes: usize) -> usize {
        if self.encrypts() {
            plain_bytes.next_multiple_of(CIPHER_BLOCK_BYTES)
        } else {
            plain_bytes
        }
    }

    /// Writes a record that is not packed into the space it will be stored in.
    pub(crate) fn store<'b, B>(&self, draft: &Draft<'_, B>, space: &mut [u8], seal: &Seal)
    where
        B: Iterator<Item = BinRef<'b>> + Clone,
    {
        if self.encrypts() {
            draft.lay(space);
            self.close(space, seal);
        } else {
            draft.write(space, seal);
        }
    }

    /// Encrypts, if that is wanted, and seals a record that lies in its space.
    fn close(&self, space: &mut [u8], seal: &Seal) {
        let form = Form::read(space).expect("a record was laid there");
        if self.encrypts() {
            let encrypted = true;
            let form = Form { encrypted, ..form };
            form.write(space);
            let cipher = self.cipher(seal).expect("every device has a cipher");
            cipher.apply(
                &mut space[ENCRYPTED_FROM..form.end()],
                seal,
                Direction::Encrypt,
            );
        }
        reseal(space, seal).expect("a record was laid there");
    }

    fn cipher(&self, seal: &Seal) -> Result<&Cipher, FlatError> {
        let mut ciphers = self.ciphers.iter();
        let cipher = ciphers.find(|cipher| cipher.device == seal.device);
        cipher.ok_or(FlatError::Content(
            "the record is encrypted and there is no key",
        ))
    }

    /// Packs a record; who stores it asks for its size first.
    pub(crate) fn pack<'b, B>(&self, draft: &Draft<'_, B>) -> Packed<'_>
    where
        B: Iterator<Item = BinRef<'b>> + Clone,
    {
        let mut workspace = self.workspaces.lock().pop().unwrap_or_default();
        workspace.plain.resize(draft.size_bytes(), 0);
        draft.lay(&mut workspace.plain);
        let front = HEADER_BYTES + draft.set.len();
        let rblocks = |bytes: &[u8]| bytes.len().div_ceil(RBLOCK_BYTES as usize);
        let is_packed = !draft.meta.tombstone
            && workspace.pack(self.compression, front)
            && rblocks(&workspace.packed) < rblocks(&workspace.plain);
        Packed {
            codec: self,
            workspace,
            is_packed,
        }
    }

    /// Gives a record that was copied from another place the form and the seal of this one, and counts the
    /// move. It stays as it is packed.
    pub(crate) fn rehouse(
        &self,
        space: &mut [u8],
        from: &Seal,
        to: &Seal,
    ) -> Result<(), FlatError> {
        let form = Form::read(space)?;
        let end = form.end();
        if space.len() < end {
            return Err(FlatError::Short {
                needed: end,
                found: space.len(),
            });
        }
        if form.encrypted {
            let bytes = &mut space[ENCRYPTED_FROM..end];
            self.cipher(from)?.apply(bytes, from, Direction::Decrypt);
        }
        count_move(space)?;
        if form.encrypted {
            let bytes = &mut space[ENCRYPTED_FROM..end];
            self.cipher(to)?.apply(bytes, to, Direction::Encrypt);
        }
        reseal(space, to)
    }

    /// Reads the record at the front of `bytes`, whatever its form, and checks it against its seal.
    ///
    /// # Errors
    /// Whatever makes the bytes not the record that this seal promises.
    pub fn open<'b>(
        &self,
        bytes: &'b [u8],
        seal: &Seal,
        opened: &'b Opened,
    ) -> Result<Record<'b>, FlatError> {
        let form = Form::check(bytes, seal)?;
        self.open_checked(form, bytes, seal, opened)
    }

    /// As [`Codec::open`], for a record that this process wrote and that never left memory.
    ///
    /// # Errors
    /// As [`Codec::open`], the checksums aside.
    pub fn open_unchecked<'b>(
        &self,
        bytes: &'b [u8],
        seal: impl FnOnce() -> Seal,
        opened: &'b Opened,
    ) -> Result<Record<'b>, FlatError> {
        let form = Form::read(bytes)?;
        if form.is_plain() {
            return Record::parse_unsealed(bytes);
        }
        self.open_checked(form, bytes, &seal(), opened)
    }

    fn open_checked<'b>(
        &self,
        form: Form,
        bytes: &'b [u8],
        seal: &Seal,
        opened: &'b Opened,
    ) -> Result<Record<'b>, FlatError> {
        if form.is_plain() {
            return Record::parse_unsealed(bytes);
        }
        let plain = self.to_plain(form, bytes, seal)?;
        Record::parse_unsealed(opened.0.get_or_init(|| plain))
    }

    /// The plain form of a record that is not plain.
    fn to_plain(&self, form: Form, bytes: &[u8], seal: &Seal) -> Result<Vec<u8>, FlatError> {
        let short = FlatError::Short {
            needed: form.end(),
            found: bytes.len(),
        };
        let mut record = bytes.get(..form.end()).ok_or(short)?.to_vec();
        if form.encrypted {
            let cipher = self.cipher(seal)?;
            cipher.apply(&mut record[ENCRYPTED_FROM..], seal, Direction::Decrypt);
            record.truncate(form.size_bytes());
        }
        let Some(packing) = form.packing else {
            let encrypted = false;
            Form { encrypted, ..form }.write(&mut record);
            return Ok(record);
        };
        self.unpack(form, packing, &record)
    }

    fn unpack(&self, form: Form, packing: Packing, record: &[u8]) -> Result<Vec<u8>, FlatError> {
        let front = form.front_bytes();
        let torn = FlatError::Content("what is packed is cut off");
        let rest = record.get(front..).ok_or(torn)?;
        let (unpacked, packed) = rest.split_first_chunk::<UNPACKED_BYTES>().ok_or(torn)?;
        let unpacked = u32::from_le_bytes(*unpacked);
        let size = front + unpacked as usize;
        if size > self.record_bytes_max.min(HEADER_BYTES + PAYLOAD_BYTES_MAX) {
            return Err(FlatError::Content("it says that it is too large"));
        }
        let mut plain = vec![0; size];
        plain[..front].copy_from_slice(&record[..front]);
        let mut workspace = self.workspaces.lock().pop().unwrap_or_default();
        let filled = workspace.unpack(packing, packed, &mut plain[front..]);
        self.give_back(workspace);
        if filled != Some(unpacked as usize) {
            return Err(FlatError::Content("what is packed cannot be unpacked"));
        }
        let form = Form {
            packing: None,
            encrypted: false,
            payload_bytes: (size - HEADER_BYTES) as u32, // bounded by the largest record
            ..form
        };
        form.write(&mut plain);
        Ok(plain)
    }

    /// The header of the record at the front of `bytes`, checked by itself.
    ///
    /// # Errors
    /// Whatever makes the bytes not the header that this seal promises, or when there is no key for it.
    pub fn header(&self, bytes: &[u8], seal: &Seal) -> Result<Header, FlatError> {
        let form = Form::check_header(bytes, seal)?;
        if form.encrypted {
            Header::read(&self.front(&form, bytes, seal)?)
        } else {
            Header::read(bytes)
        }
    }

    /// What the index wants to know of the record at the front of `bytes`, whose header was found right; what
    /// follows that may be damaged.
    ///
    /// # Errors
    /// When the header contradicts itself, or there is no key for it.
    #[inline]
    pub fn facts(&self, form: &Form, bytes: &[u8], seal: &Seal) -> Result<Facts, FlatError> {
        let short = FlatError::Content("the set name is longer than its record");
        if form.encrypted {
            let front = self.front(form, bytes, seal)?;
            Header::read(&front)?.facts(&front).ok_or(short)
        } else {
            Header::read(bytes)?.facts(bytes).ok_or(short)
        }
    }

    /// Header and set name of an encrypted record.
    fn front(
        &self,
        form: &Form,
        bytes: &[u8],
        seal: &Seal,
    ) -> Result<[u8; FRONT_BYTES], FlatError> {
        let mut front = [0; FRONT_BYTES];
        let whole = bytes.len() / CIPHER_BLOCK_BYTES * CIPHER_BLOCK_BYTES;
        let end = form.end().min(FRONT_BYTES).min(whole);
        front[..end].copy_from_slice(&bytes[..end]);
        let cipher = self.cipher(seal)?;
        cipher.apply(&mut front[ENCRYPTED_FROM..end], seal, Direction::Decrypt);
        Ok(front)
    }

    fn give_back(&self, workspace: Workspace) {
        let mut workspaces = self.workspaces.lock();
        if workspaces.len() < WORKSPACES_MAX {
            workspaces.push(workspace);
        }
    }
}

impl Packed<'_> {
    fn bytes(&self) -> &[u8] {
        if self.is_packed {
            &self.workspace.packed
        } else {
            &self.workspace.plain
        }
    }

    /// Bytes that it takes when it is stored.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.codec.unpacked_bytes(self.bytes().len())
    }

    /// Writes it into the space it will be stored in.
    pub(crate) fn store(&self, space: &mut [u8], seal: &Seal) {
        let bytes = self.bytes();
        space[..bytes.len()].copy_from_slice(bytes);
        self.codec.close(space, seal);
    }

    /// Counts it as written.
    pub(crate) fn count(&self) {
        let Codec {
            plain_bytes,
            stored_bytes,
            ..
        } = self.codec;
        plain_bytes.fetch_add(self.workspace.plain.len() as u64, Ordering::Relaxed);
        stored_bytes.fetch_add(self.bytes().len() as u64, Ordering::Relaxed);
    }
}

impl Drop for Packed<'_> {
    fn drop(&mut self) {
        self.codec.give_back(std::mem::take(&mut self.workspace));
    }
}

impl Workspace {
    /// Packs what lies behind `front` in `plain`; `false` if that did not make it smaller.
    fn pack(&mut self, compression: Compression, front: usize) -> bool {
        let rest = &self.plain[front..];
        if rest.len() < PACK_BYTES_MIN {
            return false;
        }
        let room = match compression {
            Compression::Lz4 => lz4_flex::block::get_maximum_output_size(rest.len()),
            Compression::None | Compression::Zstd(_) => rest.len(), // more is not worth it
        };
        self.packed.resize(front + UNPACKED_BYTES + room, 0);
        let room = &mut self.packed[front + UNPACKED_BYTES..];
        let (packing, written) = match compression {
            Compression::None => return false,
            Compression::Lz4 => (
                Packing::Lz4,
                lz4_flex::block::compress_into(rest, room).ok(),
            ),
            Compression::Zstd(level) => {
                let packer = match &mut self.packer {
                    Some(packer) => packer,
                    empty => match zstd::bulk::Compressor::new(level) {
                        Ok(packer) => empty.insert(packer),
                        Err(_) => return false, // no memory for it
                    },
                };
                (Packing::Zstd, packer.compress_to_buffer(rest, room).ok())
            }
        };
        let Some(written) = written else { return false };
        self.packed[..front].copy_from_slice(&self.plain[..front]);
        let unpacked = (rest.len() as u32).to_le_bytes(); // bounded by the largest record
        self.packed[front..front + UNPACKED_BYTES].copy_from_slice(&unpacked);
        self.packed.truncate(front + UNPACKED_BYTES + written);
        let form = Form {
            packing: Some(packing),
            encrypted: false,
            payload_bytes: (self.packed.len() - HEADER_BYTES) as u32,
            set_bytes: (front - HEADER_BYTES) as u8,
        };
        form.write(&mut self.packed);
        true
    }

    /// Unpacks into `out` and says how much of it was filled.
    fn unpack(&mut self, packing: Packing, packed: &[u8], out: &mut [u8]) -> Option<usize> {
        match packing {
            Packing::Lz4 => lz4_flex::block::decompress_into(packed, out).ok(),
            Packing::Zstd => {
                let unpacker = match &mut self.unpacker {
                    Some(unpacker) => unpacker,
                    empty => empty.insert(zstd::bulk::Decompressor::new().ok()?),
                };
                unpacker.decompress_to_buffer(packed, out).ok()
            }
        }
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("compression", &self.compression)
            .field("encrypts", &self.encrypts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
