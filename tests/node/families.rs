//! Each family of calls of Karst's own client, against a real node.

use std::collections::BTreeSet;
use std::time::Duration;

use karst_client::expr::Type;
use karst_client::{
    BatchOp, BatchPolicy, Bin, BitsFlags, Client, ClientBuilder, Context, Elements, Error, Expr,
    ExprFlags, Index, IndexType, Indexed, Key, ListFlags, ListOrder, ListPolicy, ListReturn,
    Lookup, MapOrder, MapReturn, NumberFlags, Operation, Query, ReadPolicy, Record, ResizeFlags,
    ResultCode, Scan, ScanCursor, ScanPolicy, SortFlags, Udf, Unknown, Value, WritePolicy, bits,
    hll, list, map, path,
};
use karst_tests::{Namespace, Server, ServerSpec};

const SOON: Duration = Duration::from_secs(20);

async fn world() -> (Server, Client) {
    let server = ServerSpec::new()
        .namespace(Namespace::memory("test"))
        .start();
    let client = ClientBuilder::new([server.service().to_string()])
        .connect_timeout(SOON)
        .connect()
        .await;
    (server, client.expect("the client connects"))
}

fn key(name: impl Into<karst_client::UserKey>) -> Key {
    Key::new("test", "demo", name).expect("a sound key")
}

async fn operate(client: &Client, key: &Key, steps: &[Operation]) -> Record {
    let told = client.operate(&WritePolicy::default(), key, steps).await;
    told.expect("the operations succeed").expect("a record")
}

/// The values that operations answered.
async fn told(client: &Client, key: &Key, steps: &[Operation]) -> Vec<Value> {
    let record = operate(client, key, steps).await;
    record.bins.into_iter().map(|bin| bin.value).collect()
}

async fn bin(client: &Client, key: &Key, name: &str) -> Value {
    let record = client.get(key).await.unwrap().expect("the record is there");
    record.bin(name).cloned().unwrap_or_default()
}

fn ints(values: &[i64]) -> Value {
    Value::list(values.iter().copied())
}

#[tokio::test]
async fn lists_are_changed_and_looked_into() {
    let (_server, client) = world().await;
    let key = key("lists");
    let ordered = ListPolicy::default().with_order(ListOrder::Ordered);
    let unique = ordered.with_flags(ListFlags::UNIQUE | ListFlags::NO_FAIL);
    let steps = [
        list::append_items([5, 1, 3]).policy(ordered).bin("l"),
        list::append(3).policy(unique).bin("l"),
        list::get_by_index_range(0, .., ListReturn::VALUE).bin("l"),
        list::get_by_rank(-1, ListReturn::VALUE).bin("l"),
        list::get_by_value_range(2, .., ListReturn::COUNT).bin("l"),
        list::get_near_value(2, -1, 2, ListReturn::VALUE).bin("l"),
        list::get_by_values(ints(&[1, 9]), ListReturn::VALUE.inverted()).bin("l"),
        list::remove_by_value(1, ListReturn::INDEX).bin("l"),
        list::increment(0, 10).bin("l"),
    ];
    let expected = [
        Value::Int(3),
        Value::Int(3),
        ints(&[1, 3, 5]),
        Value::Int(5),
        Value::Int(2),
        ints(&[1, 3]),
        ints(&[3, 5]),
        ints(&[0]),
        Value::Int(13),
    ];
    assert_eq!(told(&client, &key, &steps).await, expected);
    assert_eq!(bin(&client, &key, "l").await, ints(&[5, 13]));
    let steps = [
        list::append_items([4, 4, 2]).bin("u"),
        list::insert(0, 9).bin("u"),
        list::sort(SortFlags::DESCENDING | SortFlags::DROP_DUPLICATES).bin("u"),
        list::pop(-1).bin("u"),
        list::trim(0, 1).bin("u"),
    ];
    let expected = [3, 4, 2, 1].map(Value::Int);
    assert_eq!(told(&client, &key, &steps).await, expected);
    assert_eq!(bin(&client, &key, "u").await, ints(&[9]));
}

