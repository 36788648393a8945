//! A server for tests: speaks the protocol over real sockets, keeps its records in memory, owns the
//! partitions it is told to, and misbehaves on demand.
//!
//! Requests of one connection are read as they come and answered in order, so a client that does not
//! pipeline is told from one that does by [`Fake::wait_for_requests`] while answers are held back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_client::{Digest, PartitionId, ResultCode};
use karst_wire::batch::Batch;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::frame::{BODY_BYTES_MAX, FrameHeader, FrameKind, HEADER_BYTES};
use karst_wire::info::{InfoReply, commands};
use karst_wire::op::OpCode;
use karst_wire::reply::{self, RecordReply, ReplyHead, ReplyStream};
use karst_wire::request::{Kind, Message};
use karst_wire::{field, particle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// What goes wrong with one data request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with this code and not run.
    Code(ResultCode),
    /// It is not run, and its connection is closed.
    Close,
    /// It is run, and its connection is closed before the answer.
    CloseAfter,
    /// It is run and never answered; the connection goes on.
    Silent,
    /// It is answered with bytes that are no frame.
    Garbage,
    /// It, a scan, is cut off after so many records.
    CutScan(usize),
    /// It, a scan, is told that this partition cannot be read.
    Unread(u16),
}

/// A bin's particle type and bytes, by its name.
type Bins = BTreeMap<Vec<u8>, (u8, Vec<u8>)>;

#[derive(Clone, Default)]
struct Stored {
    generation: u16,
    set: Vec<u8>,
    bins: Bins,
}

struct State {
    name: String,
    generation: AtomicI64,
    peers: Mutex<(u64, String)>,
    owned: Mutex<Vec<bool>>,
    /// Whether it is the second replica of every partition it does not own.
    backs_up: AtomicBool,
    records: Mutex<BTreeMap<Digest, Stored>>,
    faults: Mutex<VecDeque<Fault>>,
    requests: watch::Sender<usize>,
    held: watch::Sender<bool>,
    /// Nothing at all is answered.
    hung: watch::Sender<bool>,
    /// Counts changes of generations, for those who watch; `None` if it does not know how.
    changes: watch::Sender<Option<u64>>,
    rack: AtomicI64,
    connections: AtomicUsize,
    info_log: Mutex<Vec<String>>,
    /// Background jobs it was told of, and how often each was asked after.
    jobs: Mutex<BTreeMap<u64, u32>>,
}

