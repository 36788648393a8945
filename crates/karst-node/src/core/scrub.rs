//! The scrub as a data core carries it out: one block after the other, each read at the rate that the
//! configuration allows. Its position is kept in `data_dir`, so that a node that restarts often comes
//! around as well.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use karst_engine::damage::FoundBy;
use karst_engine::scrub::{Finding, Next, rest_us};
use karst_io::clock;
use karst_storage::log::BlockId;
use serde::{Deserialize, Serialize};

use super::{Core, defrag};

/// Name of a namespace's file in `data_dir`, its name in the midst.
const FILE_NAME: [&str; 2] = ["scrub-", ".json"];

/// How often the position is written down.
const SAVE_EVERY_US: u64 = 60_000_000;

/// Pause of a scrub that finds nothing to look at.
const IDLE_REST: Duration = Duration::from_secs(5);

/// Where a scrub was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    next: u64,
    passes: u64,
    pass_ended_unix_ms: u64,
}

/// Scrubs a namespace for as long as the node lives.
pub(super) async fn run(core: Rc<Core>, index: usize) {
    let namespace = core.namespace(index);
    let Some(rate) = namespace.config.storage.scrub_rate else {
        return;
    };
    let path = path(&core.node.config.node.data_dir, &namespace.config.name);
    let engine = &namespace.engine;
    let kept = load(&path);
    engine.resume_scrub(kept.next, kept.passes, kept.pass_ended_unix_ms);
    let mut saved_us = clock::monotonic_us();
    loop {
        match engine.next_scrub() {
            Next::Block(id) => look_at(&core, index, id, rate).await,
            Next::Searching => tokio::time::sleep(Duration::from_millis(10)).await,
            Next::PassEnded => {
                engine.end_scrub_pass(clock::wall_ms());
                save(&core, index, &path).await;
                tokio::time::sleep(IDLE_REST).await;
            }
        }
        if clock::monotonic_us() - saved_us > SAVE_EVERY_US {
            saved_us = clock::monotonic_us();
            save(&core, index, &path).await;
        }
    }
}

async fn look_at(core: &Rc<Core>, index: usize, id: BlockId, rate: u64) {
    let engine = &core.namespace(index).engine;
    let log = engine.log();
    let (_, size) = log.block_extent(id);
    let fill = log.block_seal(id).fill;
    let mut began_us = clock::monotonic_us();
    let part = (size as u64 / 8).max(1);
    let bytes = defrag::read_block(core, index, id, async || {
        let busy_us = clock::monotonic_us() - began_us;
        tokio::time::sleep(Duration::from_micros(rest_us(part, rate, busy_us))).await;
        began_us = clock::monotonic_us();
    })
    .await;
    if !log.is_full(id, fill) {
        return;
    }
    let Some(finding) = engine.check_block(id, &bytes) else {
        return;
    };
    act_on(core, index, id, finding, &bytes).await;
}

/// Damaged records are reported. A block whose header is damaged would not be found by the next
/// start, so its records move elsewhere at once; so do those that are whole in memory only.
async fn act_on(core: &Rc<Core>, index: usize, id: BlockId, finding: Finding, bytes: &[u8]) {
    if !finding.header_damaged && !finding.record_damaged {
        return;
    }
    let namespace = core.namespace(index);
    let log = namespace.engine.log();
    if finding.header_damaged {
        let device = namespace.devices[usize::from(id.device.0)].path().display();
        tracing::error!(
            namespace = namespace.config.name, device = %device, block = id.block,
            "the header of a block is damaged: what is live in it moves elsewhere"
        );
    }
    let in_memory = log.block_in_memory(id).is_some();
    if finding.record_damaged && !in_memory {
        defrag::suspect_rest(core, index, id, bytes, FoundBy::Scrub).await;
    }
    if (finding.header_damaged || in_memory)
        && let Some(job) = log.move_block(id)
        && !defrag::empty_block(core, index, job).await
    {
        log.postpone_move(job);
    }
}

fn path(data_dir: &Path, namespace: &str) -> PathBuf {
    let [before, after] = FILE_NAME;
    data_dir.join(format!("{before}{namespace}{after}"))
}

/// Where the scrub was; at the beginning if that is not known.
fn load(path: &Path) -> Kept {
    let kept = std::fs::read(path).ok();
    let kept: Option<Kept> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    kept.filter(|kept| kept.version == 1).unwrap_or_default()
}

async fn save(core: &Rc<Core>, index: usize, path: &Path) {
    let progress = core.namespace(index).engine.scrub_progress();
    let kept = Kept {
        version: 1,
        next: progress.next,
        passes: progress.passes,
        pass_ended_unix_ms: progress.pass_ended_unix_ms,
    };
    let path = path.to_path_buf();
    let written = tokio::task::spawn_blocking(move || {
        let bytes = serde_json::to_vec(&kept).map_err(std::io::Error::other)?;
        crate::data_dir::replace(&path, &bytes)
    });
    if let Ok(Err(error)) = written.await {
        tracing::warn!(%error, "the scrub's position cannot be kept: it begins anew after a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrub_goes_on_where_it_was_and_begins_anew_when_that_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "test");
        assert_eq!(load(&path), Kept::default());
        let kept = Kept {
            version: 1,
            next: 5,
            passes: 2,
            pass_ended_unix_ms: 7,
        };
        std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(load(&path), kept);
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(load(&path), Kept::default());
    }
}
