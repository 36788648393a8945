//! Scripts and what becomes of them.

mod stream;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_cluster::modules::{Module, Modules};
use karst_cluster::state::{ClusterState, Command};
use karst_data::msgpack::{write_int, write_list_count, write_map_head, write_typed};
use karst_data::value::ParticleType;
use karst_io::clock;

use super::state::{State, TIMEOUT};
use super::{Call, Change, Ended, Functions, NotRun, Returned, Snapshot, Subject};

fn module(file: &str, text: &str) -> Module {
    Module {
        file: file.into(),
        text: BASE64.encode(text).into(),
        hash: String::new(),
    }
}

fn modules(texts: &[(&str, &str)]) -> Modules {
    let mut state = ClusterState::default();
    for (file, text) in texts {
        state.apply(Command::PutModule(module(file, text)));
    }
    state.modules
}

/// A record with bins n = 7, t = "text", l = [1, nil, "a"], m = {1: 2, "k": 3}, b = bytes 1 2.
fn record() -> Snapshot {
    let (mut list, mut map) = (Vec::new(), Vec::new());
    write_list_count(&mut list, 3);
    write_int(&mut list, 1, false);
    list.push(0xc0);
    write_typed(&mut list, 3, b"a");
    write_map_head(&mut map, 2, 0).expect("two pairs");
    write_int(&mut map, 1, false);
    write_int(&mut map, 2, false);
    write_typed(&mut map, 3, b"k");
    write_int(&mut map, 3, false);
    let bin = |name: &str, particle, bytes| (name.as_bytes().to_vec(), particle, bytes);
    Snapshot {
        version: [7; 10],
        generation: 3,
        void_time_s: 500,
        ttl_s: 60,
        update_time_ms: 12_345,
        key: Some(b"\x03user".to_vec()),
        size_bytes: 128,
        bins: vec![
            bin("n", ParticleType::Integer, 7_i64.to_be_bytes().to_vec()),
            bin("t", ParticleType::String, b"text".to_vec()),
            bin("l", ParticleType::List, list),
            bin("m", ParticleType::Map, map),
            bin("b", ParticleType::Blob, vec![1, 2]),
        ],
    }
}

fn run_in(text: &str, found: Option<Snapshot>, patience_ms: u64) -> Ended {
    let modules = modules(&[("m.lua", text)]);
    let deadline_us = clock::monotonic_us() + patience_ms * 1000;
    let module = modules.get("m.lua").unwrap();
    let state = match State::load(&modules, module, deadline_us) {
        Ok(state) => state,
        Err(why) => return Ended::Failed(format!("{}: {}", why.line, why.message).into_bytes()),
    };
    let call = Call {
        modules,
        module: "m".into(),
        function: "f".into(),
        arguments: vec![0x92, 5, 0xa2, 3, b'x'], // 5, "x"
        record: Subject {
            digest: [9; 20],
            set: b"demo".to_vec(),
            found,
        },
    };
    state.run(call, deadline_us)
}

/// The value of `return` behind `function f(rec, five, x)`.
fn value(body: &str) -> (u8, Vec<u8>) {
    let text = format!("function f(rec, five, x) {body} end");
    match run_in(&text, Some(record()), 2000) {
        Ended::Returned(returned) => returned.value,
        Ended::Failed(why) => panic!("{body}: {}", String::from_utf8_lossy(&why)),
    }
}

fn failure(body: &str) -> String {
    let text = format!("function f(rec, five, x) {body} end");
    match run_in(&text, Some(record()), 2000) {
        Ended::Returned(returned) => panic!("{body}: {returned:?}"),
        Ended::Failed(why) => String::from_utf8(why).unwrap(),
    }
}

fn returned(body: &str, found: Option<Snapshot>) -> Returned {
    let text = format!("function f(rec, five, x) {body} end");
    match run_in(&text, found, 2000) {
        Ended::Returned(returned) => returned,
        Ended::Failed(why) => panic!("{body}: {}", String::from_utf8_lossy(&why)),
    }
}

fn text(body: &str, expected: &str) {
    let (particle, bytes) = value(&format!("return tostring(({body}))"));
    assert_eq!(
        (particle, &*String::from_utf8_lossy(&bytes)),
        (3, expected),
        "{body}"
    );
}

