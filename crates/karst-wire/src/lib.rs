//! The Aerospike client protocol: bytes in, borrowed views out; no I/O.
