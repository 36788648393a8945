//! See `karst_fuzz::block`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::block::check(bytes));
