//! Expressions of Karst's own client are byte for byte those of the official Rust client.
//!
//! Where the two differ on purpose the test says so: official clients have two flags of patterns the other way
//! round than servers.

use std::collections::HashMap;

use aerospike::expressions::{self as theirs, ExpType, LoopVarPart, bitwise, hll as their_hll};
use aerospike::expressions::{lists, maps};
use aerospike::operations::MapOrder as TheirOrder;
use aerospike::operations::bitwise::{
    BitPolicy, BitwiseOverflowActions, BitwiseResizeFlags, BitwiseWriteFlags,
};
use aerospike::operations::cdt_context::{ctx_all_children, ctx_list_index, ctx_map_key};
use aerospike::operations::hll::HllPolicy;
use aerospike::operations::path::{ModifyFlag, SelectFlag};
use aerospike::{
    ListOrderType, ListPolicy as TheirListPolicy, ListReturnType, ListSortFlags, ListWriteFlags,
    MapPolicy as TheirMapPolicy, MapReturnType, MapWriteFlags, RegexFlags as TheirRegexFlags,
    Value as TheirValue,
};
use karst_client::expr::Type;
use karst_client::{
    BitsFlags, Context, Expr, ListFlags, ListPolicy, ListReturn, MapFlags, MapPolicy, MapReturn,
    NumberFlags, RegexFlags, ResizeFlags, SortFlags, Unknown, Value, bits, hll, list, map, path,
};

type Theirs = theirs::Expression;

#[track_caller]
fn same(ours: Expr, theirs: Theirs) {
    let theirs = theirs.base64().expect("the official client packs it");
    assert_eq!(ours.to_base64(), theirs);
}

fn int(value: i64) -> Theirs {
    theirs::int_val(value)
}

fn text(value: &str) -> Theirs {
    theirs::string_val(value)
}

#[test]
fn facts_and_literals() {
    same(true.into(), theirs::bool_val(true));
    same((-7).into(), int(-7));
    same(i64::MAX.into(), int(i64::MAX));
    same(i64::MIN.into(), int(i64::MIN));
    same(300.into(), int(300));
    same(1.5.into(), theirs::float_val(1.5));
    same("text".into(), text("text"));
    same("x".repeat(40).into(), text(&"x".repeat(40)));
    same(b"\x00\xff".into(), theirs::blob_val(vec![0, 255]));
    same(Value::Nil.into(), theirs::nil());
    same(Value::Infinity.into(), theirs::infinity());
    same(Value::Wildcard.into(), theirs::wildcard());
    let list = vec![TheirValue::Int(1), TheirValue::String("a".into())];
    let ours: Vec<Value> = vec![1.into(), "a".into()];
    same(Value::List(ours).into(), theirs::list_val(list));
    let pairs = HashMap::from([(TheirValue::Int(1), TheirValue::Int(2))]);
    same(Value::map([(1, 2)]).into(), theirs::map_val(pairs));
    let point = r#"{"type":"Point","coordinates":[8.5,47.4]}"#;
    same(Value::GeoJson(point.into()).into(), theirs::geo_val(point));
    same(Expr::key(Type::Int), theirs::key(ExpType::Int));
    same(Expr::key_exists(), theirs::key_exists());
    same(Expr::set_name(), theirs::set_name());
    same(Expr::record_size(), theirs::record_size());
    same(Expr::last_update(), theirs::last_update());
    same(Expr::since_update(), theirs::since_update());
    same(Expr::void_time(), theirs::void_time());
    same(Expr::ttl(), theirs::ttl());
    same(Expr::is_tombstone(), theirs::is_tombstone());
    same(Expr::digest_modulo(3), theirs::digest_modulo(3));
    same(Expr::bin_exists("a"), theirs::bin_exists("a"));
    same(Expr::bin_type("a"), theirs::bin_type("a"));
    same(Expr::int_bin("a"), theirs::int_bin("a"));
    same(Expr::float_bin("a"), theirs::float_bin("a"));
    same(Expr::bool_bin("a"), theirs::bool_bin("a"));
    same(Expr::string_bin("a"), theirs::string_bin("a"));
    same(Expr::blob_bin("a"), theirs::blob_bin("a"));
    same(Expr::list_bin("a"), theirs::list_bin("a"));
    same(Expr::map_bin("a"), theirs::map_bin("a"));
    same(Expr::geo_bin("a"), theirs::geo_bin("a"));
    same(Expr::hll_bin("a"), theirs::hll_bin("a"));
}

