//! See `karst_fuzz::geo`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::geo::check(bytes));
