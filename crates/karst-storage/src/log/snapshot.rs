//! What a checkpoint needs of the log: what every block holds now, and when all of it is durable.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::load::Positions;
use super::space::Life;
use super::{BlockId, LaneId, Log};
use crate::checkpoint::SCAN;
use crate::place::DeviceId;

/// Where every lane stood at one time, on its way to each device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePositions(Box<[u64]>);

impl Log {
    /// The fills of some blocks of a device, [`SCAN`] added where a block is open or a write to it
    /// failed. What is appended after this call goes to blocks that are marked so or get another fill.
    pub fn fills_now(&self, device: DeviceId, blocks: Range<u32>) -> Vec<u64> {
        let space = self.space.lock();
        let fill = |block| {
            let id = BlockId { device, block };
            let fill = self.block(id).fill.load(Ordering::Acquire);
            match space.life(id) {
                // Its fill may change as soon as the space is unlocked, or be changing now.
                Life::Open | Life::Broken => fill | SCAN,
                Life::Free | Life::Full | Life::Damaged | Life::Moving | Life::Quarantined => fill,
            }
        };
        blocks.map(fill).collect()
    }

    /// Submits what every lane holds and says where they stand. The writes go out when the cores
    /// next look at their lanes.
    pub fn flush_all(&self) -> LanePositions {
        (0..self.lanes.len() as u16).for_each(|lane| self.flush(LaneId(lane), u64::MAX));
        LanePositions(self.positions.iter().map(Positions::appended).collect())
    }

    /// Whether everything up to there is on the devices and nothing of it was lost.
    pub fn are_safe(&self, to: &LanePositions) -> bool {
        let safe = self.positions.iter().map(Positions::safe);
        to.0.iter().zip(safe).all(|(to, safe)| safe >= *to)
    }

    /// Whether any device was taken out of use.
    pub fn any_device_failed(&self) -> bool {
        (0..self.devices.len()).any(|device| self.device_failed(DeviceId(device as u8)))
    }
}
