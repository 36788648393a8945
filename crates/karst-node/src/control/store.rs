//! The Raft log on disk: one redb file in `data_dir`, on a thread of its own.
//!
//! Everything that reads or writes the file is a job of that thread, in the order in which it was asked. So
//! writes never overtake each other, a read sees every write asked before it, and nobody else ever waits for
//! a disk.
//!
//! Invariants
//!   an answer comes after what was asked is durable; only the mark of what is committed may lag, as the log
//!   itself says it again
//!   the log has no hole: it is cut from its end, and purged from its start in one transaction with the mark
//!   of how far
//!
//! An error ends the group's work on this node (openraft stops), and with it the process.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::thread::JoinHandle;

use karst_cluster::node::ClusterId;
use karst_cluster::raft::{Entry, LogId, Snapshot, SnapshotMeta, TypeConfig, Vote};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

/// Entries by index, as JSON.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// Everything there is one of, as JSON by name.
const SINGLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("single");

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const CLUSTER: &str = "cluster";
const SNAPSHOT_META: &str = "snapshot_meta";
const SNAPSHOT: &str = "snapshot";

/// Jobs that wait for the thread. openraft asks for few at a time; more wait at their source.
const JOBS_MAX: usize = 64;

/// Memory that the file's pages may take.
const CACHE_BYTES: usize = 16 << 20;

type Work = Box<dyn FnOnce(&Database) + Send>;

enum Job {
    Do(Work),
    /// Close the file, whoever may still hold a clone.
    Close,
}

/// The file. Clones share it. See [the module](self).
#[derive(Clone)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the file, which is made if there is none, and starts its thread, which ends when it is told to
    /// close or the last clone is gone.
    ///
    /// # Errors
    /// When the file cannot be had, or the thread.
    pub(crate) fn open(path: &Path) -> io::Result<(Store, JoinHandle<()>)> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(io::Error::other)?;
        make_tables(&database).map_err(io::Error::other)?;
        let (jobs, mut asked) = mpsc::channel::<Job>(JOBS_MAX);
        let work = move || {
            while let Some(Job::Do(job)) = asked.blocking_recv() {
                job(&database);
            }
        };
        let thread = std::thread::Builder::new().name("raft-store".into());
        Ok((Store { jobs }, thread.spawn(work)?))
    }

    /// Closes the file after everything that was asked before. What is asked later fails.
    pub(crate) async fn close(&self) {
        let _ = self.jobs.send(Job::Close).await; // it has ended already otherwise
    }

    async fn give(&self, work: Work) -> io::Result<()> {
        let given = self.jobs.send(Job::Do(work)).await;
        given.map_err(|_| io::Error::other("the store's thread has ended"))
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = move |database: &Database| {
            let _ = answer.send(what(database)); // whoever asked may have gone
        };
        self.give(Box::new(job)).await?;
        let answered = answered.await.map_err(io::Error::other)?;
        answered.map_err(io::Error::other)
    }

    async fn get<T: DeserializeOwned>(&self, name: &'static str) -> io::Result<Option<T>> {
        let bytes = self
            .ask(move |database| read_single(database, name))
            .await?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    async fn put(&self, name: &'static str, value: &impl Serialize) -> io::Result<()> {
        let bytes = encode(value)?;
        let write = move |database: &Database| write_singles(database, &[(name, Some(bytes))]);
        self.ask(write).await
    }

    /// The cluster that this node gave its word to.
    pub(crate) async fn cluster(&self) -> io::Result<Option<ClusterId>> {
        self.get(CLUSTER).await
    }

    /// Gives its word to a cluster.
    pub(crate) async fn set_cluster(&self, cluster: ClusterId) -> io::Result<()> {
        self.put(CLUSTER, &cluster).await
    }

    /// The newest snapshot, if there is one.
    pub(crate) async fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        let read = |database: &Database| {
            let meta = read_single(database, SNAPSHOT_META)?;
            Ok(meta.zip(read_single(database, SNAPSHOT)?))
        };
        let Some((meta, snapshot)) = self.ask(read).await? else {
            return Ok(None);
        };
        let meta = decode(&meta)?;
        Ok(Some(Snapshot { meta, snapshot }))
    }

    /// Keeps a snapshot in place of the one before.
    pub(crate) async fn set_snapshot(&self, meta: &SnapshotMeta, data: Vec<u8>) -> io::Result<()> {
        let meta = encode(meta)?;
        let write = move |database: &Database| {
            let both = [(SNAPSHOT_META, Some(meta)), (SNAPSHOT, Some(data))];
            write_singles(database, &both)
        };
        self.ask(write).await
    }
}

fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(SINGLE)?;
    Ok(transaction.commit()?)
}

fn read_single(database: &Database, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let table = database.begin_read()?.open_table(SINGLE)?;
    Ok(table.get(name)?.map(|bytes| bytes.value().to_vec()))
}

fn write_singles(
    database: &Database,
    values: &[(&str, Option<Vec<u8>>)],
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(SINGLE)?;
        for (name, bytes) in values {
            match bytes {
                Some(bytes) => table.insert(name, bytes.as_slice())?,
                None => table.remove(name)?,
            };
        }
    }
    Ok(transaction.commit()?)
}

/// Notes something that may be lost with the power.
fn write_lazily(database: &Database, name: &str, bytes: &[u8]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::None)?;
    transaction.open_table(SINGLE)?.insert(name, bytes)?;
    Ok(transaction.commit()?)
}

fn append(database: &Database, rows: &[(u64, Vec<u8>)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(LOG)?;
        for (index, row) in rows {
            table.insert(index, row.as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

fn read_rows(
    database: &Database,
    range: (Bound<u64>, Bound<u64>),
) -> Result<Vec<Vec<u8>>, redb::Error> {
    let table = database.begin_read()?.open_table(LOG)?;
    let rows = table.range::<u64>(range)?;
    rows.map(|row| Ok(row?.1.value().to_vec())).collect()
}

fn last_row(database: &Database) -> Result<Option<Vec<u8>>, redb::Error> {
    let table = database.begin_read()?.open_table(LOG)?;
    Ok(table.last()?.map(|(_, row)| row.value().to_vec()))
}

/// Cuts the log from `first` on.
fn truncate(database: &Database, first: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction
        .open_table(LOG)?
        .retain_in::<u64, _>(first.., |_, _| false)?;
    Ok(transaction.commit()?)
}

/// Forgets the log up to and with `last`.
fn purge(database: &Database, last: u64, mark: &[u8]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SINGLE)?.insert(PURGED, mark)?;
    transaction
        .open_table(LOG)?
        .retain_in::<u64, _>(..=last, |_, _| false)?;
    Ok(transaction.commit()?)
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let rows = self.ask(move |database| read_rows(database, range)).await?;
        rows.iter().map(|row| decode(row)).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.get(VOTE).await
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let purged: Option<LogId> = self.get(PURGED).await?;
        let last = self.ask(last_row).await?;
        let last: Option<Entry> = last.map(|row| decode(&row)).transpose()?;
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last.map(|entry| entry.log_id).or(purged),
        })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.put(VOTE, vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let bytes = encode(&committed)?;
        let write = move |database: &Database| write_lazily(database, COMMITTED, &bytes);
        self.ask(write).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.get::<Option<LogId>>(COMMITTED).await?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let row = |entry: Entry| Ok((entry.log_id.index, encode(&entry)?));
        let rows: io::Result<Vec<_>> = entries.into_iter().map(row).collect();
        let rows = rows?;
        let job = move |database: &Database| {
            let appended = append(database, &rows);
            callback.io_completed(appended.map_err(io::Error::other));
        };
        self.give(Box::new(job)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first = last.map_or(0, |last| last.index + 1);
        self.ask(move |database| truncate(database, first)).await
    }

    async fn purge(&mut self, last: LogId) -> io::Result<()> {
        let mark = encode(&last)?;
        self.ask(move |database| purge(database, last.index, &mark))
            .await
    }
}