#[tokio::test]
async fn maps_are_changed_and_looked_into_at_any_depth() {
    let (_server, client) = world().await;
    let key = key("maps");
    let ada = || [Context::map_key_create("ada", MapOrder::Key)];
    let steps = [
        map::put_items(Value::map([("b", 2), ("a", 1), ("c", 3)])).bin("m"),
        map::increment("a", 10).bin("m"),
        map::get_by_key_range("a", "c", MapReturn::KEY).bin("m"),
        map::get_by_rank_range(-1, .., MapReturn::KEY).bin("m"),
        map::get_by_keys(Value::list(["b", "x"]), MapReturn::PAIRS).bin("m"),
        map::remove_by_key("c", MapReturn::VALUE).bin("m"),
        map::put("visits", 1).within(ada()).bin("users"),
        list::append("new")
            .within([
                Context::map_key("ada"),
                Context::map_key_create("tags", MapOrder::Key),
            ])
            .bin("users"),
        list::size()
            .within([Context::map_key("ada"), Context::map_key("tags")])
            .bin("users"),
        map::create(MapOrder::Key)
            .within([Context::map_key("bob")])
            .bin("users"),
        map::size().bin("users"),
    ];
    let expected = [
        Value::Int(3),
        Value::Int(11),
        Value::list(["a", "b"]),
        Value::list(["a"]),
        Value::map([("b", 2)]),
        Value::Int(3),
        Value::Int(1),
        Value::Int(1),
        Value::Int(1),
        Value::Int(2),
    ];
    assert_eq!(told(&client, &key, &steps).await, expected);
}

#[tokio::test]
async fn bits_and_sketches_are_changed_and_asked() {
    let (_server, client) = world().await;
    let key = key("bits");
    let steps = [
        bits::resize(2, ResizeFlags::NONE)
            .policy(BitsFlags::CREATE_ONLY)
            .bin("b"),
        bits::set(4, 8, b"\xff").bin("b"),
        bits::count(0, 16).bin("b"),
        bits::first(0, 16, true).bin("b"),
        bits::add(8, 8, 0x20, NumberFlags::SATURATE).bin("b"),
        bits::get_int(8, 8, false).bin("b"),
        bits::get(4, 4).bin("b"),
    ];
    let expected = [
        Value::Int(8),
        Value::Int(4),
        Value::Int(0xff),
        Value::Blob(vec![0xf0]),
    ];
    assert_eq!(told(&client, &key, &steps).await, expected);
    let steps = [
        hll::add_or_create(Value::list(["a", "b", "c"]), 12, -1).bin("h"),
        hll::add(Value::list(["a"])).bin("h"),
        hll::count().bin("h"),
        hll::may_contain(Value::list(["b"])).bin("h"),
        hll::describe().bin("h"),
    ];
    let expected = [
        Value::Int(3),
        Value::Int(0),
        Value::Int(3),
        Value::Int(1),
        ints(&[12, 0]),
    ];
    assert_eq!(told(&client, &key, &steps).await, expected);
}

#[tokio::test]
async fn expressions_filter_and_compute() {
    let (_server, client) = world().await;
    let key = key("expressions");
    let bins = [
        Bin::new("w", 3),
        Bin::new("h", 4),
        Bin::new("l", ints(&[7])),
    ];
    client.put(&key, bins).await.unwrap();
    let area = || Expr::int_bin("w") * Expr::int_bin("h");
    let first = list::get_by_index(0, ListReturn::VALUE).gives(Type::Int);
    let steps = [
        Operation::read_expr("area", area()),
        Operation::write_expr("area", area() + 1, ExprFlags::CREATE_ONLY),
        Operation::read_expr("first", first.of(Expr::list_bin("l"))),
        Operation::read_expr_if_known("none", Expr::int_bin("none")),
        Operation::get("area"),
    ];
    let record = operate(&client, &key, &steps).await;
    assert_eq!(record.bins[0], Bin::new("area", 12));
    assert_eq!(record.bin("first"), Some(&Value::Int(7)));
    assert_eq!(record.bin("none"), Some(&Value::Nil));
    assert_eq!(record.bins.last(), Some(&Bin::new("area", 13)));
    let unknown = [Operation::read_expr("x", Expr::int_bin("none"))];
    let refused = client
        .operate(&WritePolicy::default(), &key, &unknown)
        .await;
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Some(ResultCode::OpNotApplicable));

    let small = || area().lt(10);
    let filtered = Some(ResultCode::FilteredOut);
    let read = ReadPolicy::default().with_filter(small());
    let refused = client.get_with(&read, &key, &karst_client::Bins::All).await;
    assert_eq!(refused.unwrap_err().code(), filtered);
    let write = WritePolicy::default().with_filter(small());
    let refused = client.put_with(&write, &key, [Bin::new("w", 9)]).await;
    assert_eq!(refused.unwrap_err().code(), filtered);
    let refused = client.delete_with(&write, &key).await;
    assert_eq!(refused.unwrap_err().code(), filtered);
    let large = ReadPolicy::default().with_filter(!small());
    let found = client
        .get_with(&large, &key, &karst_client::Bins::All)
        .await;
    assert!(found.unwrap().is_some());
}

