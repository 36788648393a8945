//! Where a record lies, and which write made it.

use std::fmt;

/// Bytes in one rblock, the unit in which device space is handed out.
pub const RBLOCK_BYTES: u64 = 16;

/// Bits of a packed place that number the device.
pub const DEVICE_BITS: u32 = 7;
/// Bits of a packed place that hold the start: a device of up to 2 TiB.
pub const START_BITS: u32 = 37;
/// Bits of a packed place that hold the length: a record of just under 16 MiB.
pub const LENGTH_BITS: u32 = 20;

/// A device of a namespace, by its position in the configuration; below 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u8);

/// A count of 16-byte units of device space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rblocks(pub u64);

impl Rblocks {
    /// Rounds up: a record owns the whole of its last rblock.
    pub const fn holding(size_bytes: u64) -> Rblocks {
        Rblocks(size_bytes.div_ceil(RBLOCK_BYTES))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0 * RBLOCK_BYTES
    }
}

/// A stretch of a device that holds one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The device.
    pub device: DeviceId,
    /// Distance from the device's first byte.
    pub start: Rblocks,
    /// Space the record owns, its padding included.
    pub length: Rblocks,
}

impl Place {
    /// Packs into the 64 bits of an index entry: device 7 | start 37 | length 20.
    pub fn pack(self) -> u64 {
        assert!(u64::from(self.device.0) < 1 << DEVICE_BITS);
        assert!(self.start.0 < 1 << START_BITS);
        assert!(self.length.0 < 1 << LENGTH_BITS);
        let device = u64::from(self.device.0) << (START_BITS + LENGTH_BITS);
        device | self.start.0 << LENGTH_BITS | self.length.0
    }

    /// The reverse of [`Place::pack`]; every 64-bit number is some place.
    pub fn unpack(packed: u64) -> Place {
        Place {
            device: DeviceId((packed >> (START_BITS + LENGTH_BITS)) as u8),
            start: Rblocks((packed >> LENGTH_BITS) & ((1 << START_BITS) - 1)),
            length: Rblocks(packed & ((1 << LENGTH_BITS) - 1)),
        }
    }
}

const _: () = assert!(DEVICE_BITS + START_BITS + LENGTH_BITS == u64::BITS);

/// Which write of a partition made a record: the later regime wins, then the later sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The reign of one primary over the partition.
    pub regime: u32,
    /// The number of the write within the partition, 48 bits.
    pub sequence: u64,
}

impl Version {
    /// Largest sequence that fits its 48 bits.
    pub const SEQUENCE_MAX: u64 = (1 << 48) - 1;

    /// Packs into ten bytes, big-endian, so that byte order is version order.
    pub fn pack(self) -> [u8; 10] {
        assert!(self.sequence <= Version::SEQUENCE_MAX);
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&self.regime.to_be_bytes());
        bytes[4..].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        bytes
    }

    /// The reverse of [`Version::pack`].
    pub fn unpack(bytes: [u8; 10]) -> Version {
        let [r0, r1, r2, r3, s0, s1, s2, s3, s4, s5] = bytes;
        Version {
            regime: u32::from_be_bytes([r0, r1, r2, r3]),
            sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.regime, self.sequence)
    }
}
