//! Made-up devices: slow, failing, and cut off in the middle of what they were writing.
//!
//! A write that is out may reach the device in any order, sector by sector, early or late. When it
//! completes, all of it is there and stays: from then on a sector changes by a later write or by a fault
//! that somebody injects ([`fault`]). When power goes, each write that is out is kept whole, in some of
//! its sectors, or not at all; where [`Tears::shorn`] is set, the sectors that were being written may
//! also hold garbage, as those of real devices may.
//!
//! The device watches over one promise itself: within one fill of a block no sector is written twice.

pub mod fault;

use std::ops::Range;

use karst_storage::log::DeviceWrite;
use karst_storage::log::format::Superblock;

use crate::check::Violation;
use crate::rng::Rng;

/// What becomes of one write when power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// All of it is there.
    Whole,
    /// None of it is.
    Dropped,
    /// The sectors of its first half are.
    FirstHalf,
    /// Those of its second half.
    LastHalf,
    /// Every other one.
    EveryOther,
    /// All but the first, which holds the block's header or the oldest record.
    AllButFirst,
    /// Any set of them.
    Any,
}

impl Tear {
    /// All there are.
    pub const ALL: [Tear; 7] = [
        Tear::Whole,
        Tear::Dropped,
        Tear::FirstHalf,
        Tear::LastHalf,
        Tear::EveryOther,
        Tear::AllButFirst,
        Tear::Any,
    ];

    fn keeps(self, sector: usize, sectors: usize, rng: &mut Rng) -> bool {
        match self {
            Tear::Whole => true,
            Tear::Dropped => false,
            Tear::FirstHalf => sector < sectors.div_ceil(2),
            Tear::LastHalf => sector >= sectors / 2,
            Tear::EveryOther => sector.is_multiple_of(2),
            Tear::AllButFirst => sector > 0,
            Tear::Any => rng.one_in(2),
        }
    }
}

/// What a power cut does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tears {
    /// Sectors that were being written may hold garbage.
    pub shorn: bool,
    /// What becomes of one write in particular, by its number.
    pub of: Option<(u64, Tear)>,
}

/// A write that is out.
#[derive(Debug)]
pub struct Flying {
    /// What the log asked for.
    pub write: DeviceWrite,
    /// Which write of the run it is.
    pub number: u64,
}

/// What the device remembers of a block, so that it can go wrong in believable ways.
#[derive(Clone, Default)]
struct Past {
    /// The block before its present fill.
    image: Option<Box<[u8]>>,
    /// Writes of the present fill, by their range within the block.
    writes: Vec<Range<usize>>,
    /// Some write of the present fill failed or was cut.
    is_torn: bool,
}

struct Device {
    image: Vec<u8>,
    flying: Vec<Flying>,
    past: Vec<Past>,
}

/// What devices did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Writes handed to devices.
    pub writes: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Writes of which a cut left some part.
    pub torn: u64,
    /// Writes of which a cut left nothing.
    pub dropped: u64,
    /// Sectors that a cut left with garbage.
    pub shorn: u64,
}

/// See [the module](self).
pub struct Disk {
    block_bytes: usize,
    sector_bytes: usize,
    devices: Vec<Device>,
    /// Whether the past of blocks is kept, for faults.
    remembers: bool,
    /// What was done so far.
    pub tally: Tally,
}

impl Disk {
    /// Blank devices of this size each.
    pub fn new(
        devices: usize,
        device_bytes: usize,
        block_bytes: usize,
        sector_bytes: usize,
    ) -> Disk {
        let blocks = device_bytes / block_bytes - 1;
        let device = || Device {
            image: vec![0; device_bytes],
            flying: Vec::new(),
            past: vec![Past::default(); blocks],
        };
        Disk {
            block_bytes,
            sector_bytes,
            devices: (0..devices).map(|_| device()).collect(),
            remembers: false,
            tally: Tally::default(),
        }
    }

    /// Keeps from now on what blocks held before, so that stale and lost writes can be made up.
    pub fn remember(&mut self) {
        self.remembers = true;
    }

    /// Takes a write and returns its number.
    ///
    /// # Errors
    /// When no log of ours may ask for it.
    pub fn submit(&mut self, write: DeviceWrite) -> Result<u64, Violation> {
        self.check(&write)?;
        let block = write.block.block as usize;
        let device = &mut self.devices[usize::from(write.block.device.0)];
        let past = &mut device.past[block];
        let begins = (block + 1) * self.block_bytes;
        if write.range.start == 0 {
            past.writes.clear();
            past.is_torn = false;
            let bytes = &device.image[begins..begins + self.block_bytes];
            past.image = self.remembers.then(|| bytes.into());
        }
        past.writes.push(write.range.clone());
        self.tally.writes += 1;
        self.tally.bytes += write.range.len() as u64;
        let number = self.tally.writes;
        device.flying.push(Flying { write, number });
        Ok(number)
    }

    fn check(&self, write: &DeviceWrite) -> Result<(), Violation> {
        let broken = |what: &str| {
            Err(Violation::new(
                "device writes",
                format!("{what}: {write:?}"),
            ))
        };
        let whole = |bytes: usize| bytes.is_multiple_of(self.sector_bytes);
        if write.range.is_empty() || !whole(write.range.start) || !whole(write.range.end) {
            return broken("a write is not of whole sectors");
        }
        let device = &self.devices[usize::from(write.block.device.0)];
        let begins = (write.block.block as usize + 1) * self.block_bytes;
        if write.offset as usize != begins + write.range.start || write.range.end > self.block_bytes
        {
            return broken("a write lies outside its block");
        }
        let past = &device.past[write.block.block as usize];
        let written = past.writes.iter().map(|range| range.end).max();
        if write.range.start != 0 && written.is_none_or(|end| write.range.start < end) {
            return broken("a sector is written twice in one fill");
        }
        Ok(())
    }

