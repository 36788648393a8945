//! What a run may cost.

use super::{pack, sample, show};
use crate::expr::Expr;
use crate::work::{STEPS, Work};

fn numbers(count: usize) -> String {
    let all: Vec<String> = (0..count).map(|at| at.to_string()).collect();
    format!("[126, [{}]]", all.join(", "))
}

/// What an expression computes with what may be done at once, and whether that was enough.
fn at_once(text: &str) -> (String, bool) {
    let expr = Expr::parse(&pack(text)).unwrap_or_else(|error| panic!("{error}"));
    let (record, work) = (sample(), Work::at_once());
    let found = show(&expr.evaluate(&record, &work));
    assert!(work.spent() <= STEPS);
    (found, !work.is_exhausted())
}

/// How many of so many numbers are among so many others.
fn among(count: usize, others: usize) -> String {
    let is_among = format!("[9, [122,2,1], {}]", numbers(others));
    let those = format!("[127, 4, 0, [254, [4, {is_among}], 1], {}]", numbers(count));
    format!("[127, 2, 0, [16], {those}]")
}

#[test]
fn a_condition_that_looks_through_a_list_for_each_element_of_another_ends_when_its_work_is_done() {
    assert_eq!(at_once(&among(300, 200)), ("200".to_owned(), true));
    assert_eq!(at_once(&among(3000, 3000)), ("unknown".to_owned(), false));
}

#[test]
fn comparing_a_long_text_again_and_again_ends_when_its_work_is_done() {
    let equal = |times: usize| {
        let one = r#"[2, [124,"t"], [124,"t"]]"#;
        let all = vec![one; times].join(", ");
        format!(r#"[125, "t", "={}", [17, {all}]]"#, "x".repeat(500_000))
    };
    assert_eq!(at_once(&equal(2)), ("false".to_owned(), true));
    assert!(!at_once(&equal(400)).1);
}

#[test]
fn a_value_that_is_doubled_again_and_again_does_not_grow_without_bound() {
    let doubled = |times: usize| {
        let mut text = format!(r#"[125, "v0", {}"#, numbers(100));
        for at in 0..times {
            text += &format!(
                r#", "v{}", [127, 4, 64, [2, [124,"v{at}"]], [124,"v{at}"]]"#,
                at + 1
            );
        }
        format!(r#"{text}, [127, 2, 0, [16], [124,"v{times}"]]]"#)
    };
    assert_eq!(at_once(&doubled(5)), ("3200".to_owned(), true));
    assert_eq!(at_once(&doubled(40)), ("unknown".to_owned(), false));
}

#[test]
fn what_may_take_long_is_told_from_what_may_not() {
    let is_short = |text: &str| Expr::parse(&pack(text)).unwrap().is_short();
    assert!(is_short(r#"[16, [3, [81,2,"five"], 4], [5, [67], 1000]]"#));
    assert!(!is_short(r#"[7, 1, "a", [81,3,"text"]]"#));
    assert!(!is_short(r#"[9, 1, [81,4,"list"]]"#));
    assert!(!is_short(r#"[1, [127, 2, 0, [16], [81,4,"list"]], 3]"#));
    let many = vec!["true"; 300].join(", ");
    assert!(!is_short(&format!("[16, {many}]")));
}
