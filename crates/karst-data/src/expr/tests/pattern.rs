//! Patterns: what the C library would match.

use super::check;
use crate::expr::ExprError;
use crate::expr::pattern::{COMPILED_BYTES_MAX, Pattern};
use crate::work::{STEPS, Work};

const BASIC: i64 = 0;
const EXTENDED: i64 = 1;
const IGNORE_CASE: i64 = 2;
const NEWLINE: i64 = 4;
const NOTHING_REPORTED: i64 = 8;

fn compile(pattern: &[u8], flags: i64) -> Result<Pattern, ExprError> {
    Pattern::compile(pattern, flags, COMPILED_BYTES_MAX)
}

#[track_caller]
fn of(flags: i64, pattern: &str, matched: &[&str], unmatched: &[&str]) {
    let compiled =
        compile(pattern.as_bytes(), flags).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let is_in = |text: &str| compiled.is_match(text.as_bytes(), &Work::unlimited());
    for text in matched {
        assert_eq!(is_in(text), Some(true), "{pattern} in {text:?}");
    }
    for text in unmatched {
        assert_eq!(is_in(text), Some(false), "{pattern} not in {text:?}");
    }
}

#[track_caller]
fn bad(flags: i64, pattern: &str) {
    assert!(compile(pattern.as_bytes(), flags).is_err(), "{pattern}");
}

