//! See `karst_fuzz::response`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::response::check(bytes));