/// A running fake. Stops when dropped, its connections too.
pub(crate) struct Fake {
    pub(crate) address: String,
    state: Arc<State>,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let tasks = self.tasks.lock().unwrap();
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Fake {
    /// How many background jobs it was told of and not told to stop.
    pub(crate) fn jobs(&self) -> usize {
        self.state.jobs.lock().unwrap().len()
    }

    /// Starts a node that owns the partitions for which `owns` says so.
    pub(crate) async fn start(name: &str, owns: impl Fn(u16) -> bool) -> Fake {
        Fake::start_at("127.0.0.1:0", name, owns).await
    }

    /// As [`Fake::start`], at this address.
    pub(crate) async fn start_at(address: &str, name: &str, owns: impl Fn(u16) -> bool) -> Fake {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            name: name.to_owned(),
            generation: AtomicI64::new(1),
            peers: Mutex::new((1, String::new())),
            owned: Mutex::new((0..4096).map(owns).collect()),
            backs_up: AtomicBool::new(false),
            records: Mutex::default(),
            faults: Mutex::default(),
            requests: watch::Sender::new(0),
            held: watch::Sender::new(false),
            hung: watch::Sender::new(false),
            changes: watch::Sender::new(None),
            rack: AtomicI64::new(-1),
            connections: AtomicUsize::new(0),
            info_log: Mutex::default(),
            jobs: Mutex::default(),
        });
        let tasks = Arc::new(Mutex::new(vec![]));
        let accept = accept_all(listener, Arc::clone(&state), Arc::clone(&tasks));
        let accepting = tokio::spawn(accept).abort_handle();
        tasks.lock().unwrap().push(accepting);
        Fake {
            address,
            state,
            tasks,
        }
    }

    /// Starts nodes that know each other, each owning every n-th partition.
    pub(crate) async fn cluster(names: &[&str]) -> Vec<Fake> {
        let mut fakes = vec![];
        for (rank, name) in names.iter().enumerate() {
            let count = names.len();
            fakes.push(Fake::start(name, |id| usize::from(id) % count == rank).await);
        }
        for fake in &fakes {
            fake.set_peers(fakes.iter().filter(|peer| peer.name() != fake.name()));
        }
        fakes
    }

    pub(crate) fn name(&self) -> &str {
        &self.state.name
    }

    pub(crate) fn set_peers<'a>(&self, peers: impl Iterator<Item = &'a Fake>) {
        let peers = peers.map(|peer| format!("[{},,[{}]]", peer.name(), peer.address));
        let list = peers.collect::<Vec<_>>().join(",");
        let mut known = self.state.peers.lock().unwrap();
        *known = (known.0 + 1, list);
        drop(known);
        self.tell();
    }

    /// Ends the watches, if it knows how.
    fn tell(&self) {
        let count = |count: &mut Option<u64>| *count = count.map(|count| count + 1);
        self.state.changes.send_modify(count);
    }

    /// From now on it knows `karst-map-watch`.
    pub(crate) fn learn_to_watch(&self) {
        self.state.changes.send_replace(Some(0));
    }

    /// Puts it on a rack.
    pub(crate) fn set_rack(&self, rack: i64) {
        self.state.rack.store(rack, Ordering::SeqCst);
    }

    /// Stops to answer anything, or goes on.
    pub(crate) fn hang(&self, hung: bool) {
        self.state.hung.send_replace(hung);
    }

    /// Changes what the node owns, and its generation.
    pub(crate) fn set_owned(&self, owns: impl Fn(u16) -> bool) {
        *self.state.owned.lock().unwrap() = (0..4096).map(owns).collect();
        self.state.generation.fetch_add(1, Ordering::SeqCst);
        self.tell();
    }

    /// Makes it the second replica of every partition it does not own.
    pub(crate) fn back_up(&self) {
        self.state.backs_up.store(true, Ordering::SeqCst);
        self.state.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Sets the partition generation; -1 for a node that is not ready.
    pub(crate) fn set_generation(&self, generation: i64) {
        self.state.generation.store(generation, Ordering::SeqCst);
        self.tell();
    }

    /// Lets the next data requests go wrong, in this order.
    pub(crate) fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.lock().unwrap().extend(faults);
    }

    /// Holds answers to data requests back, or lets them go.
    pub(crate) fn hold(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    /// Data requests received so far.
    pub(crate) fn requests(&self) -> usize {
        *self.state.requests.borrow()
    }

    /// Waits until so many data requests were received.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        let mut requests = self.state.requests.subscribe();
        requests.wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// Connections that have carried data requests.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Records held.
    pub(crate) fn record_count(&self) -> usize {
        self.state.records.lock().unwrap().len()
    }

    /// Info commands received so far.
    pub(crate) fn info_log(&self) -> Vec<String> {
        self.state.info_log.lock().unwrap().clone()
    }
}

async fn accept_all(listener: TcpListener, state: Arc<State>, tasks: Arc<Mutex<Vec<AbortHandle>>>) {
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).unwrap();
        let serving = tokio::spawn(serve(socket, Arc::clone(&state)));
        tasks.lock().unwrap().push(serving.abort_handle());
    }
}

/// An answer ready to be sent, in order with others.
struct Answer {
    bytes: Vec<u8>,
    /// Whether it waits while answers are held back.
    holdable: bool,
    close: bool,
}

async fn serve(socket: TcpStream, state: Arc<State>) {
    let (read_half, write_half) = socket.into_split();
    let (answers, queue) = mpsc::channel(1 << 16);
    let (held, hung) = (state.held.subscribe(), state.hung.subscribe());
    // Whichever half ends first takes the other with it, and with both the socket.
    tokio::select! {
        () = write_answers(write_half, queue, held, hung) => {}
        Some(()) = read_requests(read_half, &state, answers) => {}
    }
}

