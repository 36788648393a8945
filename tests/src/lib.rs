//! Harness shared by the whole-process tests.