#[test]
fn values_go_out_with_the_types_that_clients_expect() {
    let int = |value: i64| (1, value.to_be_bytes().to_vec());
    assert_eq!(value("return five"), int(5));
    assert_eq!(value("return rec.n + five"), int(12));
    assert_eq!(value("return x .. rec.t"), (3, b"xtext".to_vec()));
    assert_eq!(value("return 'a\\0b'"), (3, b"a".to_vec()));
    assert_eq!(value("return 1.5"), (2, 1.5_f64.to_be_bytes().to_vec()));
    assert_eq!(value("return true"), (17, vec![1]));
    assert_eq!(value("return rec.b"), (4, vec![1, 2]));
    assert_eq!(
        value("return rec.l"),
        (20, vec![0x93, 1, 0xc0, 0xa2, 3, b'a'])
    );
    assert_eq!(
        value("return rec.m"),
        (19, vec![0x82, 1, 2, 0xa2, 3, b'k', 3])
    );
    assert_eq!(value("return GeoJSON('{}')"), (23, b"\0\0\0{}".to_vec()));
    for nothing in ["nil", "rec", "{1, 2}", "print", "coroutine.create(print)"] {
        assert_eq!(
            value(&format!("return {nothing}")),
            (0, vec![]),
            "{nothing}"
        );
    }
    assert_eq!(value(""), (0, vec![]));
}

#[test]
fn lists_count_from_one_and_hold_nil() {
    for (body, expected) in [
        ("#rec.l", "3"),
        ("rec.l[1]", "1"),
        ("rec.l[2]", "nil"),
        ("rec.l[4]", "nil"),
        ("list.size(rec.l)", "3"),
        ("rec.l", "List(1, NIL, \"a\")"),
        ("list{3, 4}", "List(3, 4)"),
        ("list.take(list{1, 2, 3}, 2)", "List(1, 2)"),
        ("list.drop(list{1, 2, 3}, 2)", "List(3)"),
        ("list.drop(list{1, 2, 3}, 9)", "List()"),
        ("list.take(list{1}, 0)", "nil"),
        ("list.merge(list{1}, list{2})", "List(1, 2)"),
        ("list.clone(rec.l)", "List(1, NIL, \"a\")"),
        ("list.nbytes(rec.l)", "6"),
        ("type(rec.l)", "userdata"),
        ("list{1, list{2}} == list{1, list{2}}", "true"),
    ] {
        text(body, expected);
    }
    let changed = |body: &str| {
        value(&format!(
            "local l = list{{1, 2, 3}} {body} return tostring(l)"
        ))
    };
    for (body, expected) in [
        ("list.append(l, 4)", "List(1, 2, 3, 4)"),
        ("list.append(l, nil)", "List(1, 2, 3, NIL)"),
        ("list.append(l, rec)", "List(1, 2, 3)"),
        ("list.prepend(l, 0)", "List(0, 1, 2, 3)"),
        ("list.insert(l, 2, 9)", "List(1, 9, 2, 3)"),
        ("list.remove(l, 1)", "List(2, 3)"),
        ("list.remove(l, 9)", "List(1, 2, 3)"),
        ("list.trim(l, 2)", "List(1)"),
        ("list.concat(l, list{4, 5})", "List(1, 2, 3, 4, 5)"),
        ("list.concat(l, l)", "List(1, 2, 3, 1, 2, 3)"),
        ("l[2] = 7", "List(1, 7, 3)"),
        ("l[4] = 7", "List(1, 2, 3, 7)"),
        ("for v in list.iterator(l) do l[1] = v end", "List(3, 2, 3)"),
    ] {
        assert_eq!(changed(body), (3, expected.into()), "{body}");
    }
    assert!(failure("list.append('no list', 1)").contains("bad argument #1 to 'append'"));
}

#[test]
fn maps_keep_their_order_while_they_change() {
    for (body, expected) in [
        ("rec.m[1]", "2"),
        ("rec.m.k", "3"),
        ("rec.m.none", "nil"),
        ("#rec.m", "2"),
        ("rec.m", "Map(1->2, \"k\"->3)"),
        ("map.size(map{a = 1, b = 2})", "2"),
        ("map.merge(map{a = 1}, map{a = 2})", "Map(\"a\"->2)"),
        (
            "map.merge(map{a = 1}, map{a = 2}, function(p, q) return p + q end)",
            "Map(\"a\"->3)",
        ),
        ("map.diff(map{a = 1}, map{a = 2, b = 3})", "Map(\"b\"->3)"),
        ("map.nbytes(rec.m)", "7"),
        ("type(rec.m)", "userdata"),
    ] {
        text(body, expected);
    }
    let changed = |body: &str| value(&format!("local m = rec.m {body} return tostring(m)"));
    for (body, expected) in [
        (
            "for k, v in map.pairs(m) do m[k] = 9 end",
            "Map(1->9, \"k\"->9)",
        ),
        ("m.z = nil", "Map(1->2, \"k\"->3, \"z\"->NIL)"),
        ("map.remove(m, 1)", "Map(\"k\"->3)"),
        ("map.remove(m, 'none')", "Map(1->2, \"k\"->3)"),
        (
            "for i = 1, 1000 do m[i] = i end for i = 1, 1000 do map.remove(m, i) end",
            "Map(\"k\"->3)",
        ),
        (
            "for k in map.keys(m) do map.remove(m, k) end m.a = 1",
            "Map(\"a\"->1)",
        ),
    ] {
        assert_eq!(changed(body), (3, expected.into()), "{body}");
    }
    let by_bytes = "local m, k = map(), bytes() k[1] = 5 m[k] = 1 \
                    local same = bytes() same[1] = 5 return m[same]";
    assert_eq!(value(by_bytes), (1, 1_i64.to_be_bytes().to_vec()));
}