async fn write_answers(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Answer>,
    mut held: watch::Receiver<bool>,
    mut hung: watch::Receiver<bool>,
) {
    while let Some(answer) = queue.recv().await {
        hung.wait_for(|hung| !hung).await.unwrap();
        if answer.holdable {
            held.wait_for(|held| !held).await.unwrap();
        }
        let sent = socket.write_all(&answer.bytes).await;
        if answer.close || sent.is_err() {
            return;
        }
    }
}

/// `None` once the client has closed; the answers in the queue are still sent then.
async fn read_requests(
    mut socket: OwnedReadHalf,
    state: &State,
    answers: mpsc::Sender<Answer>,
) -> Option<()> {
    let mut carries_data = false;
    loop {
        let mut header = [0; HEADER_BYTES];
        socket.read_exact(&mut header).await.ok()?;
        let header = FrameHeader::parse(&header, BODY_BYTES_MAX).unwrap();
        let mut body = vec![0; header.body_bytes];
        socket.read_exact(&mut body).await.ok()?;
        let holdable = header.kind == FrameKind::Message;
        if holdable && !carries_data {
            carries_data = true;
            state.connections.fetch_add(1, Ordering::SeqCst);
        }
        let (bytes, close) = match holdable {
            true => state.data(&body),
            false => {
                state.watch(&body).await;
                (state.info(&body), false)
            }
        };
        let answer = Answer {
            bytes,
            holdable,
            close,
        };
        answers.send(answer).await.ok()?;
        if holdable {
            state.requests.send_modify(|count| *count += 1);
        }
    }
}

impl State {
    /// Waits for what a watch waits for.
    async fn watch(&self, body: &[u8]) {
        let Some(command) = commands(body).next() else {
            return;
        };
        if command.name() != Some("karst-map-watch") || self.changes.borrow().is_none() {
            return;
        }
        let mut changes = self.changes.subscribe();
        let timeout = command.params().require("timeout", 9).unwrap();
        let timeout = Duration::from_millis(timeout.parse().unwrap());
        let _ = tokio::time::timeout(timeout, async {
            while command.text().starts_with(self.watched().as_bytes()) {
                changes.changed().await.unwrap();
            }
        })
        .await;
    }

    /// The watch of somebody who knows everything.
    fn watched(&self) -> String {
        format!("karst-map-watch:{}", self.generations())
    }

    fn generations(&self) -> String {
        let partitions = self.generation.load(Ordering::SeqCst);
        let peers = self.peers.lock().unwrap().0;
        format!("partitions={partitions};peers={peers}")
    }

    fn info(&self, body: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        let mut answer = InfoReply::begin(&mut out);
        for command in commands(body) {
            let text = String::from_utf8(command.text().to_vec()).unwrap();
            let value = self.info_value(&text);
            self.info_log.lock().unwrap().push(text);
            answer.answer(&command, value.as_bytes());
        }
        answer.finish().unwrap();
        out
    }

    fn info_value(&self, command: &str) -> String {
        let (peers_generation, peers) = self.peers.lock().unwrap().clone();
        match command {
            "node" => self.name.clone(),
            "peers-generation" => peers_generation.to_string(),
            "peers-clear-std" => format!("{peers_generation},3000,[{peers}]"),
            "partition-generation" => self.generation.load(Ordering::SeqCst).to_string(),
            "replicas" => self.replicas(),
            "rebalance-generation" => "1".into(),
            "rack-ids" => match self.rack.load(Ordering::SeqCst) {
                -1 => "ERROR:25:enterprise only".into(),
                rack => format!("test:{rack}"),
            },
            watch if watch.starts_with("karst-map-watch:") && self.changes.borrow().is_some() => {
                self.generations()
            }
            text if text.starts_with("truncate") => "ok".into(),
            text if text.starts_with("query-") => self.job(text),
            _ => "ERROR:4:unrecognized command".into(),
        }
    }

    /// Jobs are half done when they are asked after first, and done then.
    fn job(&self, command: &str) -> String {
        let (verb, id) = command.split_once(":trid=").unwrap();
        let id: u64 = id.parse().unwrap();
        let mut jobs = self.jobs.lock().unwrap();
        let Some(looks) = jobs.get_mut(&id) else {
            return "ERROR:2:job not found".into();
        };
        *looks += 1;
        let looks = *looks;
        match (verb, looks) {
            ("query-abort", _) => {
                jobs.remove(&id);
                "ok".into()
            }
            (_, 1) => format!("trid={id}:ns=test:status=active(ok):job-progress=50.00"),
            _ => format!("trid={id}:ns=test:status=done(ok):job-progress=100.00"),
        }
    }

