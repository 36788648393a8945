//! The official Rust client: every command once, in a namespace on a device and in one in memory.
//!
//! It shares no code with the C client beneath the Python tests, so what both agree on is the protocol
//! and not one library's habit. Where it can ask what the other cannot, it does: strings with a NUL
//! inside, a digest that is not the key's, positional answers, resuming after a digest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aerospike::operations::{add, append, delete, get, get_bin, prepend, put, touch};
use aerospike::query::PartitionFilter;
use aerospike::{
    AdminPolicy, BatchDeletePolicy, BatchOperation, BatchPolicy, BatchReadPolicy, BatchUdfPolicy,
    BatchWritePolicy, Bin, Bins, Client, ClientPolicy, Error, Expiration, GenerationPolicy, Key,
    QueryPolicy, ReadPolicy, Record, RecordExistsAction, ResultCode, Statement, Value, WritePolicy,
};
use futures_util::StreamExt as _;
use karst_tests::{Namespace, Server, ServerSpec};

const NAMESPACES: [&str; 2] = ["disk", "mem"];

/// A server and a client connected to it.
struct World {
    server: Server,
    client: Client,
}

impl World {
    async fn new() -> World {
        let server = ServerSpec::new()
            .cores(2)
            .namespace(Namespace::device("disk"))
            .namespace(Namespace::memory("mem"))
            .start();
        let client = Client::new(&ClientPolicy::default(), &server.service().to_string()).await;
        World {
            server,
            client: client.expect("the client connects"),
        }
    }

    async fn put(&self, key: &Key, bins: &[Bin]) {
        self.client
            .put(&WritePolicy::default(), key, bins)
            .await
            .expect("a put succeeds");
    }

    async fn get(&self, key: &Key) -> Record {
        self.client
            .get(&ReadPolicy::default(), key, Bins::All)
            .await
            .expect("the record is there")
    }

    async fn exists(&self, key: &Key) -> bool {
        self.client
            .exists(&ReadPolicy::default(), key)
            .await
            .expect("exists is answered")
    }

    async fn end(mut self) {
        self.client.close().await.expect("the client closes");
        self.server.stop();
    }
}

fn key(ns: &str, user_key: impl Into<Value>) -> Key {
    Key::new(ns, "compat", user_key.into()).expect("a type that keys may have")
}

