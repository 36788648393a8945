//! What the builders make is accepted by the parser that Karst's nodes use, with the type it is meant to have,
//! and is byte for byte what the protocol's examples say.

use karst_data::cdt::{Access, CdtOp};
use karst_data::expr::Expr as Parsed;
use karst_wire::command::{CommandError, message};
use karst_wire::frame::MessageHeader;
use karst_wire::response::Answer;

use super::*;
use crate::{
    Call, CallPolicy, Context, ListFlags, ListOrder, ListPolicy, ListReturn, MapOrder, MapReturn,
    NumberFlags, Operation, ResizeFlags, SortFlags, Unknown, bits, hll, list, map, path,
};

#[track_caller]
fn check(expression: Expr, gives: Type) {
    assert_eq!(expression.fault(), None);
    let parsed = Parsed::parse(expression.as_bytes());
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {:02x?}", expression.as_bytes()));
    assert_eq!(parsed.result_type(), gives);
}

#[track_caller]
fn bytes(expression: Expr, expected: &[u8]) {
    assert_eq!(expression.as_bytes(), expected);
}

#[test]
fn expressions_are_byte_for_byte_the_protocols_examples() {
    bytes(
        Expr::int_bin("a").gt(5),
        &[0x93, 3, 0x93, 0x51, 2, 0xa1, b'a', 5],
    );
    bytes(
        Expr::since_update().lt(1000),
        &[0x93, 5, 0x91, 0x43, 0xcd, 3, 0xe8],
    );
    let in_map = map::get_by_key("k", MapReturn::VALUE).gives(Type::Int);
    bytes(
        in_map.of(Expr::map_bin("m")).eq(1),
        &[
            0x93, 1, 0x95, 0x7f, 2, 0, 0x93, 0x61, 7, 0xa2, 3, b'k', 0x93, 0x51, 5, 0xa1, b'm', 1,
        ],
    );
    let x = || Expr::variable("x");
    bytes(
        Expr::define([("x", Expr::int_bin("a"))], (x() * x()).gt(10)),
        &[
            0x94, 0x7d, 0xa1, b'x', 0x93, 0x51, 2, 0xa1, b'a', 0x93, 3, 0x93, 0x16, 0x92, 0x7c,
            0xa1, b'x', 0x92, 0x7c, 0xa1, b'x', 10,
        ],
    );
    bytes(Value::list([1, 2]).into(), &[0x92, 126, 0x92, 1, 2]);
}

#[test]
fn facts_and_literals_have_their_types() {
    check(true.into(), Type::Bool);
    check(7.into(), Type::Int);
    check(1.5.into(), Type::Float);
    check("text".into(), Type::String);
    check(b"\x01".into(), Type::Blob);
    check(Value::Nil.into(), Type::Nil);
    check(Value::list(["a"]).into(), Type::List);
    check(Value::map([("a", 1)]).into(), Type::Map);
    check(Expr::key(Type::String), Type::String);
    check(Expr::key_exists(), Type::Bool);
    check(Expr::set_name().eq("users"), Type::Bool);
    check(Expr::record_size().gt(1 << 20), Type::Bool);
    check(Expr::last_update(), Type::Int);
    check(Expr::void_time(), Type::Int);
    check(Expr::ttl(), Type::Int);
    check(Expr::is_tombstone(), Type::Bool);
    check(Expr::digest_modulo(10).eq(3), Type::Bool);
    check(Expr::bin_exists("a"), Type::Bool);
    for of in [
        Type::Bool,
        Type::Int,
        Type::Float,
        Type::String,
        Type::Blob,
        Type::List,
        Type::Map,
        Type::Hll,
        Type::GeoJson,
    ] {
        check(Expr::bin(of, "a"), of);
    }
}

#[test]
fn logic_and_choices_have_their_types() {
    let a = || Expr::int_bin("a");
    check(a().ge(1).and(a().le(9)).or(a().ne(4)), Type::Bool);
    check(!a().eq(1), Type::Bool);
    check(Expr::exactly_one([a().eq(1), a().eq(2)]), Type::Bool);
    check(Expr::all([]), Type::Bool);
    check(Expr::any([a().lt(3)]), Type::Bool);
    check(
        Expr::string_bin("s").matches("^a.*z$", RegexFlags::EXTENDED | RegexFlags::IGNORE_CASE),
        Type::Bool,
    );
    check(a().is_in(Value::list([1, 2, 3])), Type::Bool);
    check(Expr::map_bin("m").map_keys(), Type::List);
    check(Expr::map_bin("m").map_values(), Type::List);
    let fare = Expr::when(a().lt(6), 0).when(a().lt(15), 50);
    check(fare.clone().otherwise(100), Type::Int);
    check(fare.otherwise(Expr::unknown()), Type::Int);
}

