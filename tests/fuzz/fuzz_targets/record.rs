//! See `karst_fuzz::record`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::record::check(bytes));
