//! karstd, the daemon: doors, wiring, clocks, threads.
