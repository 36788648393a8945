//! A namespace's index in DRAM and its log on devices; emits device operations, performs none.
