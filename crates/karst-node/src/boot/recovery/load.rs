//! A checkpoint's part of a recovery: is it usable, which blocks does it vouch for, and its entries.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use karst_data::key::PartitionId;
use karst_engine::recover::Intake;
use karst_storage::checkpoint::{
    self as format, ChunkRef, FOOTER_BYTES, FRONT_BYTES_MAX, Fills, Footer, Front, Kind, SCAN,
    Table, Unusable,
};
use karst_storage::log::{BlockId, LogConfig};

use super::read::threads;
use crate::node::NamespaceState;

/// Why a checkpoint is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoUse {
    /// There is none.
    #[error("there is no checkpoint")]
    Missing,
    /// It cannot be read.
    #[error("the checkpoint cannot be read: {0}")]
    File(io::Error),
    /// It says something else than what is needed.
    #[error(transparent)]
    Content(#[from] Unusable),
    /// The index has no room for it: nor would there be room for a scan.
    #[error("{0}")]
    NoRoom(karst_engine::Reason),
}

/// A checkpoint whose front, end, fills and sets are sound. Its entries are not read yet.
#[derive(Debug)]
pub(super) struct Checkpoint {
    file: File,
    front: Front,
    table: Table,
    fills: Fills,
    /// Names from number 1 on.
    sets: Vec<Vec<u8>>,
}

/// Opens a namespace's checkpoint.
///
/// # Errors
/// Why there is none to be used.
pub(super) fn open(path: &Path, expected: &Front, log: &LogConfig) -> Result<Checkpoint, NoUse> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NoUse::Missing,
        _ => NoUse::File(error),
    })?;
    let file_bytes = file.metadata().map_err(NoUse::File)?.len();
    let read = |from: u64, to: u64| read(&file, from, to.saturating_sub(from) as usize);
    let (front, checksum) = Front::parse(&read(0, file_bytes.min(FRONT_BYTES_MAX as u64))?)?;
    front.check(expected)?;
    let end = file_bytes.saturating_sub(FOOTER_BYTES as u64);
    let footer = Footer::parse(&read(end, file_bytes)?, file_bytes, checksum)?;
    let table = Table::parse(&footer, &read(footer.table, end)?)?;
    let mut checkpoint = Checkpoint {
        fills: Fills::of_devices(front.devices.len()),
        sets: Vec::new(),
        file,
        front,
        table,
    };
    checkpoint.read_lists(end)?;
    checkpoint.fills.check(log)?;
    Ok(checkpoint)
}

fn read(file: &File, from: u64, bytes: usize) -> Result<Vec<u8>, NoUse> {
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, from).map_err(NoUse::File)?;
    Ok(buffer)
}

impl Checkpoint {
    /// Bytes of entries.
    pub(super) fn entry_bytes(&self) -> u64 {
        self.entries().map(|chunk| u64::from(chunk.bytes)).sum()
    }

    fn entries(&self) -> impl Iterator<Item = &ChunkRef> {
        let chunks = self.table.chunks.iter();
        chunks.filter(|chunk| chunk.kind == Kind::Entries)
    }