#[test]
fn bytes_are_read_and_written_in_either_order() {
    for (body, expected) in [
        ("#rec.b", "2"),
        ("rec.b[2]", "2"),
        ("rec.b[3]", "nil"),
        ("bytes.get_int16(rec.b, 1)", "258"),
        ("bytes.get_int16_le(rec.b, 1)", "513"),
        ("bytes.get_int32(rec.b, 1)", "nil"),
        ("bytes.size(bytes(18))", "0"),
    ] {
        text(body, expected);
    }
    let made = |body: &str| value(&format!("local b = bytes() {body} return b"));
    for (body, expected) in [
        ("b[1] = 10 b[2] = 85", &[10, 85][..]),
        ("b[3] = 1", &[0, 0, 1]),
        ("b[1] = 256", &[]),
        ("bytes.append_int32_le(b, -2)", &[254, 255, 255, 255]),
        ("bytes.append_int16(b, 40000)", &[]),
        ("bytes.append_string(b, 'abc', 2)", b"ab"),
        ("bytes.append_var_int(b, 300)", &[172, 2]),
        ("bytes.set_size(b, 3) bytes.set_byte(b, 2, 7)", &[0, 7, 0]),
        (
            "bytes.append_string(b, 'abcd') bytes.set_bytes(b, 2, rec.b, 2)",
            &[b'a', 1, 2, b'd'],
        ),
    ] {
        assert_eq!(made(body), (4, expected.to_vec()), "{body}");
    }
    let var = "local b = bytes() bytes.append_var_int(b, 300) local v, n = bytes.get_var_int(b, 1) return v * 10 + n";
    assert_eq!(value(var), (1, 3002_i64.to_be_bytes().to_vec()));
}

#[test]
fn a_record_tells_of_itself() {
    for (body, expected) in [
        ("record.ttl(rec)", "60"),
        ("record.gen(rec)", "3"),
        ("record.key(rec)", "user"),
        ("record.setname(rec)", "demo"),
        ("#record.digest(rec)", "20"),
        ("record.numbins(rec)", "5"),
        ("#record.bin_names(rec)", "5"),
        ("record.last_update_time(rec)", "12345"),
        ("record.size(rec)", "128"),
        ("aerospike:exists(rec)", "true"),
        ("rec['a name of sixteen']", "nil"),
    ] {
        text(body, expected);
    }
    let absent = |body: &str| returned(&format!("return tostring({body})"), None).value;
    assert_eq!(
        absent("record.ttl(rec) + record.gen(rec) + record.numbins(rec)"),
        (3, b"0".into())
    );
    assert_eq!(absent("aerospike:exists(rec)"), (3, b"false".into()));
    assert_eq!(absent("aerospike:update(rec)"), (3, b"-2".into()));
    assert_eq!(absent("aerospike:remove(rec)"), (3, b"1".into()));
}

#[test]
fn only_what_was_created_or_updated_is_written() {
    let int = |value: i64| Some((ParticleType::Integer, value.to_be_bytes().to_vec()));
    let change = |body: &str| returned(body, Some(record())).change;
    assert_eq!(change("rec.n = 8"), None);
    let updated = Change {
        bins: vec![(b"n".to_vec(), int(8)), (b"t".to_vec(), None)],
        ..Change::default()
    };
    assert_eq!(
        change("rec.n = 8 rec.t = nil aerospike:update(rec) rec.n = 9"),
        Some(updated)
    );
    assert_eq!(change("aerospike:update(rec)"), Some(Change::default()));
    let removed = Change {
        wiped: true,
        ..Change::default()
    };
    assert_eq!(change("rec.n = 8 aerospike:remove(rec)"), Some(removed));
    let again = Change {
        wiped: true,
        bins: vec![(b"z".to_vec(), int(1))],
        ttl: Some(-1),
        drops_key: true,
    };
    assert_eq!(
        change(
            "aerospike:remove(rec) rec.z = 1 record.set_ttl(rec, -1) record.drop_key(rec) aerospike:create(rec)"
        ),
        Some(again)
    );
    assert_eq!(change("return aerospike:create(rec)"), None);
    let after = "aerospike:remove(rec) return tostring(rec.n)";
    assert_eq!(returned(after, Some(record())).value, (3, b"nil".into()));
}

