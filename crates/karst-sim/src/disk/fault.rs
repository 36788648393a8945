//! Faults of media: what a device does to sectors that it had reported durable.
//!
//! A fault is injected at a byte of a block, changes something, and remembers what was there, so that it
//! can be taken back. Stale and lost data is not made up: the device remembers what each block held
//! before its present fill and which writes filled it.

use std::ops::Range;

use super::{Disk, scribble};
use crate::rng::Rng;

/// Bytes of the superblocks at a device's front.
const FRONT_BYTES: usize = 8192;

/// Bytes of a block's header.
const HEADER_BYTES: usize = 64;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One to eight bits of a sector flip.
    BitRot,
    /// A whole sector holds garbage.
    RottenSector,
    /// One to four sectors hold zeros.
    ZeroedSectors,
    /// Of one write some sectors were never written.
    TornWrite,
    /// One write was acknowledged and never written.
    LostWrite,
    /// One write went elsewhere: its own place keeps what was there before.
    MisdirectedWrite,
    /// A whole block is as it was before its present fill.
    StaleBlock,
    /// Two sectors have changed places.
    SwappedSectors,
    /// Bits of a block's header flip.
    BlockHeader,
    /// Bits of a superblock flip.
    Superblock,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 10] = [
        Kind::BitRot,
        Kind::RottenSector,
        Kind::ZeroedSectors,
        Kind::TornWrite,
        Kind::LostWrite,
        Kind::MisdirectedWrite,
        Kind::StaleBlock,
        Kind::SwappedSectors,
        Kind::BlockHeader,
        Kind::Superblock,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::BitRot => "flipped bits",
            Kind::RottenSector => "rotten sector",
            Kind::ZeroedSectors => "zeroed sectors",
            Kind::TornWrite => "torn write",
            Kind::LostWrite => "lost write",
            Kind::MisdirectedWrite => "misdirected write",
            Kind::StaleBlock => "stale block",
            Kind::SwappedSectors => "swapped sectors",
            Kind::BlockHeader => "block header",
            Kind::Superblock => "superblock",
        }
    }
}

/// A byte of a block, at which a fault is aimed.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// The device.
    pub device: usize,
    /// The block.
    pub block: usize,
    /// The byte within the block.
    pub byte: usize,
}

/// Bytes that a fault changed, and what they were.
#[derive(Debug)]
struct Patch {
    device: usize,
    range: Range<usize>,
    before: Vec<u8>,
}

/// A fault that was injected.
#[derive(Debug)]
pub struct Fault {
    /// What happened.
    pub kind: Kind,
    patches: Vec<Patch>,
}

impl Fault {
    /// Whether it changed any byte of a stretch of a device.
    pub fn hits(&self, disk: &Disk, device: usize, range: &Range<usize>) -> bool {
        let now = disk.read(device, range.clone());
        let mut before = now.to_vec();
        // From the last patch to the first: where two overlap, the first knows what was there.
        let here = |patch: &&Patch| patch.device == device;
        for patch in self.patches.iter().rev().filter(here) {
            let common = patch.range.start.max(range.start)..patch.range.end.min(range.end);
            if !common.is_empty() {
                let within = |from: usize| common.start - from..common.end - from;
                before[within(range.start)]
                    .copy_from_slice(&patch.before[within(patch.range.start)]);
            }
        }
        before != now
    }

    fn changes_anything(&self, disk: &Disk) -> bool {
        let patches = self.patches.iter();
        patches
            .into_iter()
            .any(|patch| self.hits(disk, patch.device, &patch.range))
    }

    /// The blocks that it touched.
    pub fn blocks(&self, disk: &Disk) -> Vec<(usize, usize)> {
        let mut blocks: Vec<(usize, usize)> = self
            .patches
            .iter()
            .filter(|patch| patch.range.start >= disk.block_bytes)
            .map(|patch| (patch.device, patch.range.start / disk.block_bytes - 1))
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }
}

