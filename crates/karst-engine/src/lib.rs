//! A request becomes a result: where index, log and operations meet.
