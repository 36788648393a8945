//! From the bytes of blocks back to records, after a stop of any kind.
//!
//! Every block whose header is sound is walked from front to end. A record counts if its checksums are
//! right under the seal of the block's fill. One whose header alone is right is reported with what the
//! header says and stepped over by its size; anything else is stepped over one rblock at a time. So a
//! torn or rotten record costs only itself. Which of several versions of a record is the live one is
//! for the index to say; the log only reports what it found.
//!
//! A block that was being filled at a stop ends with remains of its earlier fills and perhaps with torn
//! records that nobody was told are kept. [`Testimony`] knows which blocks cannot end like that: damage
//! in those is rot.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;

use karst_data::flat::{Facts, FlatError, Form, Seal};
use karst_data::mutation::{Mutation, is_planted};

use super::Log;
use super::codec::Codec;
use super::format::{BLOCK_HEADER_BYTES, BlockHeader, END_MARK_BYTES, is_end_mark};
use super::space::{BlockId, Life};
use crate::place::{DeviceId, Place, RBLOCK_BYTES, Rblocks};

/// A sound record as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    /// Where.
    pub place: Place,
    /// What the index wants to know of it.
    pub facts: Facts,
    /// Its bytes as stored, with as much of its padding as the block's bytes have.
    pub bytes: &'a [u8],
}

/// Bytes of a block that are no sound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where they are: the place of a record if its header is sound, else a stretch without one.
    pub place: Place,
    /// What the header of the record that was there says, if it is sound.
    pub facts: Option<Facts>,
}

/// What a step through a block came upon.
#[derive(Clone, Copy, Debug)]
pub enum Scanned<'a> {
    /// A record.
    Record(StoredRecord<'a>),
    /// A sound record that is encrypted, and the walk has no key for it.
    Sealed(Place),
    /// Something else that is not zeros: rot, or in a block that is not settled the torn end of what
    /// was being written, or what an earlier fill left.
    Damaged(Damage),
}

impl<'a> Scanned<'a> {
    /// The record, if it is one.
    pub fn record(self) -> Option<StoredRecord<'a>> {
        match self {
            Scanned::Record(record) => Some(record),
            Scanned::Sealed(_) | Scanned::Damaged(_) => None,
        }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        match self {
            Scanned::Record(record) => record.place,
            Scanned::Sealed(place) => *place,
            Scanned::Damaged(damage) => damage.place,
        }
    }
}

/// What one block holds, front to end.
pub struct ScannedBlock<'a> {
    bytes: &'a [u8],
    seal: Seal,
    device: DeviceId,
    block_start: u64,
    codec: Option<&'a Codec>,
    at: usize,
    damaged: u64,
    ended: bool,
}

impl<'a> ScannedBlock<'a> {
    /// Walks the records of a block. `seal` names device and fill; its start is ignored.
    pub fn new(bytes: &'a [u8], device: DeviceId, block_start: u64, seal: Seal) -> Self {
        ScannedBlock {
            bytes,
            seal,
            device,
            block_start,
            codec: None,
            at: BLOCK_HEADER_BYTES,
            damaged: 0,
            ended: false,
        }
    }

    /// Lets the walk read encrypted records.
    #[must_use]
    pub fn with_codec(mut self, codec: &'a Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// How often the walk came upon something damaged so far.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether the walk met the end of what was written: the end mark, or the block's end right behind
    /// a record. Ask when it is over.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn seal_at(&self, at: usize) -> Seal {
        let start = self.block_start + at as u64;
        Seal { start, ..self.seal }
    }

    fn place(&self, at: usize, bytes: usize) -> Place {
        Place {
            device: self.device,
            start: Rblocks((self.block_start + at as u64) / RBLOCK_BYTES),
            length: Rblocks::holding(bytes as u64),
        }
    }

    /// A record, sound or known by its header, or the end mark: what may lie at an offset.
    #[inline]
    fn look(&self, at: usize) -> Option<Look<'a>> {
        let rest = &self.bytes[at..];
        let seal = self.seal_at(at);
        if is_end_mark(rest, &seal) {
            return Some(Look::End);
        }
        let form = Form::check_header(rest, &seal).ok()?;
        let place = self.place(at, form.end());
        let sound = match form.check_payload(rest) {
            // A size that leads out of the block is not a record's: nothing is known from there on.
            Err(FlatError::Short { .. }) => return None,
            checked => checked.is_ok(),
        };
        let found = match self.codec {
            Some(codec) => tell(codec, rest, &form, place, &seal, sound),
            None => tell(&Codec::plain(0), rest, &form, place, &seal, sound),
        };
        Some(Look::Found(found))
    }

    /// The stretch from an offset on up to where something is known again, zeros at its end left out.
    fn unknown(&self, from: usize) -> Damage {
        let step = RBLOCK_BYTES as usize;
        let mut end = from + step;
        let mut at = end;
        while at < self.bytes.len() && self.look(at).is_none() {
            at += step;
            if !is_zero(&self.bytes[at - step..at.min(self.bytes.len())]) {
                end = at;
            }
        }
        Damage {
            place: self.place(from, end - from),
            facts: None,
        }
    }
}