impl Disk {
    /// Injects a fault near `aim`. `None` if there it would change nothing.
    pub fn injure(&mut self, kind: Kind, aim: Aim, rng: &mut Rng) -> Option<Fault> {
        let block = self.block_range(aim.block);
        let at = block.start + aim.byte;
        let sector = at / self.sector_bytes * self.sector_bytes;
        let sector = sector..sector + self.sector_bytes;
        let patches = match kind {
            Kind::BitRot => vec![self.patch(aim.device, sector, |bytes| flip(bytes, rng))],
            Kind::RottenSector => {
                vec![self.patch(aim.device, sector, |bytes| scribble(bytes, rng))]
            }
            Kind::ZeroedSectors => {
                let end = sector.start + self.sector_bytes * rng.between(1, 4) as usize;
                let range = sector.start..end.min(block.end);
                vec![self.patch(aim.device, range, |bytes| bytes.fill(0))]
            }
            Kind::TornWrite => self.tear(aim, rng)?,
            Kind::LostWrite => vec![self.revert(aim.device, aim.block, &self.write_at(aim)?)?],
            Kind::MisdirectedWrite => self.misdirect(aim, rng)?,
            Kind::StaleBlock => vec![self.revert(aim.device, aim.block, &(0..self.block_bytes))?],
            Kind::SwappedSectors => self.swap(aim.device, sector, rng),
            Kind::BlockHeader => {
                let header = block.start..block.start + HEADER_BYTES;
                vec![self.patch(aim.device, header, |bytes| flip(bytes, rng))]
            }
            Kind::Superblock => {
                let copy = FRONT_BYTES / 2 * rng.index(2);
                let copy = copy..copy + FRONT_BYTES / 2;
                vec![self.patch(aim.device, copy, |bytes| flip(bytes, rng))]
            }
        };
        let fault = Fault { kind, patches };
        if fault.changes_anything(self) {
            return Some(fault);
        }
        self.heal(fault);
        None
    }

    /// Takes a fault back.
    pub fn heal(&mut self, fault: Fault) {
        for patch in fault.patches.into_iter().rev() {
            self.bytes_mut(patch.device)[patch.range].copy_from_slice(&patch.before);
        }
    }

    fn patch(
        &mut self,
        device: usize,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]),
    ) -> Patch {
        let bytes = &mut self.bytes_mut(device)[range.clone()];
        let before = bytes.to_vec();
        change(bytes);
        Patch {
            device,
            range,
            before,
        }
    }

    /// The write of the block's present fill that wrote the byte.
    fn write_at(&self, aim: Aim) -> Option<Range<usize>> {
        let past = &self.devices[aim.device].past[aim.block];
        past.writes
            .iter()
            .find(|write| write.contains(&aim.byte))
            .cloned()
    }

    /// Gives a stretch of a block back the bytes it had before the present fill.
    fn revert(&mut self, device: usize, block: usize, within: &Range<usize>) -> Option<Patch> {
        let old = self.devices[device].past[block].image.as_ref()?;
        let old = old[within.clone()].to_vec();
        let begins = self.block_range(block).start;
        let range = begins + within.start..begins + within.end;
        Some(self.patch(device, range, |bytes| bytes.copy_from_slice(&old)))
    }

    fn tear(&mut self, aim: Aim, rng: &mut Rng) -> Option<Vec<Patch>> {
        let write = self.write_at(aim)?;
        let sectors = write.len() / self.sector_bytes;
        let first = rng.index(sectors);
        let torn = (0..sectors).filter(|sector| *sector >= first || rng.one_in(4));
        let mut patches = Vec::new();
        for sector in torn.collect::<Vec<_>>() {
            let begins = write.start + sector * self.sector_bytes;
            let sector = begins..begins + self.sector_bytes;
            patches.push(self.revert(aim.device, aim.block, &sector)?);
        }
        Some(patches)
    }

    fn misdirect(&mut self, aim: Aim, rng: &mut Rng) -> Option<Vec<Patch>> {
        let write = self.write_at(aim)?;
        let begins = self.block_range(aim.block).start + write.start;
        let bytes = self.read(aim.device, begins..begins + write.len()).to_vec();
        let own = self.revert(aim.device, aim.block, &write)?;
        // To another device, to another block at the same place in it, or to another sector.
        let (mut device, mut to) = (aim.device, begins);
        match rng.below(3) {
            0 => device = rng.index(self.devices.len()),
            1 => to = self.block_range(rng.index(self.blocks(aim.device))).start + write.start,
            _ => {
                let block = self.block_range(rng.index(self.blocks(aim.device)));
                let sectors = (self.block_bytes - write.len()) / self.sector_bytes;
                to = block.start + self.sector_bytes * rng.index(sectors + 1);
            }
        }
        let elsewhere = self.patch(device, to..to + bytes.len(), |there| {
            there.copy_from_slice(&bytes);
        });
        Some(vec![own, elsewhere])
    }

    fn swap(&mut self, device: usize, sector: Range<usize>, rng: &mut Rng) -> Vec<Patch> {
        let first = self.block_bytes / self.sector_bytes;
        let sectors = self.devices[device].image.len() / self.sector_bytes - first;
        let other = (first + rng.index(sectors)) * self.sector_bytes;
        let other = other..other + self.sector_bytes;
        let mine = self.read(device, sector.clone()).to_vec();
        let theirs = self.read(device, other.clone()).to_vec();
        vec![
            self.patch(device, sector, |bytes| bytes.copy_from_slice(&theirs)),
            self.patch(device, other, |bytes| bytes.copy_from_slice(&mine)),
        ]
    }
}

/// Flips one to eight bits.
fn flip(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.between(1, 8) {
        let bit = rng.index(8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}