#[tokio::test]
async fn paths_select_and_change_many_elements() {
    let (_server, client) = world().await;
    let key = key("paths");
    let book = |price: i64| Value::map([("price", price)]);
    let books = Value::map([("a", book(10)), ("b", book(30)), ("c", book(50))]);
    client.put(&key, [Bin::new("books", books)]).await.unwrap();
    let price = || Expr::item_value(Type::Int);
    let prices = || [Context::all_children(), Context::map_key("price")];
    let dear = || [&prices()[..], &[Context::also(price().gt(20))]].concat();
    let steps = [
        path::select(prices(), path::Select::VALUES, Unknown::Fails).bin("books"),
        path::modify(dear(), price() - 5, Unknown::Fails).bin("books"),
        path::select(dear(), path::Select::VALUES, Unknown::Fails).bin("books"),
        path::modify(dear(), Expr::remove_item(), Unknown::Fails).bin("books"),
        path::select(prices(), path::Select::VALUES, Unknown::Fails).bin("books"),
    ];
    let expected = [ints(&[10, 30, 50]), ints(&[25, 45]), ints(&[10])];
    assert_eq!(told(&client, &key, &steps).await, expected);
}

const MODULE: &str = "
function raise(rec, name, by)
    rec[name] = (rec[name] or 0) + by
    if aerospike:exists(rec) then aerospike:update(rec) else aerospike:create(rec) end
    return rec[name]
end
function fail(rec) error('on purpose') end
";

async fn register(client: &Client) {
    let task = client.register_udf("counters.lua", MODULE.as_bytes()).await;
    task.unwrap().wait(SOON).await.unwrap();
}