/// What is known of a record whose header is sound.
fn tell<'a>(
    codec: &Codec,
    rest: &'a [u8],
    form: &Form,
    place: Place,
    seal: &Seal,
    sound: bool,
) -> Scanned<'a> {
    let readable = !form.encrypted || codec.encrypts();
    match codec.facts(form, rest, seal) {
        Ok(facts) if sound => Scanned::Record(StoredRecord {
            place,
            facts,
            bytes: &rest[..(place.length.bytes() as usize).min(rest.len())],
        }),
        Err(_) if sound && !readable => Scanned::Sealed(place),
        facts => Scanned::Damaged(Damage {
            place,
            facts: facts.ok(),
        }),
    }
}

enum Look<'a> {
    Found(Scanned<'a>),
    End,
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

impl<'a> Iterator for ScannedBlock<'a> {
    type Item = Scanned<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scanned<'a>> {
        while self.at < self.bytes.len() {
            let rblock_end = (self.at + RBLOCK_BYTES as usize).min(self.bytes.len());
            let scanned = match self.look(self.at) {
                Some(Look::End) => break,
                Some(Look::Found(scanned)) => scanned,
                None if is_zero(&self.bytes[self.at..rblock_end]) => {
                    self.at = rblock_end;
                    continue;
                }
                None => Scanned::Damaged(self.unknown(self.at)),
            };
            self.at += scanned.place().length.bytes() as usize;
            let damaged = matches!(scanned, Scanned::Damaged(_));
            self.damaged += u64::from(damaged);
            let left = self.bytes.len().saturating_sub(self.at);
            self.ended = left < END_MARK_BYTES && !damaged;
            return Some(scanned);
        }
        self.ended |= self.at < self.bytes.len();
        self.at = self.bytes.len();
        None
    }
}

/// What the headers of a namespace's blocks say of other blocks. All of them are heard before any of
/// it is believed.
#[derive(Debug, Default)]
pub struct Testimony {
    /// For each run of the node, by its first fill: the fill below which all of its fills are settled.
    settled: BTreeMap<u64, u64>,
    /// For each block that a later one names as its lane's previous: its fill.
    fills: HashMap<(u64, u32), u64>,
}

impl Testimony {
    /// Takes note of what a sound header says.
    pub fn hear(&mut self, header: &BlockHeader) {
        let settled = self.settled.entry(header.since).or_default();
        *settled = header.settled.max(*settled);
        if let Some(previous) = &header.previous {
            let fill = self.fills.entry((previous.device, previous.block));
            let fill = fill.or_default();
            *fill = previous.fill.max(*fill);
        }
    }

    /// Whether a fill was wholly durable once, so that no stop can have torn it.
    pub fn is_settled(&self, fill: u64) -> bool {
        let run = self.settled.range(..=fill).next_back();
        run.is_some_and(|(_, settled)| fill < *settled)
    }

    /// Whether a block with this fill in its header had a later one that was wholly durable once: then
    /// the block is as it was before, and all that it holds was given up since.
    pub fn is_stale(&self, device: u64, block: u32, fill: u64) -> bool {
        let told = self.fill_of(device, block);
        told.is_some_and(|told| told > fill && self.is_settled(told))
    }

    /// The last known fill of a block, for one whose own header is damaged; `device` is its number.
    pub fn fill_of(&self, device: u64, block: u32) -> Option<u64> {
        self.fills.get(&(device, block)).copied()
    }
}

impl Log {
    /// Byte offset and size of a block on its device, for the caller to read.
    pub fn block_extent(&self, id: BlockId) -> (u64, usize) {
        (
            self.config.block_offset(id.block),
            self.config.block_bytes as usize,
        )
    }

    /// The seal of a block's present content; its start is the caller's to fill in.
    pub fn block_seal(&self, id: BlockId) -> Seal {
        Seal {
            device: self.devices[usize::from(id.device.0)].geometry.number,
            fill: self.block(id).fill.load(Ordering::Acquire),
            start: 0,
        }
    }

    /// Walks the bytes of a block, as read from its device or found in memory.
    pub fn scan_block<'a>(&'a self, id: BlockId, bytes: &'a [u8]) -> ScannedBlock<'a> {
        let start = self.config.block_offset(id.block);
        ScannedBlock::new(bytes, id.device, start, self.block_seal(id)).with_codec(&self.codec)
    }

