//! Children change the index at full speed on several threads, and are killed at random instants.
//!
//! Each key goes through a fixed history: what is known of it after its n-th change is a function of key
//! and n. The child notes in shared memory which change of a key it has begun and which it has done, so
//! after a kill each key must be as its last change left it, or as the one that was begun would have.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use super::*;

const KEYS: u64 = 3_000;
const THREADS: u64 = 3;
const ROUNDS: u64 = 60;

/// What is known of a key after its n-th change; after none, nothing.
fn state(key: u64, n: u64) -> Option<NewEntry> {
    let salt = Rng(key << 32 | n).next();
    (n > 0 && !salt.is_multiple_of(5)).then(|| new_entry(digest(key), salt))
}

/// How far each key came, in shared memory: changes begun, changes done.
struct Progress(Region);

impl Progress {
    fn open(folder: &Path) -> Progress {
        let file = SharedFile::open(folder.join("progress")).expect("nobody else has it");
        let bytes = KEYS as usize * 16;
        let region = Region::shared(file, bytes).expect("address space");
        region.back(bytes).expect("memory");
        Progress(region)
    }

    fn of(&self, key: u64) -> &[AtomicU64; 2] {
        assert!(key < KEYS);
        // SAFETY: backed, aligned, and used as atomics only.
        unsafe {
            self.0
                .as_ptr()
                .cast::<[AtomicU64; 2]>()
                .add(key as usize)
                .as_ref()
        }
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent lets the child run for a while"
)]
fn whatever_was_acknowledged_is_there_after_a_kill_at_any_time() {
    const NAME: &str = "anytime::whatever_was_acknowledged_is_there_after_a_kill_at_any_time";
    if let Some((seed, folder)) = told() {
        return change_for_ever(&folder, seed.parse().expect("a number"));
    }
    let shared = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| folder());
    let folder = shared.path();
    drop(created(folder));
    let mut rng = Rng(1);
    let (mut changes, mut undone) = (0, 0);
    for round in 0..ROUNDS {
        let (mut child, _) = child(NAME, folder, &round.to_string());
        thread::sleep(Duration::from_micros(rng.next() % 40_000));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let (changed, restored) = check(folder, round);
        undone += restored;
        assert!(changed >= changes, "no change is forgotten");
        changes = changed;
    }
    println!("{ROUNDS} kills, {changes} changes, {undone} of them undone");
    assert!(changes > 10 * ROUNDS, "the children did next to nothing");
}

/// Every key is as its history says. Returns the changes made so far, and those undone now.
fn check(folder: &Path, round: u64) -> (u64, u32) {
    let attached = attach(folder).unwrap_or_else(|refused| panic!("round {round}: {refused}"));
    let found = all_of(&attached);
    let (_, found) = found.unwrap_or_else(|damaged| panic!("round {round}: {damaged}"));
    let progress = Progress::open(folder);
    let mut changes = 0;
    for key in 0..KEYS {
        let [begun, done] = progress
            .of(key)
            .each_ref()
            .map(|n| n.load(Ordering::Acquire));
        assert!(begun == done || begun == done + 1);
        let found = found.get(&digest(key)).copied();
        let was_begun = found == state(key, begun);
        assert!(
            was_begun || found == state(key, done),
            "round {round}, key {key}: {found:?} after change {done}, {begun} begun"
        );
        let now = if was_begun { begun } else { done };
        progress
            .of(key)
            .iter()
            .for_each(|n| n.store(now, Ordering::Release));
        changes += now;
    }
    assert!(
        found.keys().all(|digest| known().contains(digest)),
        "no key is made up"
    );
    (changes, attached.undone())
}

fn known() -> &'static HashSet<Digest> {
    static KNOWN: std::sync::OnceLock<HashSet<Digest>> = std::sync::OnceLock::new();
    KNOWN.get_or_init(|| (0..KEYS).map(digest).collect())
}

/// The child.
fn change_for_ever(folder: &Path, seed: u64) {
    let attached = attach(folder).expect("right");
    let (directories, _) = all_of(&attached).expect("sound");
    let directories: Vec<_> = directories.into_iter().map(Mutex::new).collect();
    let progress = Progress::open(folder);
    say_ready(0);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (directories, progress) = (&directories, &progress);
            scope.spawn(move || {
                let mut rng = Rng(seed << 8 | number);
                loop {
                    let key = rng.next() % (KEYS / THREADS) * THREADS + number;
                    let at = digest(key).partition().index();
                    let mut directory = directories[at].lock().expect("no panic");
                    change(&mut directory, key, progress.of(key));
                }
            });
        }
    });
}

/// Makes a key's next change.
fn change(directory: &mut Directory, key: u64, progress: &[AtomicU64; 2]) {
    let [begun, done] = progress;
    let n = done.load(Ordering::Relaxed) + 1;
    begun.store(n, Ordering::Release);
    let digest = digest(key);
    match (state(key, n - 1), state(key, n)) {
        (None, None) => {}
        (None, Some(new)) => drop(directory.insert(&new).expect("room")),
        (Some(_), None) => assert!(directory.remove(&digest).is_some()),
        (Some(_), Some(new)) => {
            let mut entry = directory.get_mut(&digest).expect("it is there");
            if n.is_multiple_of(2) {
                entry.rewrite(&new);
            } else {
                set_all(&mut entry, &new);
            }
        }
    }
    done.store(n, Ordering::Release);
}

/// As a rewrite, field by field.
fn set_all(entry: &mut EntryMut<'_>, new: &NewEntry) {
    entry.set_place(new.place);
    entry.set_version(new.version);
    entry.set_update_time_ms(new.update_time_ms);
    if new.flags.contains(Flags::TOMBSTONE) {
        entry.set_tombstone(new.void_time_s);
    } else {
        entry.set_void_time_s(new.void_time_s);
    }
    entry.set_generation(new.generation);
    entry.set_set_id(new.set_id);
    entry.set_flags(new.flags);
}
