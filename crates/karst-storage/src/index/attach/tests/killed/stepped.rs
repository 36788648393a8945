//! Every instruction of a change, one by one.
//!
//! A child process stops before the change and is carried through it by single steps. What it has in
//! shared memory after each is what a kill at this instant would leave; every such image is attached.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::index::arena::PAGE_BYTES;

/// The partition that changes.
const PARTITION: PartitionId = PartitionId(1);

const CONTROL_AT: u64 = (260 << 10) + 128 * PARTITION.0 as u64;

/// Pages that are looked at: more than the partition has.
const PAGES: usize = 3;

/// A digest of the partition.
fn ours(number: u64) -> Digest {
    digest(number * u64::from(USED) + 1)
}

/// The kinds of changes: a name, what is there before, and the change.
type Kind = (&'static str, fn(&mut Directory), fn(&mut Directory));

const KINDS: [Kind; 7] = [
    ("an insert into a slot that was never used", fill, insert),
    ("an insert into a vacated slot", vacated, insert),
    ("an insert into a new page", full_page, insert),
    ("an insert that splits a bucket", full_buckets, insert),
    ("a rewrite", fill, |directory| {
        let entry = directory.get_mut(&ours(2));
        entry
            .expect("it is there")
            .rewrite(&new_entry(ours(2), 0x0fed_cba9_8765_4321));
    }),
    ("several fields at once", fill, |directory| {
        let mut entry = directory.get_mut(&ours(2)).expect("it is there");
        set_some(&mut entry, 0x7777_7777_7777_7777 / 6 * 6 + 5);
    }),
    ("a remove", fill, |directory| {
        directory.remove(&ours(2)).expect("it is there");
    }),
];

fn insert_numbers(directory: &mut Directory, numbers: std::ops::Range<u64>) {
    for number in numbers {
        directory
            .insert(&new_entry(ours(number), number))
            .expect("room");
    }
}

fn fill(directory: &mut Directory) {
    insert_numbers(directory, 0..5);
}

fn vacated(directory: &mut Directory) {
    fill(directory);
    directory.remove(&ours(3)).expect("it is there");
}

fn full_page(directory: &mut Directory) {
    insert_numbers(directory, 0..64);
}

fn full_buckets(directory: &mut Directory) {
    insert_numbers(directory, 0..64 * PAGES as u64 - 1);
}

fn insert(directory: &mut Directory) {
    directory
        .insert(&new_entry(ours(1_000), 0x0fed_cba9_8765_4321))
        .expect("room");
}

#[test]
fn a_process_killed_after_any_instruction_of_a_change_leaves_what_was_or_what_is() {
    const NAME: &str =
        "stepped::a_process_killed_after_any_instruction_of_a_change_leaves_what_was_or_what_is";
    if let Some((kind, folder)) = told() {
        return be_stepped(&folder, KINDS[kind.parse::<usize>().expect("a number")].2);
    }
    for (number, (kind, before, _)) in KINDS.iter().enumerate() {
        let folder = folder();
        before(&mut directories(&created(folder.path()))[PARTITION.index()]);
        let was = found(folder.path());
        let (mut child, thread) = child(NAME, folder.path(), &number.to_string());
        let images = step_through(folder.path(), thread);
        child.kill().expect("it is ours");
        // SAFETY: waits for a thread of a child of ours: its process cannot be waited for before.
        unsafe { libc::waitpid(thread as i32, std::ptr::null_mut(), libc::__WALL) };
        child.wait().expect("it is ours");
        let is = found(folder.path());
        assert_ne!(was, is, "{kind} changes something");
        check_images(folder.path(), kind, &images, &was, &is);
    }
}

/// The child: stops, changes the index, stops.
fn be_stepped(folder: &Path, change: fn(&mut Directory)) {
    let attached = attach(folder).expect("right");
    let mut directory = attached.partition(PARTITION, |_| Ok(())).expect("sound");
    // SAFETY: these two calls touch no memory of ours.
    let (thread, traced) = unsafe { (libc::gettid(), libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)) };
    assert_eq!(traced, 0, "this system lets no process be traced");
    say_ready(thread as u32);
    // SAFETY: stops this thread until the parent goes on with it.
    unsafe { libc::raise(libc::SIGSTOP) };
    change(&mut directory);
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// What of shared memory a change can touch.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Image {
    control: [u8; 128],
    pages: Box<[u8; PAGES * PAGE_BYTES]>,
}

impl Image {
    fn read(file: &File) -> Image {
        let (mut control, mut pages) = ([0; 128], Box::new([0; PAGES * PAGE_BYTES]));
        file.read_exact_at(&mut control, CONTROL_AT)
            .expect("it is there");
        file.read_exact_at(&mut pages[..], FRONT_BYTES as u64)
            .expect("it is there");
        Image { control, pages }
    }

    fn write(&self, file: &File) {
        file.write_all_at(&self.control, CONTROL_AT)
            .expect("it is there");
        file.write_all_at(&self.pages[..], FRONT_BYTES as u64)
            .expect("it is there");
    }
}

/// Carries the child from its first stop to its second, and returns every image in between, in order.
fn step_through(folder: &Path, thread: u32) -> Vec<Image> {
    let file = File::open(folder.join("index")).expect("it is there");
    let (mut images, mut seen) = (vec![], HashSet::new());
    let (mut stops, mut steps) = (0, 0);
    loop {
        let mut status = 0;
        // SAFETY: waits for a child of ours and writes to `status` only.
        let waited = unsafe { libc::waitpid(thread as i32, &mut status, libc::__WALL) };
        assert!(
            waited == thread as i32 && libc::WIFSTOPPED(status),
            "the child failed"
        );
        let image = Image::read(&file);
        if seen.insert(image.clone()) {
            images.push(image);
        }
        stops += u32::from(libc::WSTOPSIG(status) == libc::SIGSTOP);
        if stops == 2 {
            break;
        }
        // SAFETY: goes on with a child of ours by one instruction, without a signal.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, thread as i32, 0, 0) };
        assert_eq!(stepped, 0);
        steps += 1;
    }
    assert!(steps > 100, "a change takes more than {steps} instructions");
    images
}

fn found(folder: &Path) -> Content {
    let attached = attach(folder).expect("right");
    let mut found = Content::new();
    let directory = attached.partition(PARTITION, |entry| {
        assert_eq!(found.insert(*entry.digest(), entry.to_new()), None);
        Ok(())
    });
    directory.expect("nothing is damaged").validate();
    found
}

/// Attaches every image: first all are what was, then all are what is.
fn check_images(folder: &Path, kind: &str, images: &[Image], was: &Content, is: &Content) {
    assert!(
        images.len() > 1,
        "{kind} is more than {} store",
        images.len()
    );
    let file = File::options()
        .write(true)
        .open(folder.join("index"))
        .expect("it is there");
    let mut is_done = false;
    for (at, image) in images.iter().enumerate() {
        image.write(&file);
        let found = found(folder);
        is_done |= found == *is;
        let expected = if is_done { is } else { was };
        assert!(found == *expected, "{kind}, image {at} of {}", images.len());
    }
    assert!(is_done, "{kind} came to its end");
}
