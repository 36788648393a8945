use karst_wire::command::message;
use karst_wire::frame::{HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader};

use super::*;
use crate::{Context, Expr, ListReturn, list, map};

fn encoded(operation: &Operation) -> Result<Vec<u8>, CommandError> {
    let mut out = vec![];
    message(&mut out, MessageHeader::default(), |body| {
        operation.encode(body)
    })?;
    Ok(out.split_off(HEADER_BYTES + MESSAGE_HEADER_BYTES))
}

fn check(operation: Operation, expected: &[u8]) {
    assert_eq!(encoded(&operation).unwrap(), expected);
}

#[test]
fn operations_travel_as_the_protocol_says() {
    check(Operation::get("a"), &[0, 0, 0, 5, 1, 0, 0, 1, b'a']);
    check(Operation::touch(), &[0, 0, 0, 4, 11, 0, 0, 0]);
    check(
        Operation::put("a", true),
        &[0, 0, 0, 6, 2, 17, 0, 1, b'a', 1],
    );
    check(
        list::append(7).bin("l"),
        &[0, 0, 0, 10, 4, 4, 0, 1, b'l', 0x94, 1, 7, 0, 0],
    );
    let by_index = list::get_by_index(0, ListReturn::VALUE);
    check(
        by_index.bin("l"),
        &[0, 0, 0, 9, 3, 4, 0, 1, b'l', 0x93, 19, 7, 0],
    );
}

#[test]
fn expressions_travel_with_their_flags() {
    let five = || Expr::int_bin("a").gt(5);
    let packed = [0x93, 3, 0x93, 81, 2, 0xa1, b'a', 5];
    let expected = [&[0, 0, 0, 15, 7, 4, 0, 1, b'x', 0x92][..], &packed, &[0]].concat();
    check(Operation::read_expr("x", five()), &expected);
    let expected = [&[0, 0, 0, 15, 8, 4, 0, 1, b'x', 0x92][..], &packed, &[20]].concat();
    let flags = ExprFlags::ALLOW_DELETE | ExprFlags::SKIP_UNKNOWN;
    check(Operation::write_expr("x", five(), flags), &expected);
}

#[test]
fn only_reads_ask_for_answers_in_the_header() {
    assert_eq!(Operation::get("a").info1(), Info1::READ);
    assert_eq!(Operation::get_all().info1(), Info1::READ | Info1::GET_ALL);
    assert_eq!(Operation::put("a", 1).info1(), Info1::NONE);
    assert!(Operation::delete().writes());
    assert!(!list::size().bin("l").writes());
    assert!(map::clear().bin("m").writes());
}

#[test]
fn what_means_nothing_as_an_operation_is_refused_and_not_sent() {
    let computed = list::append(Expr::int_bin("a")).bin("l");
    assert!(matches!(
        encoded(&computed),
        Err(CommandError::Argument { .. })
    ));
    let path = crate::bits::count(0, 8).within([Context::map_key("a")]);
    assert!(matches!(
        encoded(&path.bin("b")),
        Err(CommandError::Argument { .. })
    ));
}