    fn replicas(&self) -> String {
        let mut bitmap = vec![0u8; 512];
        let owned = self.owned.lock().unwrap();
        for (id, _) in owned.iter().enumerate().filter(|(_, owned)| **owned) {
            bitmap[id / 8] |= 0x80 >> (id % 8);
        }
        let backed_up: Vec<u8> = match self.backs_up.load(Ordering::SeqCst) {
            true => bitmap.iter().map(|byte| !byte).collect(),
            false => vec![0; bitmap.len()],
        };
        let (first, second) = (BASE64.encode(bitmap), BASE64.encode(backed_up));
        format!("test:0,2,{first},{second}")
    }

    /// The answer to a data request, and whether the connection ends with it.
    fn data(&self, body: &[u8]) -> (Vec<u8>, bool) {
        let message = Message::parse(body).unwrap();
        let kind = message.kind().unwrap();
        let mut out = vec![];
        match self.faults.lock().unwrap().pop_front() {
            Some(Fault::Code(code)) => match kind {
                Kind::Batch => reply::last(&mut out, code),
                _ => reply::ack(&mut out, code, 0, 0),
            },
            Some(Fault::Close) => return (out, true),
            Some(Fault::CloseAfter) => {
                self.run(&mut out, &message, kind, None);
                return (vec![], true);
            }
            Some(Fault::Silent) => {
                self.run(&mut out, &message, kind, None);
                return (vec![], false);
            }
            Some(Fault::Garbage) => out.extend_from_slice(b"this is no frame"),
            Some(cut @ Fault::CutScan(_)) => {
                self.run(&mut out, &message, kind, Some(cut));
                return (out, true);
            }
            fault @ (Some(Fault::Unread(_)) | None) => self.run(&mut out, &message, kind, fault),
        }
        (out, false)
    }

    fn run(&self, out: &mut Vec<u8>, message: &Message<'_>, kind: Kind, fault: Option<Fault>) {
        match kind {
            Kind::Batch => self.batch(out, message),
            Kind::Query => self.scan(out, message, fault),
            Kind::BackgroundOps | Kind::BackgroundUdf => {
                let id = message.task_id().unwrap().unwrap();
                self.jobs.lock().unwrap().insert(id, 0);
                reply::last(out, ResultCode::Ok);
            }
            _ => {
                let (head, bins) = self.single(message);
                write_record(RecordReply::framed(out, &head), &bins);
            }
        }
    }

    fn batch(&self, out: &mut Vec<u8>, message: &Message<'_>) {
        let mut stream = ReplyStream::begin(out);
        let rows: Vec<_> = Batch::parse(message).unwrap().rows().collect();
        // Backwards, because servers promise no order.
        for row in rows.into_iter().rev() {
            let row = row.unwrap();
            let (mut head, bins) = self.single(&row.request.unwrap());
            head.batch_index = row.index;
            write_record(stream.record(out, &head), &bins);
        }
        stream.finish(out);
        reply::last(out, ResultCode::Ok);
    }

    fn single(&self, message: &Message<'_>) -> (ReplyHead, Bins) {
        let digest = message.digest().unwrap().unwrap();
        let owned = self.owned.lock().unwrap()[digest.partition().index()];
        if !owned && !self.backs_up.load(Ordering::SeqCst) {
            return (ReplyHead::of(ResultCode::Unavailable), Bins::new());
        }
        let mut records = self.records.lock().unwrap();
        if message.header.info2.contains(Info2::DELETE) {
            let existed = records.remove(&digest).is_some();
            let code = if existed {
                ResultCode::Ok
            } else {
                ResultCode::NotFound
            };
            return (ReplyHead::of(code), Bins::new());
        }
        if message.header.info2.contains(Info2::WRITE) {
            return write(records.entry(digest).or_default(), message);
        }
        match records.get(&digest) {
            None => (ReplyHead::of(ResultCode::NotFound), Bins::new()),
            Some(stored) => (
                ReplyHead::found(stored.generation, 0),
                chosen(stored, message),
            ),
        }
    }