    fn payload<'b>(&self, at: &ChunkRef, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], NoUse> {
        buffer.resize(at.bytes as usize, 0);
        let read = self.file.read_exact_at(buffer, at.offset);
        read.map_err(NoUse::File)?;
        Ok(format::payload(at, buffer)?)
    }

    /// Reads the fills and the sets. Chunks lie before `end`, so none is larger than the file.
    fn read_lists(&mut self, end: u64) -> Result<(), NoUse> {
        let mut buffer = Vec::new();
        for at in std::mem::take(&mut self.table.chunks) {
            if at.offset.saturating_add(at.bytes.into()) > end {
                return Err(Unusable::Damaged("a chunk beyond its end").into());
            }
            match at.kind {
                Kind::Fills => {
                    let payload = self.payload(&at, &mut buffer)?;
                    self.fills.add(&at, payload)?;
                }
                Kind::Sets => self.sets = format::sets(&at, self.payload(&at, &mut buffer)?)?,
                Kind::Entries | Kind::Table => self.table.chunks.push(at),
            }
        }
        Ok(())
    }

    /// The blocks, of those that were ever filled, that have to be scanned beside it.
    ///
    /// # Errors
    /// When a device was put back to an earlier state.
    pub(super) fn changed(
        &self,
        namespace: &NamespaceState,
        filled: &[BlockId],
    ) -> Result<Vec<BlockId>, NoUse> {
        Ok(self.fills.changed(namespace.engine.log(), filled)?)
    }

    /// What a block was filled with then, if it ever was.
    pub(super) fn fill(&self, id: BlockId) -> Option<u64> {
        Some(self.fills.then(id) & !SCAN).filter(|fill| *fill != 0)
    }

    /// How many blocks the namespace had opened.
    pub(super) fn fill_count(&self) -> u64 {
        self.front.fills
    }

    /// Puts the entries of all blocks that have not changed into the index.
    ///
    /// # Errors
    /// When some of it is damaged. What is in the index by then is true.
    pub(super) fn load(&self, namespace: &NamespaceState) -> Result<(), NoUse> {
        for (id, sequence) in PartitionId::all().zip(&self.table.sequences) {
            namespace.engine.recover_sequence(id, *sequence);
        }
        let chunks: Vec<&ChunkRef> = self.entries().collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut loader = Loader::new(self, namespace);
            while let Some(at) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = loader.load(at) {
                    next.store(chunks.len(), Ordering::Relaxed); // the others may stop too
                    let _ = loader.intake.finish();
                    return Err(error);
                }
            }
            loader.intake.finish().map(drop).map_err(NoUse::NoRoom)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
            let ended = threads.into_iter().map(|thread| {
                let panicked = |_| Err(NoUse::File(io::Error::other("a thread panicked")));
                thread.join().unwrap_or_else(panicked)
            });
            ended.fold(Ok(()), Result::and)
        })
    }
}

/// One thread's part of loading.
struct Loader<'c> {
    checkpoint: &'c Checkpoint,
    namespace: &'c NamespaceState,
    intake: Intake<'c>,
    /// Numbers of sets here by their number in the file: sets without records need none.
    sets: Vec<Option<u16>>,
    buffer: Vec<u8>,
}

impl<'c> Loader<'c> {
    fn new(checkpoint: &'c Checkpoint, namespace: &'c NamespaceState) -> Loader<'c> {
        let mut sets = vec![None; checkpoint.sets.len() + 1];
        sets[0] = Some(0);
        Loader {
            checkpoint,
            namespace,
            intake: Intake::new(&namespace.engine).in_bulk(),
            sets,
            buffer: Vec::new(),
        }
    }

    fn load(&mut self, at: &ChunkRef) -> Result<(), NoUse> {
        let log = self.namespace.engine.log();
        let mut buffer = std::mem::take(&mut self.buffer);
        let payload = self.checkpoint.payload(at, &mut buffer)?;
        let mut entries = format::entries(at, payload, log.config())?;
        let fills = &self.checkpoint.fills;
        entries.retain(|entry| fills.vouch_for(log, entry));
        for entry in &mut entries {
            entry.set_id = self.set(entry.set_id)?;
        }
        let partition = PartitionId::all().nth(at.of.into());
        let partition = partition.ok_or(Unusable::Damaged("entries of no partition"))?;
        let taken = self.intake.take_partition(partition, &entries);
        taken.map_err(NoUse::NoRoom)?;
        let tally = &self.namespace.restart.tally.entries_loaded;
        tally.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.namespace.restart.advance(u64::from(at.bytes));
        self.buffer = buffer;
        Ok(())
    }

    fn set(&mut self, number: u16) -> Result<u16, NoUse> {
        let number = usize::from(number);
        let known = self.sets.get(number);
        if let Some(known) = known.ok_or(Unusable::Damaged("an entry of no set"))? {
            return Ok(*known);
        }
        let name = &self.checkpoint.sets[number - 1];
        let made = self.namespace.engine.sets().find_or_make(name);
        let made = made.map_err(|_| NoUse::NoRoom(karst_engine::Reason::SetLimit))?;
        self.sets[number] = Some(made);
        Ok(made)
    }
}