#[test]
fn extended_patterns() {
    of(EXTENDED, "", &["", "x"], &[]);
    of(EXTENDED, "ell", &["hello"], &["elk"]);
    of(
        EXTENDED,
        "^h.*o$",
        &["hello", "ho", "h\no"],
        &["hell", "oh"],
    );
    of(EXTENDED, "a|b+c", &["a", "bbc"], &["c", "b"]);
    of(EXTENDED, "^(ab)*$", &["", "abab"], &["aba"]);
    of(EXTENDED, "^a{2,3}$", &["aa", "aaa"], &["a", "aaaa"]);
    of(EXTENDED, "^a{2}$", &["aa"], &["a", "aaa"]);
    of(EXTENDED, "^a{2,}$", &["aa", "aaaaa"], &["a"]);
    of(EXTENDED, "^a{,2}$", &["", "aa"], &["aaa"]);
    of(EXTENDED, "^a+?$", &["", "aaa"], &["b"]); // one or more, or none
    of(EXTENDED, "^(a|)b$", &["ab", "b"], &["a"]);
    of(EXTENDED, "()", &["", "x"], &[]);
    of(EXTENDED, r"^\.$", &["."], &["a"]);
    of(EXTENDED, r"^\{\(\*\\$", &[r"{(*\"], &[]);
    of(EXTENDED, "a)b", &["a)b"], &["ab"]);
    of(EXTENDED, "a]b", &["a]b"], &[]);
    of(EXTENDED, "a}", &["a}"], &["a"]);
    of(EXTENDED, "x^", &[], &["x", "x^"]);
    of(EXTENDED, r"\bcat\b", &["a cat", "cat"], &["concat"]);
    of(EXTENDED, r"\<c.t\>", &["a cut."], &["scuts"]);
    of(EXTENDED, r"^\w+\W\w+$", &["ab cd"], &["abcd"]);
    of(EXTENDED, r"^\s\S$", &["\ta"], &["aa"]);
    for pattern in [
        "*a", "a|*b", "(*a)", "^*", "+", "?", "{1}", "(", "a{", "a{x}", "a{3,2}", "a{32768}",
        r"(a)\1", r"a\",
    ] {
        bad(EXTENDED, pattern);
    }
    bad(EXTENDED, "((((a{255}){255}){255}){255}");
    bad(EXTENDED, "(a{255}){255}{255}"); // too large once it is compiled
    bad(EXTENDED, &"(".repeat(100_000));
}

#[test]
fn basic_patterns() {
    of(BASIC, "a+b", &["a+b"], &["aab"]);
    of(BASIC, r"a\+b", &["aab"], &["a+b", "b"]);
    of(BASIC, r"^ab\?$", &["a", "ab"], &["abb"]);
    of(BASIC, "(a)", &["(a)"], &["a"]);
    of(BASIC, r"^\(ab\)*$", &["", "abab"], &["a"]);
    of(BASIC, "*a", &["*a"], &["a"]);
    of(BASIC, "^*a", &["*a"], &["a"]);
    of(BASIC, r"\(*a\)", &["*a"], &["a"]);
    of(BASIC, r"^a\{2\}$", &["aa"], &["a{2}"]);
    of(BASIC, "a{2}", &["a{2}"], &["aa"]);
    of(BASIC, "a^b", &["a^b"], &["ab"]);
    of(BASIC, "a$b", &["a$b"], &["ab"]);
    of(BASIC, r"\(^a$\)", &["a"], &["ba", "ab"]);
    of(BASIC, r"^a\|b$", &["ac", "cb"], &["ca", "bc"]);
    of(BASIC, "a|b", &["a|b"], &["a"]);
    of(BASIC, r"\+", &["+"], &["a"]);
    of(BASIC, r"^a*\?$", &["", "aa"], &["b"]);
    bad(BASIC, "a**");
    bad(BASIC, r"a\+\{1,2\}");
    for pattern in [r"\(", r"\)", r"a\{1", r"a\{1}", r"\(a\)\1", r"\{1\}"] {
        bad(BASIC, pattern);
    }
}

#[test]
fn brackets() {
    of(EXTENDED, "^[a-c]+$", &["abc"], &["d"]);
    of(EXTENDED, "^[]a]$", &["]", "a"], &["b"]);
    of(EXTENDED, "^[^]a]$", &["b"], &["]", "a"]);
    of(EXTENDED, "^[a-]$", &["a", "-"], &["b"]);
    of(EXTENDED, "^[-a]$", &["a", "-"], &["b"]);
    of(EXTENDED, "^[+--]$", &["+", ",", "-"], &["."]);
    of(EXTENDED, r"^[\n]$", &[r"\", "n"], &["\n"]); // no escapes inside
    of(EXTENDED, "^[[:alpha:][:digit:]_]+$", &["aZ_9"], &["-"]);
    of(EXTENDED, "^[^[:space:]]$", &["a"], &[" ", "\t", "\x0b"]);
    of(EXTENDED, "^[[.-.]a]$", &["-", "a"], &["."]);
    of(EXTENDED, "^[[=a=]b]$", &["a", "b"], &["="]);
    of(EXTENDED, "^[[]$", &["["], &["]"]);
    of(EXTENDED, "^[*.(]$", &["*", ".", "("], &["a"]);
    of(EXTENDED, "[\u{e9}]", &["\u{e9}"], &["e"]);
    for pattern in [
        "[",
        "[a",
        "[]",
        "[^]",
        "[b-a]",
        "[[:foo:]]",
        "[[:alpha:]",
        "[[.ab.]]",
        "[a-[:digit:]]",
        "[[:digit:]-z]",
    ] {
        bad(EXTENDED, pattern);
    }
}

#[test]
fn flags_are_those_of_the_c_library() {
    let folded = EXTENDED | IGNORE_CASE;
    of(folded, "HeLLo", &["hello", "HELLO"], &["help"]);
    of(folded, "^[a-c]$", &["B"], &["D"]);
    of(folded, "^[^a]$", &["b"], &["a", "A"]);
    of(folded, "^[[:upper:]]$", &["a", "A"], &["1"]);
    let lines = EXTENDED | NEWLINE;
    of(lines, "^b$", &["a\nb\nc"], &["ab"]);
    of(lines, "a.b", &["axb"], &["a\nb"]);
    of(lines, "a[^x]b", &["ayb"], &["a\nb"]);
    of(EXTENDED, "a[^x]b", &["a\nb"], &["axb"]);
    of(EXTENDED, "^b$", &["b"], &["a\nb"]);
    of(EXTENDED | NOTHING_REPORTED, "a+", &["aa"], &["b"]);
    of(EXTENDED, "ab\0cd", &["ab"], &["a"]); // cut where C would cut it
}

/// Texts for whose search the fast machine is made anew all the time.
fn hard_text(bytes: usize) -> Vec<u8> {
    let mut dice = 7u64;
    let bit = |_| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b'0' + (dice >> 63) as u8
    };
    (0..bytes).map(bit).collect()
}

#[test]
fn a_pattern_that_is_hard_to_search_for_is_paid_for_or_refused() {
    let hard = compile(b"1[01]{200}x", EXTENDED).unwrap();
    let long = hard_text(1 << 20);
    assert_eq!(
        hard.is_match(&long, &Work::new(STEPS + 16 * long.len() as u64)),
        None
    );
    let short = hard_text(5_000);
    assert_eq!(hard.is_match(&short, &Work::new(STEPS)), Some(false));
    let easy = compile(b"01[^2]*2", EXTENDED).unwrap();
    assert_eq!(easy.is_match(&long, &Work::new(STEPS)), Some(false));
}

#[test]
fn all_patterns_of_an_expression_share_one_limit() {
    let one = r#"[7, 1, "[a-z]{250}[0-9]{250}", [81,3,"text"]]"#;
    let many = |count: usize| format!("[17, {}]", vec![one; count].join(", "));
    check(&many(2), "false");
    check(&many(200), "!4");
}

#[test]
fn expressions_search_strings() {
    check(r#"[7, 1, "^h.l", [81,3,"text"]]"#, "true");
    check(r#"[7, 1, "^e", [81,3,"text"]]"#, "false");
    check(r#"[7, 3, "HELLO", [81,3,"text"]]"#, "true");
    check(r#"[7, 0, "hel*o", [81,3,"text"]]"#, "true");
    check(r#"[7, 1, "a", [81,3,"none"]]"#, "unknown");
    check(r#"[7, 1, "c", "=ab\u0000c"]"#, "false");
    check(r#"[7, 1, "b$", "=ab\u0000c"]"#, "true");
    check(r#"[7, 1, "(", [81,3,"text"]]"#, "!4");
    check(r#"[7, 1, "a", [81,2,"five"]]"#, "!4");
    check(r#"[7, true, "a", [81,3,"text"]]"#, "!4");
    check(r#"[7, 1, 5, [81,3,"text"]]"#, "!4");
    check(r#"[7, 1, "a"]"#, "!4");
}
