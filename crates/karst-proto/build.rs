//! Compiles `proto/` into Rust with compilers that are themselves Rust: no `protoc` is needed.

use std::error::Error;
use std::path::Path;

/// The definitions to compile, relative to the `proto` folder.
const FILES: &[&str] = &["karst/admin/v1/admin.proto", "karst/raft/v1/raft.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES.iter().map(|file| root.join(file)), [&root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
