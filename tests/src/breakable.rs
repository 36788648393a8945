//! A device that fails when a test wants it to.
//!
//! It is a file in memory (memfd) of the test's process, to which a link in the server's folder leads. Sealed against writes
//! or cut short while the node has it open, the kernel answers the node's writes, or reads, with an error, as it would those
//! of a broken disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, symlink};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::server::Server;

/// A device that can be broken.
#[derive(Debug)]
pub struct Breakable(File);

impl Breakable {
    /// Takes the place of a stopped server's file of a namespace, its content kept.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn instead_of(server: &Server, namespace: &str, number: usize) -> Breakable {
        let path = server.file(namespace, number);
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let memory = rustix::fs::memfd_create("karst-device", flags).expect("memory for a file");
        let mut file = File::from(memory);
        file.write_all(&fs::read(&path).expect("the device is a file"))
            .expect("memory");
        fs::remove_file(&path).expect("the folder is the test's");
        let own = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        symlink(own, &path).expect("the folder is the test's");
        Breakable(file)
    }

    /// Writes fail from now on.
    ///
    /// # Panics
    /// When the system does not allow it.
    pub fn fail_writes(&self) {
        let sealed = rustix::fs::fcntl_add_seals(&self.0, SealFlags::WRITE);
        sealed.expect("it may be sealed");
    }

    /// Reads of all but its first bytes fail from now on.
    ///
    /// # Panics
    /// When the system does not allow it.
    pub fn fail_reads(&self, from: u64) {
        self.0.set_len(from).expect("it may be cut");
    }

    /// All that is on it.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.metadata().expect("it is there").len() as usize];
        self.0.read_exact_at(&mut bytes, 0).expect("it is there");
        bytes
    }
}