#[test]
fn logic_choices_and_names() {
    let (a, b) = (|| Expr::int_bin("a"), || theirs::int_bin("a"));
    same(a().eq(1), theirs::eq(b(), int(1)));
    same(a().ne(1), theirs::ne(b(), int(1)));
    same(a().gt(1), theirs::gt(b(), int(1)));
    same(a().ge(1), theirs::ge(b(), int(1)));
    same(a().lt(1), theirs::lt(b(), int(1)));
    same(a().le(1), theirs::le(b(), int(1)));
    let (few, many) = (a().lt(3), a().gt(9));
    let (their_few, their_many) = (theirs::lt(b(), int(3)), theirs::gt(b(), int(9)));
    same(
        few.clone().and(many.clone()),
        theirs::and(vec![their_few.clone(), their_many.clone()]),
    );
    same(
        few.clone().or(many.clone()),
        theirs::or(vec![their_few.clone(), their_many.clone()]),
    );
    same(
        Expr::exactly_one([few.clone(), many.clone()]),
        theirs::xor(vec![their_few.clone(), their_many.clone()]),
    );
    same(!few.clone(), theirs::not(their_few.clone()));
    same(
        Expr::when(few, 1).when(many, 2).otherwise(Expr::unknown()),
        theirs::cond(vec![
            their_few,
            int(1),
            their_many,
            int(2),
            theirs::unknown(),
        ]),
    );
    same(
        Expr::define(
            [("x", a()), ("y", Expr::variable("x") + 1)],
            Expr::variable("y").gt(5),
        ),
        theirs::exp_let(vec![
            theirs::def("x", b()),
            theirs::def("y", theirs::num_add(vec![theirs::var("x"), int(1)])),
            theirs::gt(theirs::var("y"), int(5)),
        ]),
    );
    // Servers read 1 and 2 as both clients do; 4 and 8 official clients have the other way round.
    same(
        Expr::string_bin("s").matches("^a.*", RegexFlags::EXTENDED | RegexFlags::IGNORE_CASE),
        theirs::regex_compare(
            "^a.*",
            TheirRegexFlags::EXTENDED | TheirRegexFlags::ICASE,
            theirs::string_bin("s"),
        ),
    );
    same(
        Expr::geo_bin("g").geo_compare(Value::GeoJson("{}".into())),
        theirs::geo_compare(theirs::geo_bin("g"), theirs::geo_val("{}")),
    );
    same(
        a().is_in(Expr::list_bin("l")),
        theirs::in_list(b(), theirs::list_bin("l")),
    );
    same(
        Expr::map_bin("m").map_keys(),
        theirs::map_keys(theirs::map_bin("m")),
    );
    same(
        Expr::map_bin("m").map_values(),
        theirs::map_values(theirs::map_bin("m")),
    );
}

