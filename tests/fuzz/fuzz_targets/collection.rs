//! See `karst_fuzz::collection`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::collection::check(bytes));
