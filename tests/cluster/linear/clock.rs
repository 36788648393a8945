//! Wall clocks of single nodes that can be set: see `clock.c`. The machine's own clock is never touched.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use karst_client::{Bin, Ttl, WritePolicy};
use karst_tests::spec::{Namespace, ServerSpec};
use tempfile::TempDir;

use crate::traffic::{client, key, runtime};

/// The library that gives a process a clock of its own, and what it tells.
#[derive(Debug)]
pub(crate) struct Clock {
    folder: TempDir,
    offset: File,
}

impl Clock {
    /// Builds the library. The clock shows the machine's time.
    ///
    /// # Panics
    /// When there is no C compiler: the one that builds Karst.
    pub(crate) fn new() -> Clock {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let offset = File::create_new(folder.path().join("offset"));
        let offset = offset.expect("the temporary folder takes files");
        let clock = Clock { folder, offset };
        clock.set(0);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/linear/clock.c");
        let built = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"])
            .args(["-o".into(), clock.library()])
            .arg(source)
            .output()
            .expect("cc can be run: a C compiler is needed to build Karst");
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{told}");
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    /// Sets it so many milliseconds ahead of the machine's, or behind.
    pub(crate) fn set(&self, ahead_ms: i64) {
        let ns = (ahead_ms * 1_000_000).to_ne_bytes();
        let written = self.offset.write_all_at(&ns, 0);
        written.expect("the file takes eight bytes");
    }

    /// A server that goes by this clock.
    pub(crate) fn given_to(&self, spec: ServerSpec) -> ServerSpec {
        let path = |path: PathBuf| path.to_str().expect("its path is UTF-8").to_owned();
        spec.environment("LD_PRELOAD", &path(self.library()))
            .environment("KARST_CLOCK", &path(self.folder.path().join("offset")))
    }
}

/// Else a test that sets a node's clock would test nothing.
#[test]
fn a_node_goes_by_the_clock_that_it_is_given() {
    let clock = Clock::new();
    let spec = ServerSpec::new().namespace(Namespace::memory("test").size("64MiB"));
    let server = clock.given_to(spec).start();
    let expiry_s = || {
        runtime().block_on(async {
            let client = client(&[&server]).await;
            let policy = WritePolicy {
                ttl: Ttl::Seconds(100_000),
                ..WritePolicy::default()
            };
            let bins = [Bin::new("a", 1)];
            let put = client.put_with(&policy, &key(1), bins).await;
            put.expect("a put succeeds");
            let read = client.get(&key(1)).await.expect("a get succeeds");
            i64::from(read.expect("it was just written").void_time_s)
        })
    };
    let before = expiry_s();
    for ahead_s in [3600, -3600] {
        clock.set(ahead_s * 1000);
        let jumped = expiry_s() - before;
        assert!((jumped - ahead_s).abs() <= Duration::from_secs(30).as_secs() as i64);
    }
}
