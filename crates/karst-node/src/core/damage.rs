//! Looks at what was reported damaged: reads each place once more, tells the kinds apart, says so.

use std::rc::Rc;
use std::time::Duration;

use karst_engine::damage::{Damaged, Verdict};

use super::Core;

/// How often reports are looked for.
const PAUSE: Duration = Duration::from_millis(500);

/// Reports that are looked at each time.
const AT_A_TIME: usize = 64;

/// Bytes of a block's front that show its header.
const FRONT_BYTES: usize = 4096;

/// Examines what is reported for as long as the node lives.
pub(super) async fn watch(core: Rc<Core>, index: usize) {
    loop {
        tokio::time::sleep(PAUSE).await;
        for suspect in core.namespace(index).engine.suspects(AT_A_TIME) {
            examine(&core, index, suspect).await;
        }
    }
}

async fn examine(core: &Rc<Core>, index: usize, suspect: Damaged) {
    let namespace = core.namespace(index);
    let engine = &namespace.engine;
    let Some(read) = engine.examination(&suspect) else {
        return;
    };
    let block = engine.log().block_of(suspect.place);
    let (block_offset, _) = engine.log().block_extent(block);
    let bytes = core
        .read(index, read.device.0, read.offset, read.bytes)
        .await
        .ok();
    let front = core
        .read(index, read.device.0, block_offset, FRONT_BYTES)
        .await
        .ok();
    let slice = |buffer: &Option<karst_io::buffer::AlignedBuffer>| {
        buffer.as_ref().map(|buffer| buffer.as_slice().to_vec())
    };
    let (record, header) = (slice(&bytes), slice(&front));
    let verdict = engine.examine(&suspect, &read, record.as_deref(), header.as_deref());
    bytes
        .into_iter()
        .chain(front)
        .for_each(|buffer| core.disk.give_back(buffer));
    let device = namespace.devices[usize::from(read.device.0)]
        .path()
        .display();
    let offset = suspect.place.start.bytes();
    match verdict {
        Verdict::Damaged(kind) => tracing::error!(
            namespace = namespace.config.name, device = %device, block = block.block, offset,
            digest = hex(&suspect.digest.0), version = %suspect.version, kind = kind.label(),
            found_by = suspect.found_by.label(),
            "a live record is damaged: reads of it fail until it is written, deleted or repaired"
        ),
        Verdict::Sound => tracing::warn!(
            namespace = namespace.config.name, device = %device, block = block.block, offset,
            digest = hex(&suspect.digest.0),
            "a record could not be read and then could: the device is failing, or memory is"
        ),
        Verdict::Gone => {}
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