    fn scan(&self, out: &mut Vec<u8>, message: &Message<'_>, fault: Option<Fault>) {
        assert!(message.header.info3.contains(Info3::PARTITION_DONE));
        let filter = message.partition_filter().unwrap();
        let mut starts: BTreeMap<u16, Option<Digest>> =
            filter.from_start().map(|id| (id.0, None)).collect();
        let by_index = message.index_range().unwrap().is_some();
        for resume in filter.resumed() {
            let value = by_index.then(|| index_value(&resume.digest));
            assert_eq!(resume.bval, value, "it resumes behind another value");
            starts.insert(resume.digest.partition().0, Some(resume.digest));
        }
        let mut stream = ReplyStream::begin(out);
        if let Some(Fault::Unread(id)) = fault
            && starts.remove(&id).is_some()
        {
            stream.partition_done(out, PartitionId(id), ResultCode::Unavailable);
        }
        let limit = message.sample_max().unwrap().unwrap_or(u64::MAX);
        let cut = match fault {
            Some(Fault::CutScan(records)) => records as u64,
            _ => u64::MAX,
        };
        let set = message.set().unwrap();
        let records = self.records.lock().unwrap();
        let wanted = records.iter().filter(|(digest, stored)| {
            let start = starts.get(&digest.partition().0);
            let behind = start.is_some_and(|after| after.is_none_or(|after| **digest > after));
            behind && set.is_none_or(|set| set == stored.set)
        });
        for (digest, stored) in wanted.take(limit.min(cut) as usize) {
            let mut record = stream.record(out, &ReplyHead::found(stored.generation, 0));
            record.field(field::NAMESPACE, b"test");
            record.field(field::DIGEST, &digest.0);
            record.field(field::SET, &stored.set);
            if by_index {
                record.field(field::BVAL_ARRAY, &index_value(digest).to_le_bytes());
            }
            write_record(record, &chosen(stored, message));
        }
        stream.finish(out);
        if cut == u64::MAX {
            reply::last(out, ResultCode::Ok);
        }
    }
}

fn write(stored: &mut Stored, message: &Message<'_>) -> (ReplyHead, Bins) {
    let mut results = Bins::new();
    for op in message.ops {
        match op.code {
            OpCode::Write => {
                let value = (op.particle, op.value.to_vec());
                stored.bins.insert(op.name.to_vec(), value);
            }
            OpCode::Read => {
                let value = stored.bins.get(op.name);
                results.extend(value.map(|value| (op.name.to_vec(), value.clone())));
            }
            OpCode::Increment => {
                let before = stored.bins.get(op.name).map_or(0, |(_, bytes)| int(bytes));
                let sum = before + int(op.value);
                let value = (particle::INTEGER, sum.to_be_bytes().to_vec());
                stored.bins.insert(op.name.to_vec(), value);
            }
            _ => {}
        }
    }
    stored.set = message.set().unwrap().unwrap_or_default().to_vec();
    stored.generation += 1;
    (ReplyHead::found(stored.generation, 0), results)
}

/// The value a record is found under by any index.
fn index_value(digest: &Digest) -> u64 {
    u64::from_be_bytes(*digest.0.last_chunk().unwrap())
}

fn int(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes.try_into().unwrap())
}

/// The bins of a record that a read asks for.
fn chosen(stored: &Stored, message: &Message<'_>) -> Bins {
    let info1 = message.header.info1;
    if info1.contains(Info1::GET_NO_BINS) {
        return Bins::new();
    }
    let named: Vec<&[u8]> = message.ops.iter().map(|op| op.name).collect();
    let all = info1.contains(Info1::GET_ALL) || named.is_empty();
    let bins = stored
        .bins
        .iter()
        .filter(|(name, _)| all || named.contains(&name.as_slice()));
    bins.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn write_record(mut record: RecordReply<'_>, bins: &Bins) {
    for (name, (particle, bytes)) in bins {
        record.op(OpCode::Read, *particle, name, bytes);
    }
    record.finish().unwrap();
}