#[test]
fn arithmetic() {
    let (a, b) = (|| Expr::int_bin("a"), || theirs::int_bin("a"));
    let (f, g) = (|| Expr::float_bin("f"), || theirs::float_bin("f"));
    same(a() + 1, theirs::num_add(vec![b(), int(1)]));
    same(a() - 1, theirs::num_sub(vec![b(), int(1)]));
    same(a() * 2, theirs::num_mul(vec![b(), int(2)]));
    same(a() / 2, theirs::num_div(vec![b(), int(2)]));
    same(a() % 2, theirs::num_mod(b(), int(2)));
    same(f().pow(2.0), theirs::num_pow(g(), theirs::float_val(2.0)));
    same(f().log(2.0), theirs::num_log(g(), theirs::float_val(2.0)));
    same(a().abs(), theirs::num_abs(b()));
    same(f().floor(), theirs::num_floor(g()));
    same(f().ceil(), theirs::num_ceil(g()));
    same(f().to_int(), theirs::to_int(g()));
    same(a().to_float(), theirs::to_float(b()));
    same(a().bit_and(3), theirs::int_and(vec![b(), int(3)]));
    same(a().bit_or(3), theirs::int_or(vec![b(), int(3)]));
    same(a().bit_xor(3), theirs::int_xor(vec![b(), int(3)]));
    same(a().bit_not(), theirs::int_not(b()));
    same(a().shift_left(3), theirs::int_lshift(b(), int(3)));
    same(a().shift_right(3), theirs::int_rshift(b(), int(3)));
    same(a().shift_right_signed(3), theirs::int_arshift(b(), int(3)));
    same(a().bit_count(), theirs::int_count(b()));
    let yes = theirs::bool_val(true);
    same(a().first_bit(true), theirs::int_lscan(b(), yes.clone()));
    same(a().last_bit(true), theirs::int_rscan(b(), yes));
    same(Expr::least([a(), 3.into()]), theirs::min(vec![b(), int(3)]));
    same(
        Expr::greatest([a(), 3.into()]),
        theirs::max(vec![b(), int(3)]),
    );
}

#[test]
fn calls_on_lists() {
    let (l, m) = (|| Expr::list_bin("l"), || theirs::list_bin("l"));
    let policy = TheirListPolicy::new(ListOrderType::Unordered, ListWriteFlags::ADD_UNIQUE);
    let unique = ListPolicy::default().with_flags(ListFlags::UNIQUE);
    same(
        list::append("a").policy(unique).of(l()),
        lists::append(policy, text("a"), m(), &[]),
    );
    let items = theirs::list_val(vec![TheirValue::Int(1)]);
    same(
        list::append_items([1]).of(l()),
        lists::append_items(TheirListPolicy::default(), items.clone(), m(), &[]),
    );
    same(
        list::insert(1, "a").of(l()),
        lists::insert(TheirListPolicy::default(), int(1), text("a"), m(), &[]),
    );
    same(
        list::set(1, Expr::int_bin("a")).of(l()),
        lists::set(
            TheirListPolicy::default(),
            int(1),
            theirs::int_bin("a"),
            m(),
            &[],
        ),
    );
    same(
        list::increment(0, 5).of(l()),
        lists::increment(TheirListPolicy::default(), int(0), int(5), m(), &[]),
    );
    same(list::clear().of(l()), lists::clear(m(), &[]));
    same(
        list::sort(SortFlags::DROP_DUPLICATES).of(l()),
        lists::sort(ListSortFlags::DROP_DUPLICATES, m(), &[]),
    );
    same(list::size().of(l()), lists::size(m(), &[]));
    let values = ListReturnType::VALUES;
    same(
        list::get_by_index(-1, ListReturn::VALUE)
            .gives(Type::Int)
            .of(l()),
        lists::get_by_index(values, ExpType::Int, int(-1), m(), &[]),
    );
    same(
        list::get_by_index_range(1, .., ListReturn::VALUE).of(l()),
        lists::get_by_index_range(values, int(1), m(), &[]),
    );
    same(
        list::get_by_index_range(1, 2, ListReturn::VALUE).of(l()),
        lists::get_by_index_range_count(values, int(1), int(2), m(), &[]),
    );
    same(
        list::get_by_rank(0, ListReturn::VALUE)
            .gives(Type::String)
            .of(l()),
        lists::get_by_rank(values, ExpType::String, int(0), m(), &[]),
    );
    same(
        list::get_by_value(3, ListReturn::COUNT).of(l()),
        lists::get_by_value(ListReturnType::COUNT, int(3), m(), &[]),
    );
    same(
        list::get_by_value_range(.., 9, ListReturn::VALUE.inverted()).of(l()),
        lists::get_by_value_range(values.inverted(), None, Some(int(9)), m(), &[]),
    );
    same(
        list::get_near_value(5, -1, 2, ListReturn::VALUE).of(l()),
        lists::get_by_value_relative_rank_range_count(values, int(5), int(-1), int(2), m(), &[]),
    );
    same(
        list::remove_by_values(Value::list([1]), ListReturn::NONE).of(l()),
        lists::remove_by_value_list(ListReturnType::NONE, items, m(), &[]),
    );
    same(
        list::remove_by_rank_range(0, 2, ListReturn::NONE).of(l()),
        lists::remove_by_rank_range_count(ListReturnType::NONE, int(0), int(2), m(), &[]),
    );
    let context = [
        ctx_map_key(TheirValue::String("k".into())),
        ctx_list_index(0),
    ];
    let path = [Context::map_key("k"), Context::list_index(0)];
    same(
        list::append(1).within(path).of(Expr::map_bin("m")),
        lists::append(
            TheirListPolicy::default(),
            int(1),
            theirs::map_bin("m"),
            &context,
        ),
    );
}