#[test]
fn arithmetic_has_its_types() {
    let (a, f) = (|| Expr::int_bin("a"), || Expr::float_bin("f"));
    check((a() + 1 - a() * 2) / 3 % 4, Type::Int);
    check(-a(), Type::Int);
    check(f().pow(2.0).log(10.0).floor().ceil().to_int(), Type::Int);
    check(a().to_float().abs(), Type::Float);
    check(Expr::least([a(), 3.into()]), Type::Int);
    check(Expr::greatest([f(), 3.0.into()]), Type::Float);
    check(
        a().bit_and(1).bit_or(2).bit_xor(3).bit_not().bit_count(),
        Type::Int,
    );
    check(
        a().shift_left(1).shift_right(1).shift_right_signed(1),
        Type::Int,
    );
    check(a().first_bit(true) + a().last_bit(false), Type::Int);
}

#[test]
fn calls_in_expressions_have_their_types() {
    let (l, m) = (|| Expr::list_bin("l"), || Expr::map_bin("m"));
    check(list::size().of(l()), Type::Int);
    check(
        list::get_by_index(0, ListReturn::VALUE)
            .gives(Type::String)
            .of(l()),
        Type::String,
    );
    check(
        list::get_by_value(Expr::int_bin("a"), ListReturn::EXISTS).of(l()),
        Type::Bool,
    );
    check(
        list::get_by_rank_range(-3, .., ListReturn::VALUE).of(l()),
        Type::List,
    );
    check(
        list::append(Expr::int_bin("a"))
            .policy(ListPolicy::default().with_flags(ListFlags::UNIQUE | ListFlags::NO_FAIL))
            .of(l()),
        Type::List,
    );
    check(list::sort(SortFlags::DESCENDING).of(l()), Type::List);
    check(
        list::get_by_values(Value::list([1, 2]), ListReturn::COUNT.inverted()).of(l()),
        Type::Int,
    );
    check(
        map::get_by_key_range("a", "b", MapReturn::PAIRS).of(m()),
        Type::Map,
    );
    check(map::put("a", Value::list([1])).of(Value::Nil), Type::Map);
    let nested = list::append(1).within([Context::map_key("l")]);
    check(nested.of(m()), Type::Map);
    let nested = map::put("k", 1).within([Context::list_index(0)]);
    check(nested.of(l()), Type::List);
    let nested = map::size().within([Context::list_rank(-1)]);
    check(nested.of(l()), Type::Int);
    check(bits::count(0, 8).of(Expr::blob_bin("b")), Type::Int);
    let added = bits::add(0, 8, 1, NumberFlags::WRAP);
    check(added.of(Expr::blob_bin("b")), Type::Blob);
    check(
        bits::resize(4, ResizeFlags::NONE).of(Expr::blob_bin("b")),
        Type::Blob,
    );
    check(hll::count().of(Expr::hll_bin("h")), Type::Int);
    check(
        hll::similarity(Value::list([Value::Hll(sketch())])).of(Expr::hll_bin("h")),
        Type::Float,
    );
    check(
        hll::add_or_create(Value::list(["x"]), 12, -1).of(Value::Nil),
        Type::Hll,
    );
}

/// A sketch of four index bits that has seen nothing.
fn sketch() -> Vec<u8> {
    [&[0, 4, 0][..], &[0; 8], &[0; 12]].concat()
}

#[test]
fn paths_to_many_elements_are_accepted_in_both_places() {
    let price = || Expr::item_value(Type::Float);
    let paths = || {
        [
            Context::map_key("books"),
            Context::all_children(),
            Context::map_keys(["price", "was"]),
            Context::also(price().gt(20.0)),
        ]
    };
    check(
        path::select(paths(), path::Select::VALUES, Unknown::Fails).of(Expr::map_bin("m")),
        Type::List,
    );
    check(
        path::modify(paths(), price() * 0.9, Unknown::PassedOver)
            .gives(Type::Map)
            .of(Expr::map_bin("m")),
        Type::Map,
    );
    cdt(
        path::select(paths(), path::Select::TREE, Unknown::Fails),
        Access::Read,
    );
    cdt(
        path::modify(paths(), Expr::remove_item(), Unknown::Fails),
        Access::Modify,
    );
}

/// Checks that nodes read a call as an operation.
#[track_caller]
fn cdt<P: CallPolicy>(call: Call<P>, access: Access) {
    let mut out = vec![];
    let operation = call.bin("c");
    message(&mut out, MessageHeader::default(), |body| {
        operation.encode(body)
    })
    .unwrap();
    let sent = Answer::single(&out[8..]).unwrap(); // operations look the same in both directions
    let value = sent.ops().next().unwrap().value;
    CdtOp::parse(value, access).unwrap_or_else(|error| panic!("{error}: {value:02x?}"));
}