#[test]
fn a_write_that_is_rejected_leaves_its_code_until_one_that_is_not() {
    let record_in_bin = "rec.z = rec local r = aerospike:update(rec)";
    let ended = returned(&format!("{record_in_bin} return r"), Some(record()));
    assert_eq!(ended.value, (1, (-1_i64).to_be_bytes().to_vec()));
    assert_eq!((ended.rejected, ended.change), (Some(12), None));
    let mended = format!("{record_in_bin} rec.z = 1 aerospike:update(rec)");
    assert_eq!(returned(&mended, Some(record())).rejected, None);
    let many = "for i = 1, 1025 do rec['b' .. i] = i end aerospike:update(rec)";
    assert_eq!(returned(many, Some(record())).rejected, Some(21));
    let deep = "local l = list() for i = 1, 200 do l = list{l} end rec.z = l aerospike:update(rec)";
    assert_eq!(returned(deep, Some(record())).rejected, Some(4));
    let itself = "local l = list() list.append(l, l) rec.z = l aerospike:update(rec)";
    assert_eq!(returned(itself, Some(record())).rejected, Some(4));
    assert!(failure("rec.z = {}").ends_with("can't set bin z to unsupported type"));
}

#[test]
fn a_failure_says_file_line_and_what() {
    assert_eq!(failure("\n error('no')"), "m.lua:2: no");
    assert_eq!(failure("error({})"), "result value type unexpected");
    assert_eq!(failure("error()"), "result value type unexpected");
    assert!(failure("local a = nil + 1").starts_with("m.lua:1: attempt to perform arithmetic"));
    let missing = run_in("function g() end", None, 1000);
    assert_eq!(missing, Ended::Failed(b"function not found".to_vec()));
}

#[test]
fn files_processes_and_bytecode_are_out_of_reach() {
    for name in [
        "io",
        "dofile",
        "loadfile",
        "os.execute",
        "os.getenv",
        "os.remove",
        "os.exit",
        "string.dump",
        "package.loadlib",
        "package.searchers",
        "os.tmpname",
        "os.rename",
    ] {
        text(name, "nil");
    }
    text("type(debug)", "function");
    text("load('\\27Lua')", "nil");
    text("(load('return 1', 'x', 'b'))()", "1");
    assert!(failure("require('os.path')").contains("module 'os.path' not found"));
    assert!(failure("setmetatable({}, {__gc = print})").contains("__gc is not allowed"));
    assert!(failure("table.move({}, 1, math.maxinteger - 1, 1)").contains("too many elements"));
    let fake = "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)";
    assert!(failure(fake).contains("without a metatable"));
}

#[test]
fn no_loop_outlives_its_time() {
    for body in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "local w = coroutine.wrap(function() while true do end end) while true do pcall(w) end",
        "local t = {} for i = 1, 100 do t[i] = i end \
         while true do table.sort(t, function(a, b) return a > b end) end",
        "string.gsub(('x'):rep(1000), '.', function() while true do end end)",
        "map.merge(map{a = 1}, map{a = 1}, function() while true do end end)",
        "local function deep() pcall(deep) while true do end end deep()",
        "local l = list{1} for i = 1, 100 do l = list{l, l} end return l", // packed many times over
        "setmetatable(_G, {__index = function() while true do end end}) local a = unknown",
    ] {
        let text = format!("function f() {body} end");
        let began_us = clock::monotonic_us();
        let ended = run_in(&text, None, 100);
        let took_us = clock::monotonic_us() - began_us;
        let Ended::Failed(why) = ended else {
            panic!("{body}: {ended:?}");
        };
        let why = String::from_utf8(why).unwrap();
        assert!(why.contains(TIMEOUT), "{body}: {why}");
        assert!(took_us < 1_000_000, "{body}: {took_us} us");
    }
    let loading = run_in("while true do end", None, 100);
    assert!(
        matches!(loading, Ended::Failed(why) if String::from_utf8_lossy(&why).contains(TIMEOUT))
    );
}

