//! karst, the admin tool.