#[test]
fn nodes_read_every_call_on_lists() {
    use ListReturn as Is;
    let (read, modify) = (Access::Read, Access::Modify);
    cdt(list::create(ListOrder::Ordered, false), modify);
    cdt(list::set_order(ListOrder::Unordered), modify);
    cdt(list::append("a"), modify);
    cdt(list::append_items([1, 2]), modify);
    cdt(list::insert(0, "a"), modify);
    cdt(list::insert_items(0, ["a"]), modify);
    cdt(list::set(-1, Value::Nil), modify);
    cdt(list::increment(0, 1.5), modify);
    cdt(list::pop(-1), modify);
    cdt(list::pop_range(0, 2), modify);
    cdt(list::pop_range(0, ..), modify);
    cdt(list::trim(1, 2), modify);
    cdt(list::clear(), modify);
    cdt(list::sort(SortFlags::DROP_DUPLICATES), modify);
    cdt(list::size(), read);
    cdt(list::get_by_index(0, Is::VALUE), read);
    cdt(list::get_by_index_range(0, 2, Is::RANK), read);
    cdt(list::get_by_rank(-1, Is::INDEX), read);
    cdt(list::get_by_rank_range(0, .., Is::VALUE.inverted()), read);
    cdt(list::get_by_value(1, Is::EXISTS), read);
    cdt(list::get_by_values(Value::list([1]), Is::COUNT), read);
    cdt(
        list::get_by_value_range(.., Value::Infinity, Is::VALUE),
        read,
    );
    let like = Value::List(vec!["a".into(), Value::Wildcard]);
    cdt(list::get_by_value(like, Is::VALUE), read);
    cdt(list::get_near_value(5, -1, 2, Is::VALUE), read);
    cdt(list::remove_by_index(0, Is::VALUE), modify);
    cdt(list::remove_by_index_range(0, .., Is::NONE), modify);
    cdt(list::remove_by_rank(0, Is::VALUE), modify);
    cdt(list::remove_by_rank_range(0, 1, Is::VALUE), modify);
    cdt(list::remove_by_value("a", Is::COUNT), modify);
    cdt(
        list::remove_by_values(Value::list(["a"]), Is::COUNT),
        modify,
    );
    cdt(list::remove_by_value_range(1, 3, Is::COUNT), modify);
    cdt(list::remove_near_value(1, 0, .., Is::COUNT), modify);
    let made = list::create(ListOrder::Ordered, false).within([Context::map_key("k")]);
    cdt(made, modify);
    let step = Context::list_index_create(3, ListOrder::Unordered, true);
    cdt(list::append(1).within([step]), modify);
}

#[test]
fn nodes_read_every_call_on_maps() {
    use MapReturn as Is;
    let (read, modify) = (Access::Read, Access::Modify);
    let keys = || Value::list(["a", "b"]);
    cdt(map::create(MapOrder::Key), modify);
    cdt(map::set_order(MapOrder::KeyAndValue), modify);
    cdt(map::put("a", 1), modify);
    cdt(map::put_items(Value::map([("a", 1)])), modify);
    cdt(map::increment("a", 1), modify);
    cdt(map::decrement("a", 1).policy(MapOrder::Unordered), modify);
    cdt(map::clear(), modify);
    cdt(map::size(), read);
    cdt(map::get_by_key("a", Is::VALUE), read);
    cdt(map::get_by_keys(keys(), Is::PAIRS), read);
    cdt(map::get_by_key_range("a", .., Is::KEY), read);
    cdt(map::get_near_key("a", 1, 2, Is::KEY), read);
    cdt(map::get_by_index(0, Is::ORDERED_MAP), read);
    cdt(map::get_by_index_range(0, 2, Is::KEY), read);
    cdt(map::get_by_rank(-1, Is::VALUE), read);
    cdt(map::get_by_rank_range(-1, .., Is::VALUE), read);
    cdt(map::get_by_value(1, Is::KEY), read);
    cdt(map::get_by_values(Value::list([1]), Is::KEY), read);
    cdt(map::get_by_value_range(.., 9, Is::COUNT), read);
    cdt(map::get_near_value(1, 0, .., Is::KEY), read);
    cdt(map::remove_by_key("a", Is::VALUE), modify);
    cdt(map::remove_by_keys(keys(), Is::COUNT), modify);
    cdt(map::remove_by_key_range("a", "b", Is::COUNT), modify);
    cdt(map::remove_near_key("a", 0, 1, Is::KEY), modify);
    cdt(map::remove_by_index(0, Is::VALUE), modify);
    cdt(map::remove_by_index_range(0, .., Is::COUNT), modify);
    cdt(map::remove_by_rank(0, Is::KEY), modify);
    cdt(map::remove_by_rank_range(0, 2, Is::KEY), modify);
    cdt(map::remove_by_value(1, Is::KEY), modify);
    cdt(map::remove_by_values(Value::list([1]), Is::KEY), modify);
    cdt(map::remove_by_value_range(1, 2, Is::KEY), modify);
    cdt(map::remove_near_value(1, -1, .., Is::KEY), modify);
    let step = Context::map_key_create("k", MapOrder::Key);
    cdt(map::put("a", 1).within([step]), modify);
}

#[test]
fn an_element_whose_type_nobody_told_is_refused_wherever_it_stands() {
    let untold = || list::get_by_index(0, ListReturn::VALUE).of(Expr::list_bin("l"));
    let deep = Expr::int_bin("a").eq(1).and(untold().gt(1));
    assert!(deep.fault().is_some());
    let operation = Operation::read_expr("x", Expr::when(deep, 1).otherwise(2));
    let mut out = vec![];
    let refused = message(&mut out, MessageHeader::default(), |body| {
        operation.encode(body)
    });
    assert!(matches!(refused, Err(CommandError::Argument { .. })));
    assert!(out.is_empty());
}