#[test]
fn no_call_takes_more_memory_than_it_may() {
    for body in [
        "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(10000) .. i end",
        "local s = 'x' while true do s = s .. s end",
        "local s = ('x'):rep(1 << 40)",
        "local l = list() for i = 1, 1e9 do list.append(l, ('x'):rep(10000) .. i) end",
        "local m = map() for i = 1, 1e9 do m[i] = ('x'):rep(10000) .. i end",
        "local t = {} for i = 1, 1e9 do local b = bytes() bytes.set_size(b, 1 << 20) t[i] = b end",
        "for i = 1, 1e9 do rec['b' .. i % 1000] = ('x'):rep(1 << 20) .. i end",
        "local function deep(n) return deep(n + 1) + 1 end deep(1)",
    ] {
        let why = failure_within(body, 60_000);
        let out = why.contains("not enough memory")
            || why.contains("stack overflow")
            || why.contains("resulting string too large");
        assert!(out, "{body}: {why}");
    }
}

fn failure_within(body: &str, patience_ms: u64) -> String {
    let text = format!("function f(rec) {body} end");
    match run_in(&text, Some(record()), patience_ms) {
        Ended::Returned(returned) => panic!("{body}: {returned:?}"),
        Ended::Failed(why) => String::from_utf8(why).unwrap(),
    }
}

#[test]
fn modules_find_each_other() {
    let texts = [
        (
            "a.lua",
            "local b = require('b') function f() return b.seven() + c end",
        ),
        (
            "b.lua",
            "require('c') return { seven = function() return 7 end }",
        ),
        ("c.lua", "c = 1"),
    ];
    let modules = modules(&texts);
    let deadline_us = clock::monotonic_us() + 1_000_000;
    let loaded = |file| State::load(&modules, modules.get(file).unwrap(), deadline_us);
    let state = loaded("a.lua").map_err(|why| why.message).unwrap();
    let ended = state.run(call(&modules, "a"), deadline_us);
    let Ended::Returned(returned) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(returned.value, (1, 8_i64.to_be_bytes().to_vec()));
}

#[test]
fn a_faulty_module_is_told_by_line() {
    let modules = Modules::default();
    let check = |text: &str| {
        let deadline_us = clock::monotonic_us() + 1_000_000;
        let loaded = State::load(&modules, &module("m.lua", text), deadline_us);
        loaded.map(drop).unwrap_err()
    };
    let unfinished = check("local a = 1\nfunction f(");
    assert_eq!(unfinished.line, 2);
    assert!(unfinished.message.starts_with("<name>"), "{unfinished:?}");
    let failing = check("\n\nerror('at load')");
    assert_eq!((failing.line, &*failing.message), (3, "at load"));
}

fn call(modules: &Modules, module: &str) -> Call {
    Call {
        modules: modules.clone(),
        module: module.into(),
        function: "f".into(),
        arguments: vec![0x90],
        record: Subject {
            digest: [0; 20],
            set: vec![],
            found: None,
        },
    }
}

#[tokio::test]
async fn one_endless_call_does_not_keep_others_from_running() {
    let functions = Functions::new(2);
    let modules = modules(&[
        ("endless.lua", "function f() while true do end end"),
        ("quick.lua", "function f() return 1 end"),
    ]);
    let endless = functions.run(call(&modules, "endless"), Duration::from_millis(500));
    let quick = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut done = 0;
        for _ in 0..20 {
            let ended = functions
                .run(call(&modules, "quick"), Duration::from_millis(200))
                .await;
            done += usize::from(matches!(ended, Ok(Ended::Returned(_))));
        }
        done
    };
    let (endless, quick) = tokio::join!(endless, quick);
    assert_eq!(quick, 20);
    match endless {
        Ok(Ended::Failed(why)) => assert!(String::from_utf8_lossy(&why).contains(TIMEOUT)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_thread_that_cannot_be_stopped_is_replaced() {
    let functions = Functions::new(1);
    // A pattern that tries far more ways than there is time for, all of it inside of C.
    let stuck = "function f() return (('a'):rep(4000)):find(('a-'):rep(4) .. 'b') end";
    let modules = modules(&[
        ("stuck.lua", stuck),
        ("quick.lua", "function f() return 1 end"),
    ]);
    let run = |module: &str, ms| functions.run(call(&modules, module), Duration::from_millis(ms));
    let (a, b) = tokio::join!(run("stuck", 50), run("stuck", 50));
    assert_eq!((a, b), (Err(NotRun::Late), Err(NotRun::Late)));
    let ended = run("quick", 1000).await;
    assert!(matches!(ended, Ok(Ended::Returned(_))), "{ended:?}");
    assert_eq!(functions.lost(), 2);
}
