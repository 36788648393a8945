//! Full blocks by how much of them is live: the emptiest is found at once, however many there are.
//!
//! Blocks stand in as many steps as a block has shares; a block moves when its live bytes cross a
//! step, a few dozen times in its life. Every operation takes the same short time at any number of
//! blocks. Within a step the order is arbitrary: its blocks differ by less than one share.

use super::space::BlockId;
use crate::place::DeviceId;

/// Steps; each is this part of a block.
pub(crate) const STEPS: usize = 64;

/// Where a block stands.
#[derive(Clone, Copy)]
struct Stand {
    step: u8,
    at: u32,
}

/// Of a block that is not ranked.
const NOWHERE: Stand = Stand {
    step: u8::MAX,
    at: 0,
};

/// See [the module](self).
pub(crate) struct Ranking {
    steps: [Vec<BlockId>; STEPS],
    stands: Vec<Box<[Stand]>>,
}

/// The step of a block with so many live bytes.
pub(crate) fn step_of(live_bytes: u32, block_bytes: u32) -> usize {
    let step = u64::from(live_bytes) * STEPS as u64 / u64::from(block_bytes);
    (step as usize).min(STEPS - 1)
}

impl Ranking {
    /// Nothing ranked of devices with so many blocks.
    pub(crate) fn new(blocks: &[u32]) -> Ranking {
        let stands = |count: &u32| vec![NOWHERE; *count as usize].into();
        Ranking {
            steps: std::array::from_fn(|_| Vec::new()),
            stands: blocks.iter().map(stands).collect(),
        }
    }

    fn stand(&mut self, id: BlockId) -> &mut Stand {
        &mut self.stands[usize::from(id.device.0)][id.block as usize]
    }

    /// Puts a block into a step, whether it stands in one or not.
    pub(crate) fn put(&mut self, id: BlockId, step: usize) {
        if usize::from(self.stand(id).step) == step {
            return;
        }
        self.remove(id);
        self.steps[step].push(id);
        let at = (self.steps[step].len() - 1) as u32;
        let step = step as u8;
        *self.stand(id) = Stand { step, at };
    }

    /// Takes a block out, if it stands anywhere.
    pub(crate) fn remove(&mut self, id: BlockId) {
        let stand = std::mem::replace(self.stand(id), NOWHERE);
        let Some(step) = self.steps.get_mut(usize::from(stand.step)) else {
            return;
        };
        assert_eq!(step.swap_remove(stand.at as usize), id);
        if let Some(moved) = step.get(stand.at as usize).copied() {
            self.stand(moved).at = stand.at;
        }
    }

    /// Takes every block of a device out.
    pub(crate) fn remove_device(&mut self, device: DeviceId) {
        for block in 0..self.stands[usize::from(device.0)].len() as u32 {
            self.remove(BlockId { device, block });
        }
    }

    /// A block of the lowest step that holds one, and that step.
    pub(crate) fn emptiest(&self) -> Option<(BlockId, usize)> {
        let mut steps = self.steps.iter().enumerate();
        steps.find_map(|(step, blocks)| Some((*blocks.last()?, step)))
    }

    /// Blocks in the steps below one.
    pub(crate) fn below(&self, step: usize) -> usize {
        self.steps[..step.min(STEPS)].iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emptiest_block_is_found_whatever_was_put_and_removed_before() {
        const BLOCKS: u32 = 200;
        let mut ranking = Ranking::new(&[BLOCKS, BLOCKS]);
        let mut model = std::collections::BTreeMap::new();
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (device, block) = (
                DeviceId((random >> 40) as u8 % 2),
                (random >> 41) as u32 % BLOCKS,
            );
            let id = BlockId { device, block };
            if (random >> 60) < 5 {
                ranking.remove(id);
                model.remove(&id);
            } else {
                let step = (random >> 50) as usize % STEPS;
                ranking.put(id, step);
                model.insert(id, step);
            }
            let lowest = model.values().min().copied();
            let found = ranking.emptiest();
            assert_eq!(found.map(|(_, step)| step), lowest);
            assert!(found.is_none_or(|(id, step)| model[&id] == step));
        }
        let below = model.values().filter(|step| **step < 20).count();
        assert_eq!(ranking.below(20), below);
        ranking.remove_device(DeviceId(0));
        model.retain(|id, _| id.device != DeviceId(0));
        assert_eq!(ranking.below(STEPS), model.len());
    }

    #[test]
    fn a_step_is_an_equal_part_of_a_block() {
        assert_eq!(step_of(0, 1 << 20), 0);
        assert_eq!(step_of((1 << 20) / 2, 1 << 20), STEPS / 2);
        assert_eq!(step_of((1 << 20) / 2 - 1, 1 << 20), STEPS / 2 - 1);
        assert_eq!(step_of(1 << 20, 1 << 20), STEPS - 1);
    }
}