    /// Takes one block of a device that was in use before, and walks it. `None` when it was never filled,
    /// or when its header is damaged, which makes it free, unless `fill` ([`Testimony::fill_of`]) says
    /// which fill it was and the first record bears that out: had the block been opened once more, its
    /// front would be of a later fill, and what is left of the earlier one must not come back.
    pub fn recover_block<'a>(
        &'a self,
        id: BlockId,
        bytes: &'a [u8],
        fill: Option<u64>,
    ) -> Option<ScannedBlock<'a>> {
        let known = match self.block_header(id, bytes) {
            Some(header) => Some(header.fill),
            None => fill.filter(|fill| self.begins_with_fill(id, bytes, *fill)),
        };
        let Some(fill) = known else {
            if self.is_untold(id, bytes) {
                self.holds_unknown(id);
            }
            return None;
        };
        self.note_fill(id, fill);
        self.fills.fetch_max(fill, Ordering::AcqRel);
        Some(self.scan_block(id, bytes))
    }

    /// The header at the front of a block's bytes, if it is sound and belongs there.
    pub fn block_header(&self, id: BlockId, bytes: &[u8]) -> Option<BlockHeader> {
        let number = self.devices[usize::from(id.device.0)].geometry.number;
        BlockHeader::parse(bytes)
            .filter(|header| header.device == number && header.block == id.block)
    }

    /// Whether a block whose fill is not known begins with something that may be a header of ours: what
    /// was on the device before it was taken into use is not told from a damaged one.
    fn is_untold(&self, id: BlockId, bytes: &[u8]) -> bool {
        let number = self.devices[usize::from(id.device.0)].geometry.number;
        let front = &bytes[..bytes.len().min(BLOCK_HEADER_BYTES)];
        match BlockHeader::parse(front) {
            Some(header) => header.device == number, // of another block
            None => !is_zero(front),
        }
    }

    fn begins_with_fill(&self, id: BlockId, bytes: &[u8], fill: u64) -> bool {
        let seal = Seal {
            fill,
            start: self.config.block_offset(id.block) + BLOCK_HEADER_BYTES as u64,
            ..self.block_seal(id)
        };
        let first = bytes.get(BLOCK_HEADER_BYTES..);
        first.is_some_and(|first| Form::check_header(first, &seal).is_ok())
    }

    /// Tells that so many fills were numbered in earlier runs, of which the devices may bear no trace. Ask
    /// for it before [`Log::finish_recovery`].
    pub fn raise_fills(&self, fills: u64) {
        if !is_planted(Mutation::UsesFillsAgain) {
            self.fills.fetch_max(fills, Ordering::AcqRel);
        }
    }

    /// Ends recovery: blocks with live records are full, the others free, the longest-written first.
    /// The index has claimed every place it points at.
    ///
    /// Fills go on so far above the highest found, or that the last session began with
    /// ([`Log::raise_fills`]), that none is ever used twice: of those that were numbered before the stop
    /// and never reached a device there is at most one per block. Were one used again, what was torn
    /// under it in its first life would be sound in its second.
    pub fn finish_recovery(&self) {
        let blocks: u64 = self
            .devices
            .iter()
            .map(|device| device.blocks.len() as u64)
            .sum();
        if !is_planted(Mutation::UsesFillsAgain) {
            self.fills.fetch_add(blocks + 1, Ordering::AcqRel);
        }
        self.finish_take_over();
    }

    /// As [`Log::finish_recovery`], when what an earlier process left in memory was taken over: all fills
    /// that it numbered are known.
    pub fn finish_take_over(&self) {
        self.since.store(self.fills() + 1, Ordering::Release);
        let mut space = self.space.lock();
        for (number, device) in self.devices.iter().enumerate() {
            let device_id = DeviceId(number as u8);
            let mut free: Vec<(u64, u32)> = Vec::new();
            for (block, state) in device.blocks.iter().enumerate() {
                let id = BlockId {
                    device: device_id,
                    block: block as u32,
                };
                if space.life(id) == Life::Broken {
                    continue; // what was left of it could not be written
                }
                if state.live_bytes.load(Ordering::Acquire) == 0 {
                    free.push((state.fill.load(Ordering::Acquire), id.block));
                } else {
                    space.set_life(id, Life::Full);
                }
            }
            free.sort_unstable();
            let free: VecDeque<u32> = free.into_iter().map(|(_, block)| block).collect();
            space.set_free(device_id, free);
            for block in 0..device.blocks.len() as u32 {
                self.settle(
                    &mut space,
                    BlockId {
                        device: device_id,
                        block,
                    },
                );
            }
        }
    }
}
