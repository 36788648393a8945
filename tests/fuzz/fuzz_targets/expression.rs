//! See `karst_fuzz::expression`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::expression::check(bytes));
