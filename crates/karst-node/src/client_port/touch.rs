//! Reads that renew a record's life.
//!
//! A read may say: if the record is within the last so many percent of its life, give it as much life
//! again as its last write gave it. The reader does not wait for that. Of several readers only one
//! renews: the touch is made only if the record is still the one that was read.

use std::rc::Rc;
use std::time::Duration;

use karst_data::key::Digest;
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_engine::Step;
use karst_engine::read::Found;
use karst_engine::write::{WriteRequest, Written};

use crate::core::Core;
use crate::fabric_port::copy::Copies;

/// How often a record that moves while it is touched is looked for; a touch that fails is dropped.
const TRIES_MAX: usize = 4;

/// How long a touch may take to arrive at other nodes.
const PATIENCE: Duration = Duration::from_secs(1);

/// A touch that a read asked for.
pub(super) struct Touch {
    namespace: usize,
    digest: Digest,
    set_id: u16,
    generation: u16,
    ttl_s: u32,
}

impl Touch {
    /// The touch that is due after a read of `found` that asked for it at `percent`, if any.
    pub(super) fn due(
        namespace: usize,
        digest: Digest,
        found: &Found<'_>,
        percent: u32,
        now: Now,
    ) -> Option<Touch> {
        if !(1..=100).contains(&percent) || found.void_time_s == 0 {
            return None;
        }
        let written_s = (found.update_time_ms / 1000) as u32; // 40 bits of ms
        let ttl_s = found.void_time_s.saturating_sub(written_s);
        let window_s = u64::from(ttl_s) * u64::from(percent) / 100;
        let begins_s = u64::from(found.void_time_s) - window_s;
        let due = ttl_s > 0 && u64::from(now.epoch_s()) >= begins_s;
        let (set_id, generation) = (found.set_id, found.generation);
        due.then_some(Touch {
            namespace,
            digest,
            set_id,
            generation,
            ttl_s,
        })
    }

    /// Carries the touch out in a task of its own.
    pub(super) fn start(self, core: &Rc<Core>) {
        tokio::task::spawn_local(self.run(core.clone()));
    }

    /// Sends a touch that was made where writes go.
    async fn made(&self, core: &Rc<Core>, image: Option<Vec<u8>>) {
        core.appended(self.namespace);
        let partition = self.digest.partition();
        let copies = image.and_then(|image| {
            let sight = core.node.sights.now();
            let share = sight.view.share(self.namespace, partition);
            Copies::send(core, self.namespace, partition, share, image, PATIENCE)
        });
        if let Some(copies) = copies {
            let _ = copies.arrive(core).await; // who missed it is compared with later
        }
    }

    async fn run(self, core: Rc<Core>) {
        let engine = &core.namespace(self.namespace).engine;
        let set = engine.sets().get(self.set_id);
        let request = WriteRequest {
            digest: self.digest,
            set: &set.name,
            key: None,
            exists: Exists::UpdateOnly,
            generation: GenerationRule::Equal(u32::from(self.generation)),
            ttl: Ttl::Seconds(self.ttl_s),
            flags: CommandFlags::default(),
            operations: &[Operation::Touch],
            filter: None,
        };
        let mut fetched = None;
        for _ in 0..TRIES_MAX {
            let partition = self.digest.partition();
            let step = {
                let sight = core.node.sights.now();
                let share = sight.view.share(self.namespace, partition);
                let hand = core.hand(self.namespace, share.regime, sight.has_others());
                let image = |written: Result<Written<'_>, _>| written.ok()?.image;
                engine.write(&hand, &request, fetched.as_ref(), image)
            };
            match step {
                Step::Done(image) => return self.made(&core, image).await,
                Step::Wait => return,
                Step::Read(read) => match core.fetch(self.namespace, read).await {
                    Ok(bytes) => fetched = Some(bytes),
                    Err(_) => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(percent: u32, now_s: u64) -> bool {
        let found = Found {
            generation: 3,
            void_time_s: 1100,
            update_time_ms: 1_000_000,
            set_id: 0,
            size_bytes: 0,
            record: None,
        };
        let now = Now::from_epoch_ms(now_s * 1000);
        Touch::due(0, Digest([0; 20]), &found, percent, now).is_some()
    }

    #[test]
    fn a_touch_is_due_in_the_last_percents_of_the_life_that_the_last_write_gave() {
        assert!(!due(20, 1079));
        assert!(due(20, 1080));
        assert!(due(100, 1000));
        assert!(!due(0, 1099));
        assert!(!due(u32::MAX, 1099));
    }
}