    /// Devices that have writes out.
    pub fn busy(&self) -> Vec<usize> {
        let devices = 0..self.devices.len();
        devices
            .filter(|device| !self.devices[*device].flying.is_empty())
            .collect()
    }

    /// Completes one of the writes that are out on a device, whichever chance says.
    pub fn complete(&mut self, device: usize, rng: &mut Rng) -> Flying {
        let device = &mut self.devices[device];
        let flying = device.flying.swap_remove(rng.index(device.flying.len()));
        land(
            &mut device.image,
            &flying.write,
            |_| true,
            self.sector_bytes,
        );
        flying
    }

    /// Lets one of the writes that are out on a device fail: some of its sectors may be there.
    pub fn fail(&mut self, device: usize, rng: &mut Rng) -> Flying {
        let device = &mut self.devices[device];
        let flying = device.flying.swap_remove(rng.index(device.flying.len()));
        land(
            &mut device.image,
            &flying.write,
            |_| rng.one_in(2),
            self.sector_bytes,
        );
        device.past[flying.write.block.block as usize].is_torn = true;
        self.tally.failed += 1;
        flying
    }

    /// Lets some sectors of a write that is out reach their device early.
    pub fn land_some(&mut self, device: usize, rng: &mut Rng) {
        let device = &mut self.devices[device];
        let at = rng.index(device.flying.len());
        let write = &device.flying[at].write;
        land(
            &mut device.image,
            write,
            |_| rng.one_in(3),
            self.sector_bytes,
        );
    }

    /// The process is killed: what it had asked for is done all the same.
    pub fn outlive_kill(&mut self) {
        for device in &mut self.devices {
            for flying in std::mem::take(&mut device.flying) {
                land(
                    &mut device.image,
                    &flying.write,
                    |_| true,
                    self.sector_bytes,
                );
            }
        }
    }

    /// Power goes.
    pub fn cut(&mut self, tears: &Tears, rng: &mut Rng) {
        for device in &mut self.devices {
            let mut flying = std::mem::take(&mut device.flying);
            while !flying.is_empty() {
                let flying = flying.swap_remove(rng.index(flying.len()));
                let tear = match tears.of {
                    Some((number, tear)) if number == flying.number => tear,
                    Some(_) | None => *rng.pick(&Tear::ALL),
                };
                device.past[flying.write.block.block as usize].is_torn = true;
                let sectors = flying.write.range.len() / self.sector_bytes;
                let mut kept = 0;
                let keeps = |sector: usize| {
                    let keeps = tear.keeps(sector, sectors, rng);
                    kept += usize::from(keeps);
                    keeps
                };
                land(&mut device.image, &flying.write, keeps, self.sector_bytes);
                self.tally.torn += u64::from(kept > 0 && kept < sectors);
                self.tally.dropped += u64::from(kept == 0);
                if tears.shorn && tear != Tear::Whole && rng.one_in(3) {
                    self.tally.shorn += 1;
                    let sector =
                        flying.write.offset as usize + rng.index(sectors) * self.sector_bytes;
                    scribble(&mut device.image[sector..sector + self.sector_bytes], rng);
                }
            }
        }
    }

    /// Writes a superblock, durably: those of its sectors that `keeps` names.
    pub fn write_superblock(
        &mut self,
        device: usize,
        superblock: &Superblock,
        mut keeps: impl FnMut(usize) -> bool,
    ) {
        let (bytes, begins) = (superblock.encode(), superblock.copy_offset() as usize);
        for (number, sector) in bytes.chunks(self.sector_bytes).enumerate() {
            if keeps(number) {
                let at = begins + number * self.sector_bytes;
                self.devices[device].image[at..at + sector.len()].copy_from_slice(sector);
            }
        }
    }

    /// Bytes of a device.
    pub fn read(&self, device: usize, range: Range<usize>) -> &[u8] {
        &self.devices[device].image[range]
    }

    /// Bytes of a device, for who formats it or breaks it.
    pub fn bytes_mut(&mut self, device: usize) -> &mut [u8] {
        &mut self.devices[device].image
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Whether some write of a block's last fill failed or was cut, so that it may be damaged.
    pub fn is_torn(&self, device: usize, block: usize) -> bool {
        self.devices[device].past[block].is_torn
    }

    /// Blocks of a device.
    pub fn blocks(&self, device: usize) -> usize {
        self.devices[device].past.len()
    }

    /// Where a block lies on its device.
    pub fn block_range(&self, block: usize) -> Range<usize> {
        let begins = (block + 1) * self.block_bytes;
        begins..begins + self.block_bytes
    }
}

/// Puts those sectors of a write down that `keeps` names.
fn land(
    image: &mut [u8],
    write: &DeviceWrite,
    mut keeps: impl FnMut(usize) -> bool,
    sector_bytes: usize,
) {
    let source = write.source.bytes(write.range.clone());
    let source = source.expect("what a log asks to write is in its buffer");
    let begins = write.offset as usize;
    for (number, sector) in source.chunks(sector_bytes).enumerate() {
        if keeps(number) {
            let at = begins + number * sector_bytes;
            image[at..at + sector.len()].copy_from_slice(sector);
        }
    }
}

/// Fills with garbage.
fn scribble(bytes: &mut [u8], rng: &mut Rng) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_le_bytes()[..chunk.len()]);
    }
}
