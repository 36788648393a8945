//! Generated types of the admin service.