fn bin(name: &str, value: impl Into<Value>) -> Bin {
    Bin::new(name, value.into())
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn code<T>(result: Result<T, Error>) -> Option<ResultCode> {
    result.err().and_then(|error| error.server_result_code())
}

fn bins_of(record: &Record) -> BTreeMap<&str, &Value> {
    record
        .bins
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

#[tokio::test]
async fn every_command_on_one_record_does_what_it_says() {
    let world = World::new().await;
    let (client, policy) = (&world.client, WritePolicy::default());
    for ns in NAMESPACES {
        let key = key(ns, "one");
        assert!(!world.exists(&key).await);
        world.put(&key, &[bin("n", 1), bin("s", "m")]).await;
        client.add(&policy, &key, &[bin("n", 41)]).await.unwrap();
        client
            .append(&policy, &key, &[bin("s", "z")])
            .await
            .unwrap();
        client
            .prepend(&policy, &key, &[bin("s", "a")])
            .await
            .unwrap();
        client.touch(&policy, &key).await.unwrap();
        let found = world.get(&key).await;
        assert_eq!(
            bins_of(&found),
            BTreeMap::from([("n", &Value::Int(42)), ("s", &text("amz"))])
        );
        assert_eq!((found.generation, found.time_to_live()), (5, None));
        let selected = client
            .get(&ReadPolicy::default(), &key, ["s", "nope"])
            .await
            .unwrap();
        assert_eq!(bins_of(&selected), BTreeMap::from([("s", &text("amz"))]));
        let header = client
            .get(&ReadPolicy::default(), &key, Bins::None)
            .await
            .unwrap();
        assert_eq!((header.bins.len(), header.generation), (0, 5));
        world.put(&key, &[bin("s", Value::Nil)]).await;
        assert_eq!(world.get(&key).await.bins.len(), 1);
        assert!(client.delete(&policy, &key).await.unwrap());
        assert!(!client.delete(&policy, &key).await.unwrap());
        assert!(!world.exists(&key).await);
        let gone = client.get(&ReadPolicy::default(), &key, Bins::All).await;
        assert_eq!(code(gone), Some(ResultCode::KeyNotFoundError));
    }
    world.end().await;
}

#[tokio::test]
async fn values_of_every_type_come_back_as_they_were_written() {
    let world = World::new().await;
    let nested = Value::List(vec![
        Value::Int(-1),
        text("a\0b"),
        Value::Blob(vec![0, 255]),
        Value::Float(1.5.into()),
        Value::Bool(true),
        Value::Nil,
        Value::List(vec![]),
        Value::HashMap(HashMap::from([(
            text("k"),
            Value::List(vec![Value::Int(1)]),
        )])),
    ]);
    let sorted = BTreeMap::from([
        (Value::Int(7), Value::Nil),
        (text("a"), Value::Int(i64::MAX)),
    ]);
    let point = r#"{"type":"Point","coordinates":[-122.0,37.5]}"#;
    let sketch = [&[0, 4, 0][..], &[0; 8], &[7; 12]].concat();
    let values = [
        Value::Int(0),
        Value::Int(i64::MIN),
        Value::Int(i64::MAX),
        Value::Float((-0.0).into()),
        Value::Float(f64::INFINITY.into()),
        Value::Bool(false),
        text(""),
        text("a\0b"),
        text("日本語 👍"),
        Value::Blob(vec![]),
        Value::Blob((0..=255).collect()),
        nested,
        Value::SortedMap(sorted),
        Value::HashMap(HashMap::from([(Value::Blob(vec![1]), text("b"))])),
        Value::GeoJson(point.into()),
        Value::Hll(sketch),
    ];
    for ns in NAMESPACES {
        let key = key(ns, "values");
        for value in &values {
            world.put(&key, &[bin("v", value.clone())]).await;
            assert_eq!(world.get(&key).await.bins.get("v"), Some(value), "in {ns}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn writes_honour_existence_generation_and_life_time() {
    let world = World::new().await;
    let client = &world.client;
    for ns in NAMESPACES {
        let key = key(ns, "policy");
        let put = async |policy: WritePolicy, value: i64| {
            code(client.put(&policy, &key, &[bin("v", value)]).await)
        };
        let exists = |action| WritePolicy {
            record_exists_action: action,
            ..WritePolicy::default()
        };
        let not_found = Some(ResultCode::KeyNotFoundError);
        assert_eq!(
            put(exists(RecordExistsAction::UpdateOnly), 1).await,
            not_found
        );
        assert_eq!(
            put(exists(RecordExistsAction::ReplaceOnly), 1).await,
            not_found
        );
        assert_eq!(put(exists(RecordExistsAction::CreateOnly), 1).await, None);
        let refused = put(exists(RecordExistsAction::CreateOnly), 2).await;
        assert_eq!(refused, Some(ResultCode::KeyExistsError));
        world.put(&key, &[bin("other", 1)]).await;
        assert_eq!(put(exists(RecordExistsAction::UpdateOnly), 3).await, None);
        assert_eq!(world.get(&key).await.bins.len(), 2);
        assert_eq!(put(exists(RecordExistsAction::Replace), 4).await, None);
        assert_eq!(world.get(&key).await.bins.len(), 1);
        assert_eq!(put(exists(RecordExistsAction::ReplaceOnly), 5).await, None);

        let generation = |generation_policy, generation| WritePolicy {
            generation_policy,
            generation,
            ..WritePolicy::default()
        };
        let now = world.get(&key).await.generation;
        let wrong = Some(ResultCode::GenerationError);
        assert_eq!(
            put(generation(GenerationPolicy::ExpectGenEqual, now + 1), 6).await,
            wrong
        );
        assert_eq!(
            put(generation(GenerationPolicy::ExpectGenGreater, now), 6).await,
            wrong
        );
        assert_eq!(
            put(generation(GenerationPolicy::ExpectGenEqual, now), 7).await,
            None
        );
        assert_eq!(
            put(generation(GenerationPolicy::ExpectGenGreater, now + 2), 8).await,
            None
        );

        let lives = |expiration| WritePolicy {
            expiration,
            ..WritePolicy::default()
        };
        assert_eq!(put(lives(Expiration::Seconds(1000)), 9).await, None);
        assert_eq!(put(lives(Expiration::DontUpdate), 10).await, None);
        let left = world.get(&key).await.time_to_live().expect("it expires");
        assert!((990..=1000).contains(&left.as_secs()), "{left:?}");
        assert_eq!(put(lives(Expiration::Never), 11).await, None);
        assert_eq!(world.get(&key).await.time_to_live(), None);
        assert_eq!(put(lives(Expiration::Seconds(1)), 12).await, None);
        tokio::time::sleep(Duration::from_millis(2100)).await;
        assert!(!world.exists(&key).await);
    }
    world.end().await;
}

#[tokio::test]
async fn a_stored_key_guards_its_record() {
    let world = World::new().await;
    let send = WritePolicy {
        send_key: true,
        durable_delete: true,
        ..WritePolicy::default()
    };
    for ns in NAMESPACES {
        let key = key(ns, "owner");
        world.client.put(&send, &key, &[bin("v", 1)]).await.unwrap();
        let impostor = Key::with_digest(ns, "compat", Some(text("impostor")), key.digest());
        let mismatch = Some(ResultCode::KeyMismatch);
        assert_eq!(
            code(world.client.put(&send, &impostor, &[bin("v", 2)]).await),
            mismatch
        );
        assert_eq!(code(world.client.touch(&send, &impostor).await), mismatch);
        let stranger = Key::with_digest(ns, "elsewhere", None, key.digest());
        let refused = world
            .client
            .put(&WritePolicy::default(), &stranger, &[bin("v", 2)])
            .await;
        assert_eq!(code(refused), Some(ResultCode::ParameterError));
        assert_eq!(world.get(&key).await.bins.get("v"), Some(&Value::Int(1)));
        assert!(world.client.delete(&send, &key).await.unwrap());
    }
    world.end().await;
}

#[tokio::test]
async fn refusals_carry_their_code_and_change_nothing() {
    let world = World::new().await;
    let (client, policy) = (&world.client, WritePolicy::default());
    for ns in NAMESPACES {
        let key = key(ns, "refused");
        world.put(&key, &[bin("s", "text")]).await;
        let added = client.add(&policy, &key, &[bin("s", 1)]).await;
        assert_eq!(code(added), Some(ResultCode::BinTypeError));
        let large = client
            .put(&policy, &key, &[bin("b", vec![0_u8; 2 << 20])])
            .await;
        assert_eq!(code(large), Some(ResultCode::RecordTooBig));
        let applied = client
            .execute_udf(&policy, &key, "module", "function", &[])
            .await;
        assert!(applied.is_err(), "there is no such module");
        let list = aerospike::operations::lists::size("s");
        let inside = client.operate(&policy, &key, &[list]).await;
        assert_eq!(code(inside), Some(ResultCode::BinTypeError));
        let found = world.get(&key).await;
        assert_eq!(
            (found.generation, found.bins.get("s")),
            (1, Some(&text("text")))
        );
    }
    assert!(
        client
            .put(&policy, &key("nowhere", 1), &[bin("v", 1)])
            .await
            .is_err()
    );
    world.end().await;
}

#[tokio::test]
async fn operate_answers_every_operation_in_its_place() {
    let world = World::new().await;
    let each = WritePolicy {
        respond_per_each_op: true,
        ..WritePolicy::default()
    };
    for ns in NAMESPACES {
        let key = key(ns, "operate");
        world.put(&key, &[bin("n", 1), bin("s", "m")]).await;
        let operations = [
            add(&bin("n", 10)),
            get_bin("n"),
            append(&bin("s", "z")),
            prepend(&bin("s", "a")),
            get_bin("s"),
            get_bin("nope"),
            put(&bin("new", true)),
            get_bin("new"),
        ];
        let found = world
            .client
            .operate(&each, &key, &operations)
            .await
            .unwrap();
        let (nil, n, s, new) = (Value::Nil, Value::Int(11), text("amz"), Value::Bool(true));
        let expected = [&nil, &n, &nil, &nil, &s, &nil, &nil, &new].map(Clone::clone);
        assert_eq!(found.results.as_deref(), Some(&expected[..]));
        assert_eq!(found.generation, 2);

        let policy = WritePolicy {
            expiration: Expiration::Seconds(500),
            ..WritePolicy::default()
        };
        let found = world
            .client
            .operate(&policy, &key, &[touch(), get()])
            .await
            .unwrap();
        assert_eq!(found.bins.len(), 3);
        assert!(
            found
                .time_to_live()
                .is_some_and(|left| left.as_secs() <= 500)
        );
        world
            .client
            .operate(&policy, &key, &[delete(), put(&bin("only", 1))])
            .await
            .unwrap();
        assert_eq!(
            bins_of(&world.get(&key).await),
            BTreeMap::from([("only", &Value::Int(1))])
        );
        let refused = [put(&bin("only", 2)), append(&bin("only", "x"))];
        let refused = world.client.operate(&policy, &key, &refused).await;
        assert_eq!(code(refused), Some(ResultCode::BinTypeError));
        assert_eq!(
            bins_of(&world.get(&key).await),
            BTreeMap::from([("only", &Value::Int(1))])
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_batch_answers_every_row_in_its_place() {
    let world = World::new().await;
    let (read, write) = (BatchReadPolicy::default(), BatchWritePolicy::default());
    for ns in NAMESPACES {
        for number in 0..4 {
            world
                .put(&key(ns, number), &[bin("n", number), bin("s", "x")])
                .await;
        }
        let create = BatchWritePolicy {
            record_exists_action: RecordExistsAction::CreateOnly,
            ..BatchWritePolicy::default()
        };
        let mut rows = [
            BatchOperation::read(&read, key(ns, 0), Bins::All),
            BatchOperation::read(&read, key(ns, 1), Bins::from(["s"])),
            BatchOperation::read(&read, key(ns, 99), Bins::All),
            BatchOperation::write(&write, key(ns, 2), [add(&bin("n", 40)), get_bin("n")]),
            BatchOperation::write(&create, key(ns, 3), [put(&bin("n", 0))]),
            BatchOperation::delete(&BatchDeletePolicy::default(), key(ns, 98)),
            BatchOperation::udf(
                &BatchUdfPolicy::default(),
                key(ns, 97),
                "module",
                "function",
                [],
            ),
            BatchOperation::read(&read, key(ns, 0), Bins::None),
        ];
        let policy = BatchPolicy {
            respond_all_keys: true,
            ..BatchPolicy::write_default()
        };
        world
            .client
            .batch(&policy, &mut rows)
            .await
            .expect("a batch is answered");
        let codes: Vec<_> = rows
            .iter()
            .map(|row| row.result_code().map(u8::from))
            .collect();
        assert_eq!(codes, [0, 0, 2, 0, 5, 2, 100, 0].map(Some));
        let bins = |row: usize| bins_of(rows[row].record().expect("the row has a record"));
        assert_eq!(
            bins(0),
            BTreeMap::from([("n", &Value::Int(0)), ("s", &text("x"))])
        );
        assert_eq!(bins(1), BTreeMap::from([("s", &text("x"))]));
        // Rows that write answer each of their operations, the addition with nothing.
        let added = Value::MultiResult(vec![Value::Nil, Value::Int(42)]);
        assert_eq!(bins(3), BTreeMap::from([("n", &added)]));
        assert_eq!(
            rows[7]
                .record()
                .map(|record| (record.bins.len(), record.generation)),
            Some((0, 1))
        );
        assert_eq!(
            world.get(&key(ns, 3)).await.bins.get("n"),
            Some(&Value::Int(3))
        );
    }
    world.end().await;
}

/// The records of a scan, and where it can be gone on with.
async fn scan(
    world: &World,
    policy: &QueryPolicy,
    filter: PartitionFilter,
    statement: Statement,
) -> (Vec<Record>, PartitionFilter) {
    let found = world
        .client
        .query(policy, filter, statement)
        .await
        .expect("a scan begins");
    let mut stream = found.clone().into_stream();
    let mut records = Vec::new();
    while let Some(record) = stream.next().await {
        records.push(record.expect("a scan goes on"));
    }
    (
        records,
        found.partition_filter().expect("the scan has ended"),
    )
}

fn numbers(records: &[Record]) -> BTreeSet<i64> {
    let number = |record: &Record| match record.bins.get("n") {
        Some(Value::Int(number)) => *number,
        other => panic!("no number but {other:?}"),
    };
    let found: BTreeSet<_> = records.iter().map(number).collect();
    assert_eq!(found.len(), records.len(), "a record was returned twice");
    found
}

#[tokio::test]
async fn scans_return_every_record_once_however_they_are_cut() {
    let world = World::new().await;
    let send = WritePolicy {
        send_key: true,
        ..WritePolicy::default()
    };
    let policy = QueryPolicy::default();
    for ns in NAMESPACES {
        for number in 0..200 {
            let bins = [bin("n", number), bin("s", "x")];
            world
                .client
                .put(&send, &key(ns, number), &bins)
                .await
                .unwrap();
        }
        let every: BTreeSet<_> = (0..200).collect();
        let statement = || Statement::new(ns, "compat", Bins::All);

        let (all, _) = scan(&world, &policy, PartitionFilter::all(), statement()).await;
        assert_eq!(numbers(&all), every);
        let sent = all
            .iter()
            .filter_map(|record| record.key.as_ref()?.user_key())
            .count();
        assert_eq!(sent, 200);

        let mut ranges = Vec::new();
        for (begin, count) in [(0, 1), (1, 2047), (2048, 2048)] {
            let range = PartitionFilter::by_range(begin, count);
            ranges.extend(scan(&world, &policy, range, statement()).await.0);
        }
        assert_eq!(numbers(&ranges), every);

        let pages = QueryPolicy {
            max_records: 30,
            ..QueryPolicy::default()
        };
        let (mut paged, mut cursor) = (Vec::new(), PartitionFilter::all());
        while !cursor.done() {
            let (page, next) = scan(&world, &pages, cursor, statement()).await;
            assert!(page.len() <= 30, "a page of {}", page.len());
            paged.extend(page);
            cursor = next;
        }
        assert_eq!(numbers(&paged), every);

        let projected = Statement::new(ns, "compat", Bins::from(["n"]));
        let (projected, _) = scan(&world, &policy, PartitionFilter::all(), projected).await;
        assert!(projected.iter().all(|record| record.bins.len() == 1));
        assert_eq!(numbers(&projected), every);
        let headers = QueryPolicy {
            include_bin_data: false,
            ..QueryPolicy::default()
        };
        let (headers, _) = scan(&world, &headers, PartitionFilter::all(), statement()).await;
        assert_eq!(
            (
                headers.len(),
                headers.iter().map(|record| record.bins.len()).sum()
            ),
            (200, 0)
        );
        let nothing = Statement::new(ns, "no-such-set", Bins::All);
        assert_eq!(
            scan(&world, &policy, PartitionFilter::all(), nothing)
                .await
                .0
                .len(),
            0
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_scan_after_a_digest_returns_the_rest_of_its_partition() {
    let world = World::new().await;
    let policy = QueryPolicy::default();
    for ns in NAMESPACES {
        let of_partition = (0..)
            .map(|number| key(ns, number))
            .filter(|key| key.partition_id() == 7);
        for (number, key) in (0..5).zip(of_partition) {
            world.put(&key, &[bin("n", number)]).await;
        }
        let statement = || Statement::new(ns, "compat", Bins::All);
        let (whole, _) = scan(&world, &policy, PartitionFilter::by_id(7), statement()).await;
        assert_eq!(numbers(&whole), (0..5).collect());
        for (at, record) in whole.iter().enumerate() {
            let key = record.key.as_ref().expect("a scanned record has a key");
            let (rest, _) = scan(&world, &policy, PartitionFilter::by_key(key), statement()).await;
            assert_eq!(
                numbers(&rest),
                numbers(&whole[at + 1..]),
                "after record {at}"
            );
        }
    }
    world.end().await;
}

#[tokio::test]
async fn truncation_and_info_are_answered() {
    let world = World::new().await;
    let admin = AdminPolicy::default();
    for ns in NAMESPACES {
        world.put(&key(ns, 1), &[bin("v", 1)]).await;
        world
            .client
            .truncate(&admin, ns, "compat", 0)
            .await
            .expect("a set is truncated");
        assert!(!world.exists(&key(ns, 1)).await);
    }
    let answers = world
        .client
        .info(&admin, &["build", "namespaces"])
        .await
        .expect("info is answered");
    assert_eq!(
        answers.get("namespaces").map(String::as_str),
        Some("disk;mem")
    );
    assert_eq!(world.client.nodes().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn commands_of_many_tasks_do_not_disturb_each_other() {
    let world = World::new().await;
    let work = async |task: i64| {
        for number in 0..50 {
            let key = key(NAMESPACES[task as usize % 2], format!("{task}-{number}"));
            let pad = vec![task as u8; 10 * number as usize];
            world
                .put(&key, &[bin("n", number), bin("pad", pad.clone())])
                .await;
            let found = world.get(&key).await;
            let expected = (Some(&Value::Int(number)), Some(&Value::Blob(pad)));
            assert_eq!((found.bins.get("n"), found.bins.get("pad")), expected);
        }
    };
    futures_util::future::join_all((0..16).map(work)).await;
    world.end().await;
}
