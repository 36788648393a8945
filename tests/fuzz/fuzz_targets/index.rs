//! See `karst_fuzz::index`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::index::check(bytes));