#[test]
fn calls_on_maps() {
    let (m, n) = (|| Expr::map_bin("m"), || theirs::map_bin("m"));
    let policy = TheirMapPolicy::new(TheirOrder::KeyOrdered, MapWriteFlags::CREATE_ONLY);
    let create = MapPolicy::default().with_flags(MapFlags::CREATE_ONLY);
    same(
        map::put("k", 1).policy(create).of(m()),
        maps::put(&policy, text("k"), int(1), n(), &[]),
    );
    let policy = TheirMapPolicy::new(TheirOrder::KeyOrdered, MapWriteFlags::DEFAULT);
    same(
        map::put("k", 1).of(m()),
        maps::put(&policy, text("k"), int(1), n(), &[]),
    );
    same(
        map::increment("k", 1).of(m()),
        maps::increment(&policy, text("k"), int(1), n(), &[]),
    );
    same(map::size().of(m()), maps::size(n(), &[]));
    same(map::clear().of(m()), maps::clear(n(), &[]));
    same(
        map::get_by_key("k", MapReturn::VALUE)
            .gives(Type::Int)
            .of(m()),
        maps::get_by_key(MapReturnType::VALUE, ExpType::Int, text("k"), n(), &[]),
    );
    same(
        map::get_by_key_range("a", .., MapReturn::KEY).of(m()),
        maps::get_by_key_range(MapReturnType::KEY, Some(text("a")), None, n(), &[]),
    );
    same(
        map::get_by_value_range(1, 9, MapReturn::COUNT).of(m()),
        maps::get_by_value_range(MapReturnType::COUNT, Some(int(1)), Some(int(9)), n(), &[]),
    );
    same(
        map::get_near_key("k", 1, 2, MapReturn::KEY).of(m()),
        maps::get_by_key_relative_index_range_count(
            MapReturnType::KEY,
            text("k"),
            int(1),
            int(2),
            n(),
            &[],
        ),
    );
    same(
        map::get_by_rank_range(-2, 2, MapReturn::KEY).of(m()),
        maps::get_by_rank_range_count(MapReturnType::KEY, int(-2), int(2), n(), &[]),
    );
    same(
        map::remove_by_key("k", MapReturn::NONE).of(m()),
        maps::remove_by_key(MapReturnType::NONE, text("k"), n(), &[]),
    );
    same(
        map::remove_by_index_range(1, .., MapReturn::NONE).of(m()),
        maps::remove_by_index_range(MapReturnType::NONE, int(1), n(), &[]),
    );
    // The official client leaves out of expressions that a step is to make what is missing.
    let context = [ctx_map_key(TheirValue::String("k".into()))];
    let step = Context::map_key("k");
    same(
        map::put("a", 1).within([step]).of(m()),
        maps::put(&policy, text("a"), int(1), n(), &context),
    );
}