#[tokio::test]
async fn functions_are_registered_run_and_removed() {
    let (_server, client) = world().await;
    register(&client).await;
    let listed = client.udfs().await.unwrap();
    assert_eq!(listed[0].file, "counters.lua");
    let source = client.udf_source("counters.lua").await.unwrap();
    assert_eq!(source.as_deref(), Some(MODULE.as_bytes()));
    assert_eq!(client.udf_source("none.lua").await.unwrap(), None);
    let (key, policy) = (key("udf"), WritePolicy::default());
    let raise = |by: i64| Udf::new("counters", "raise").arg("n").arg(by);
    for expected in [5, 10] {
        let returned = client.execute(&policy, &key, &raise(5)).await.unwrap();
        assert_eq!(returned, Value::Int(expected));
    }
    let failed = client
        .execute(&policy, &key, &Udf::new("counters", "fail"))
        .await;
    match failed.unwrap_err() {
        Error::Udf { message, .. } => assert!(message.contains("on purpose"), "{message}"),
        other => panic!("{other}"),
    }
    let broken = client.register_udf("broken.lua", b"function oops(").await;
    let refused = broken.unwrap_err().to_string();
    assert!(refused.contains("broken.lua:1:"), "{refused}");
    let gone = client.remove_udf("counters.lua").await.unwrap();
    gone.wait(SOON).await.unwrap();
    assert!(client.udfs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_takes_rows_of_every_kind() {
    let (_server, client) = world().await;
    register(&client).await;
    for number in 0..6 {
        let bins = [Bin::new("n", number), Bin::new("s", "x")];
        client.put(&key(number), bins).await.unwrap();
    }
    let odd = || (Expr::int_bin("n") % 2).eq(1);
    let rows = vec![
        BatchOp::get(key(0)),
        BatchOp::read(key(1), karst_client::Bins::named(["s"])),
        BatchOp::get(key(99)),
        BatchOp::get(key(2)).with_filter(odd()),
        BatchOp::get(key(3)).with_filter(odd()),
        BatchOp::put(key(4), [Bin::new("n", 40)]),
        BatchOp::operate(key(5), vec![Operation::add("n", 1), Operation::get("n")]),
        BatchOp::execute(key(0), Udf::new("counters", "raise").arg("u").arg(7)),
        BatchOp::execute(key(0), Udf::new("counters", "fail")),
        BatchOp::delete(key(1)),
    ];
    let answers = client.batch(&BatchPolicy::default(), rows).await;
    let bin = |row: usize, name: &str| {
        let record = answers[row].as_ref().unwrap().as_ref().unwrap();
        record.bin(name).cloned()
    };
    assert_eq!(bin(0, "n"), Some(Value::Int(0)));
    assert_eq!(answers[2].as_ref().unwrap(), &None);
    let filtered = answers[3].as_ref().unwrap_err().code();
    assert_eq!(filtered, Some(ResultCode::FilteredOut));
    assert_eq!(bin(4, "n"), Some(Value::Int(3)));
    assert!(answers[5].as_ref().unwrap().is_some());
    assert_eq!(bin(6, "n"), Some(Value::Int(6)));
    assert_eq!(bin(7, "SUCCESS"), Some(Value::Int(7)));
    let failed = answers[8].as_ref().unwrap_err();
    assert!(matches!(failed, Error::Udf { .. }), "{failed}");
    assert!(answers[9].as_ref().unwrap().is_some());
    let policy = BatchPolicy::default().with_filter(odd());
    let rows = [2, 3, 4].map(|number| BatchOp::get(key(number)));
    let answers = client.batch(&policy, rows.to_vec()).await;
    let found = answers.iter().map(Result::is_ok).collect::<Vec<_>>();
    assert_eq!(found, [false, true, false]);
}

async fn numbers(mut found: Scan) -> (BTreeSet<i64>, ScanCursor) {
    let mut numbers = BTreeSet::new();
    while let Some(record) = found.next().await {
        let record = record.expect("the query goes on").record;
        let number = record.bin("n").and_then(Value::as_int);
        let new = numbers.insert(number.expect("all have a number"));
        assert!(new, "{number:?} came twice");
    }
    let cursor = ScanCursor::from_bytes(&found.cursor().to_bytes());
    (numbers, cursor.expect("a cursor survives its bytes"))
}

#[tokio::test]
async fn indexes_are_made_asked_page_by_page_and_dropped() {
    let (_server, client) = world().await;
    for number in 0..200 {
        let tags = Value::list([format!("t{}", number % 3)]);
        let bins = [
            Bin::new("n", number),
            Bin::new("name", format!("name{number}")),
            Bin::new("tags", tags),
        ];
        client.put(&key(number), bins).await.unwrap();
    }
    let tags = || Indexed::bin("tags").elements(Elements::List);
    let indexes = [
        Index::new("test", "demo", "by_n", IndexType::Numeric, "n"),
        Index::new("test", "demo", "by_name", IndexType::String, "name"),
        Index::new("test", "demo", "by_tag", IndexType::String, tags()),
    ];
    for index in &indexes {
        let task = client.create_index(index).await.unwrap();
        task.wait(SOON).await.unwrap();
    }
    let by = |lookup| Query::new("test", "demo").by(lookup);
    let all = |lookup| client.query(&by(lookup), ScanPolicy::default()).unwrap();
    let (found, _) = numbers(all(Lookup::range("n", 10..20))).await;
    assert_eq!(found, (10..20).collect());
    let (found, _) = numbers(all(Lookup::equal("name", "name7"))).await;
    assert_eq!(found, BTreeSet::from([7]));
    let (found, _) = numbers(all(Lookup::equal(tags(), "t1"))).await;
    assert_eq!(found, (0..200).filter(|number| number % 3 == 1).collect());
    let (found, _) = numbers(all(Lookup::range("other", ..=4).through("by_n"))).await;
    assert_eq!(found, (0..=4).collect());

    let policy = ScanPolicy::default()
        .with_records_max(30)
        .with_filter((Expr::int_bin("n") % 2).eq(0));
    let query = by(Lookup::range("n", 0..100));
    let (mut cursor, mut seen) = (ScanCursor::all(), BTreeSet::new());
    while !cursor.is_done() {
        let page = client.query_from(&query, policy.clone(), cursor).unwrap();
        let found;
        (found, cursor) = numbers(page).await;
        assert!(found.len() <= 30 && seen.is_disjoint(&found));
        seen.extend(found);
    }
    assert_eq!(seen, (0..100).step_by(2).collect());

    let known = client.indexes("test").await.unwrap();
    let by_tag = known.iter().find(|index| index.name == "by_tag").unwrap();
    assert_eq!(by_tag.elements, Some(Elements::List));
    assert_eq!(by_tag.kind, Some(IndexType::String));
    let stats = client.index_stats("test", "by_n").await.unwrap();
    assert_eq!(stats[0].1["load_pct"], "100");
    let other = Index::new("test", "demo", "by_n", IndexType::String, "name");
    let refused = client.create_index(&other).await.unwrap_err();
    assert!(
        matches!(refused, Error::Info { code: 200, .. }),
        "{refused}"
    );
    let task = client.drop_index("test", "by_n").await.unwrap();
    task.wait(SOON).await.unwrap();
    let mut gone = all(Lookup::range("n", 10..20));
    let error = gone.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ResultCode::SindexNotFound));
}

