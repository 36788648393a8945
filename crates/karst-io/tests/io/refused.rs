//! Where the kernel refuses a call, as containers and sandboxes do. A filter that binds one thread,
//! and the threads it starts, plays the container.

use std::sync::Arc;
use std::thread;

use karst_io::buffer::AlignedBuffer;
use karst_io::{Queue, QueueChoice, QueueKind};

use crate::{BLOCK, device, marked, read, run, write};

/// Runs `work` on a thread on which the system call `number` fails with `errno`.
fn refusing<T: Send>(number: libc::c_long, errno: i32, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let filtered = scope.spawn(|| {
            refuse_from_now_on(number, errno);
            work()
        });
        filtered.join().expect("the work succeeds")
    })
}

fn refuse_from_now_on(number: libc::c_long, errno: i32) {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let jump_if_equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut lines = [
        line(load, 0, 0, 0), // the number comes first in `seccomp_data`
        line(jump_if_equal, number as u32, 0, 1),
        line(answer, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        line(answer, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: lines.len() as u16,
        filter: lines.as_mut_ptr(),
    };
    // SAFETY: the arguments are what prctl(2) asks for: flags and zeros for the first, a pointer to
    // a program that outlives the call for the second, which copies it.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    assert!(installed, "no filter: {}", std::io::Error::last_os_error());
}

#[test]
fn where_io_uring_is_refused_threads_do_the_same_work() {
    let ring_calls = [
        (libc::SYS_io_uring_setup, libc::EPERM),
        (libc::SYS_io_uring_setup, libc::ENOSYS),
        (libc::SYS_io_uring_setup, libc::ENOMEM),
        (libc::SYS_io_uring_register, libc::EPERM),
        (libc::SYS_io_uring_enter, libc::EPERM),
        (libc::SYS_eventfd2, libc::EMFILE),
    ];
    for (call, errno) in ring_calls {
        let folder = tempfile::tempdir().unwrap();
        let device = device(folder.path(), 4);
        refusing(call, errno, || {
            let probed = Queue::probe(QueueChoice::Auto, 4, &[Arc::clone(&device)]);
            if call == libc::SYS_eventfd2 {
                assert_eq!(probed.unwrap_err().raw_os_error(), Some(libc::EMFILE));
                return; // neither kind can do without one
            }
            let (mut queue, refused) = probed.unwrap();
            assert_eq!(queue.kind(), QueueKind::Threads);
            println!("{}", refused.expect("the reason is told"));
            assert_eq!(run(&mut queue, write(&marked(4), 3, true)).outcome, Ok(()));
            let completion = run(&mut queue, read(3, 1));
            assert_eq!(completion.buffer.unwrap().as_slice(), [4; BLOCK]);
        });
    }
}

#[test]
fn a_demanded_ring_that_is_refused_is_an_error_and_not_a_crash() {
    refusing(libc::SYS_io_uring_setup, libc::EPERM, || {
        let refused = Queue::probe(QueueChoice::Ring, 4, &[])
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("io_uring is refused at setting up"),
            "{refused}"
        );
    });
}

#[test]
fn a_durable_write_is_synced_where_the_kernel_has_no_flag_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let device = device(folder.path(), 4);
    let mut buffer = AlignedBuffer::with_capacity(BLOCK);
    buffer.as_mut_slice().fill(9);
    for errno in [libc::ENOSYS, libc::EOPNOTSUPP] {
        refusing(libc::SYS_pwritev2, errno, || {
            device.write_at_durable(0, &buffer)
        })
        .unwrap();
    }
    // With the sync refused too, nothing may be called durable.
    let refused = refusing(libc::SYS_pwritev2, libc::ENOSYS, || {
        refusing(libc::SYS_fdatasync, libc::EIO, || {
            device.write_at_durable(0, &buffer)
        })
    });
    assert_eq!(refused.unwrap_err().errno(), Some(libc::EIO));
}

#[test]
fn where_a_file_cannot_be_allocated_ahead_it_is_extended_and_never_cut() {
    let folder = tempfile::tempdir().unwrap();
    for (asked, expected) in [(4, 4), (8, 8), (2, 8)] {
        let device = refusing(libc::SYS_fallocate, libc::EOPNOTSUPP, || {
            device(folder.path(), asked)
        });
        assert_eq!(
            device.size_bytes(),
            (expected * BLOCK) as u64,
            "asked for {asked}"
        );
    }
}