#[test]
fn calls_on_bits_and_sketches() {
    let (b, c) = (|| Expr::blob_bin("b"), || theirs::blob_bin("b"));
    let policy = BitPolicy::new(BitwiseWriteFlags::NO_FAIL);
    same(
        bits::resize(4, ResizeFlags::GROW_ONLY)
            .policy(BitsFlags::NO_FAIL)
            .of(b()),
        bitwise::resize(&policy, int(4), BitwiseResizeFlags::GROW_ONLY, c()),
    );
    let policy = BitPolicy::default();
    same(
        bits::set(0, 8, b"\xff").of(b()),
        bitwise::set(&policy, int(0), int(8), theirs::blob_val(vec![255]), c()),
    );
    same(
        bits::add(0, 8, 1, NumberFlags::SIGNED | NumberFlags::SATURATE).of(b()),
        bitwise::add(
            &policy,
            int(0),
            int(8),
            int(1),
            true,
            BitwiseOverflowActions::Saturate,
            c(),
        ),
    );
    same(
        bits::count(0, 8).of(b()),
        bitwise::count(int(0), int(8), c()),
    );
    same(
        bits::first(0, 8, true).of(b()),
        bitwise::lscan(int(0), int(8), theirs::bool_val(true), c()),
    );
    same(
        bits::get_int(0, 8, true).of(b()),
        bitwise::get_int(int(0), int(8), true, c()),
    );
    same(
        bits::get_int(0, 8, false).of(b()),
        bitwise::get_int(int(0), int(8), false, c()),
    );
    let (h, i) = (|| Expr::hll_bin("h"), || theirs::hll_bin("h"));
    let seen = theirs::list_val(vec![TheirValue::String("x".into())]);
    same(hll::count().of(h()), their_hll::get_count(i()));
    same(hll::describe().of(h()), their_hll::describe(i()));
    same(
        hll::add(Value::list(["x"])).of(h()),
        their_hll::add(HllPolicy::default(), seen.clone(), i()),
    );
    same(
        hll::may_contain(Value::list(["x"])).of(h()),
        their_hll::may_contain(seen, i()),
    );
    let sketch = [&[0, 4, 0][..], &[0; 20]].concat();
    same(
        hll::union_count(Value::list([Value::Hll(sketch.clone())])).of(h()),
        their_hll::get_union_count(theirs::list_val(vec![TheirValue::Hll(sketch)]), i()),
    );
}

#[test]
fn paths_to_many_elements() {
    let context = [
        ctx_map_key(TheirValue::String("books".into())),
        ctx_all_children(),
    ];
    let paths = || [Context::map_key("books"), Context::all_children()];
    same(
        path::select(paths(), path::Select::VALUES, Unknown::Fails).of(Expr::map_bin("m")),
        theirs::exp_select_by_path(
            ExpType::List,
            SelectFlag::VALUE,
            theirs::map_bin("m"),
            &context,
        ),
    );
    let price = theirs::exp_float_loop_var(LoopVarPart::VALUE);
    let dearer = theirs::num_mul(vec![price, theirs::float_val(1.1)]);
    same(
        path::modify(
            paths(),
            Expr::item_value(Type::Float) * 1.1,
            Unknown::PassedOver,
        )
        .gives(Type::Map)
        .of(Expr::map_bin("m")),
        theirs::exp_modify_by_path(
            ExpType::Map,
            ModifyFlag::NO_FAIL,
            theirs::map_bin("m"),
            dearer,
            &context,
        ),
    );
}