#[tokio::test]
async fn a_scan_goes_on_where_it_stopped_when_an_index_of_its_set_comes_and_goes() {
    let (_server, client) = world().await;
    let of = |set: &str, number: i64| Key::new("test", set, number).expect("a sound key");
    let partition = of("few", 0).partition();
    for (set, records) in [("few", 20), ("many", 60)] {
        let all = (0..).map(|number| of(set, number));
        let here = all.filter(|key| key.partition() == partition);
        for (number, key) in (0..records).zip(here) {
            let bins = [Bin::new("n", number)];
            client.put(&key, bins).await.unwrap();
        }
    }
    let (mut cursor, mut seen) = (ScanCursor::of([partition]), BTreeSet::new());
    for page in 0..4 {
        let index = Index::of_set("test", "few", format!("ix{page}"));
        if page % 2 == 1 {
            let task = client.create_index(&index).await.unwrap();
            task.wait(SOON).await.unwrap();
            let [known] = client.indexes("test").await.unwrap().try_into().unwrap();
            assert!(known.of_set && known.readable);
            assert_eq!((known.set.as_str(), known.bin), ("few", None));
            let stats = client.index_stats("test", &known.name).await.unwrap();
            assert_eq!(stats[0].1["entries"], "20");
        }
        let policy = ScanPolicy::default().with_records_max(5);
        let scan = client.scan_from("test", "few", policy, cursor).unwrap();
        let found;
        (found, cursor) = numbers(scan).await;
        assert!(found.len() == 5 && seen.is_disjoint(&found), "page {page}");
        seen.extend(found);
        if page % 2 == 1 {
            let task = client.drop_index("test", &format!("ix{page}")).await;
            task.unwrap().wait(SOON).await.unwrap();
        }
    }
    assert_eq!(seen, (0..20).collect());
}

#[tokio::test]
async fn scans_filter_stay_in_partitions_and_go_on_behind_a_record() {
    let (_server, client) = world().await;
    for number in 0..300 {
        client
            .put(&key(number), [Bin::new("n", number)])
            .await
            .unwrap();
    }
    let policy = ScanPolicy::default().with_filter(Expr::int_bin("n").lt(50));
    let scan = client.scan("test", "demo", policy).unwrap();
    assert_eq!(numbers(scan).await.0, (0..50).collect());
    let key = (0..).map(key).find(|key| key.partition().0 == 7).unwrap();
    client.put(&key, [Bin::new("n", 1000)]).await.unwrap();
    let partition = ScanCursor::of([key.partition()]);
    let whole = client.scan_from("test", "demo", ScanPolicy::default(), partition);
    let whole = numbers(whole.unwrap()).await.0;
    assert!(whole.contains(&1000));
    let rest = ScanCursor::after(*key.digest());
    let rest = client.scan_from("test", "demo", ScanPolicy::default(), rest);
    let rest = numbers(rest.unwrap()).await.0;
    assert!(rest.is_subset(&whole) && !rest.contains(&1000));
}
