//! How much of the machine's memory the process holds: the allocator's habits, and the program's own pages.
mod allocator;

use nix::libc;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Arenas of the allocator: for the workers of the runtime, the store's writer, and one who waits for the disk. The
/// default, eight per processor, lets every thread that ever blocked keep free memory to itself; with two, they wait for
/// each other.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: c_int = 4;
/// Larger pieces are mapped, and given back to the system when they are freed: bodies of large objects come and go in
/// several forms, and would leave holes among the objects that stay. The default grows with use.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: c_int = 64 * 1024;
/// Free memory at an arena's end is kept up to this, so that answers of a usual size need none from the system.
#[cfg(target_env = "gnu")]
const KEPT_BYTES_MAX: c_int = 1024 * 1024;
/// Arenas grow in such steps.
#[cfg(target_env = "gnu")]
const GROWTH_BYTES: c_int = 256 * 1024;

/// When what was only needed to start is let go: at once, and after what goes on starting in the background.
const MOMENTS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(50)];

/// So many revisions of the store are a burst of writes: what it took lies between the objects that stay.
const BURST_REVISIONS: u64 = 1000;
/// It is given back this much later.
const BURST_TIME: Duration = Duration::from_secs(1);

/// How often a part looks at its own work while it works …
const WORK_LOOK_EVERY: Duration = Duration::from_secs(2);
/// … and while it rests: looking is to be no work itself.
const REST_LOOK_EVERY: Duration = Duration::from_secs(32);
/// So much processor time is a burst of work: what it took is given back when it is over. To give it back and to take up
/// again what is used after all comes to less than a millisecond …
const BURST_WORK: Duration = Duration::from_millis(25);
/// … or when it has gone on for so long.
const BURST_WORK_MAX: Duration = Duration::from_secs(10);

/// The program's code is mapped in pieces of this length. Around each page that is used the kernel maps those beside it
/// that it has, up to 64 KiB within one mapping: of code that lies scattered, three quarters of that are never used.
/// Smaller pieces would be more of them than is worth it: each takes some 200 bytes of the kernel's.
const PIECE_BYTES: usize = 16 * 1024;

/// How often small pieces were to be given back: every thread has its own, which it alone can give back.
static COLLECTIONS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Up to which of them this thread has done so.
    static COLLECTED: Cell<u32> = const { Cell::new(0) };
}

/// What a worker does before it sleeps: it gives back its free pieces, if they were asked for since.
pub fn before_sleep() {
    let wanted = COLLECTIONS.load(Ordering::Relaxed);
    if COLLECTED.replace(wanted) != wanted {
        allocator::collect();
    }
}

/// Sets the allocator's habits. Call it before there are other threads.
pub fn configure() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_ARENA_MAX, ARENAS_MAX),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX),
        (libc::M_TOP_PAD, GROWTH_BYTES),
    ] {
        // SAFETY: it takes two integers; an option that is not known changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Lets go of what was only needed to start, when the process has started.
pub async fn settle() {
    divide();
    for pause in MOMENTS {
        tokio::time::sleep(pause).await;
        release();
    }
}

/// Gives back what bursts of writes have used, as long as there are `revisions`.
pub async fn follow(mut revisions: watch::Receiver<u64>) {
    let mut seen = *revisions.borrow();
    while revisions
        .wait_for(|now| *now >= seen + BURST_REVISIONS)
        .await
        .is_ok()
    {
        tokio::time::sleep(BURST_TIME).await;
        seen = *revisions.borrow_and_update();
        trim();
    }
}

/// Gives back what bursts of work have used, in a part that has no revisions of its own to go by: its processor time tells
/// them all. A look costs a system call.
pub async fn follow_work() {
    let mut released = processor_time();
    let mut seen = released;
    let mut pause = WORK_LOOK_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        let now = processor_time();
        let worked = now.saturating_sub(seen);
        // A burst that goes on needs its memory still, unless it goes on for long.
        let is_over = worked < pause / 10;
        let used = now.saturating_sub(released);
        if used >= BURST_WORK && is_over || used >= BURST_WORK_MAX {
            release();
            released = now;
        }
        seen = now;
        pause = next_look(pause, worked);
    }
}

/// How long after this look the next one is, by what was worked since the one before.
fn next_look(pause: Duration, worked: Duration) -> Duration {
    match worked < pause / 50 {
        true => (pause * 2).min(REST_LOOK_EVERY),
        false => WORK_LOOK_EVERY,
    }
}

/// Of all threads, since the process began.
fn processor_time() -> Duration {
    let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        })
        .sum()
}

fn trim() {
    COLLECTIONS.fetch_add(1, Ordering::Relaxed);
    before_sleep();
    if let Ok(runtime) = Handle::try_current() {
        // Workers that sleep wake up for them, and find themselves asked.
        for _ in 0..runtime.metrics().num_workers() {
            runtime.spawn(async {});
        }
    }
    // SAFETY: it takes an integer and touches free memory only.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives free memory back, and forgets which pages of the program have been used: what runs is mapped again from the
/// file when it runs, the thousands of pages of reading flags and making certificates are not.
fn release() {
    trim();
    // SAFETY: the callback is called with valid descriptions of what is loaded, during this call only.
    unsafe {
        libc::dl_iterate_phdr(Some(release_object), std::ptr::null_mut());
    }
}

/// Divides the mapping of the program's code. Not before it has started: starting uses most of what lies together.
fn divide() {
    // SAFETY: the callback is called with valid descriptions of what is loaded, during this call only.
    unsafe {
        libc::dl_iterate_phdr(Some(divide_program), std::ptr::null_mut());
    }
}

unsafe extern "C" fn divide_program(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the caller gives a valid description with that many headers.
    let (base, headers) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
        (object.dlpi_addr as usize, headers)
    };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_X == 0 {
            continue;
        }
        let (from, length) = (base + header.p_vaddr as usize, header.p_memsz as usize);
        for (piece, length) in every_second_piece(from, length, page_size()) {
            // SAFETY: these pages are mapped; that they are left out of core dumps, as code is anyway, changes nothing
            // but that they are a mapping of their own.
            unsafe { libc::madvise(piece as *mut c_void, length, libc::MADV_DONTDUMP) };
        }
    }
    // The first object is the program itself.
    1
}

/// Every second piece that lies wholly in so many bytes.
fn every_second_piece(from: usize, length: usize, page: usize) -> impl Iterator<Item = (usize, usize)> {
    let (first, whole) = whole_pages(from, length, page);
    let pieces = (0..whole).step_by(PIECE_BYTES).skip(1).step_by(2);
    pieces.map(move |at| (first + at, PIECE_BYTES.min(whole - at)))
}

/// Forgets the used pages of a loaded object that are never written, so that all of them are as in its file.
unsafe extern "C" fn release_object(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the caller gives a valid description with that many headers.
    let (base, headers) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
        (object.dlpi_addr as usize, headers)
    };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let (from, length) = whole_pages(
            base + header.p_vaddr as usize,
            header.p_memsz as usize,
            page_size(),
        );
        if length > 0 {
            // SAFETY: these pages are mapped from a file, cannot be written and never were: forgetting them changes
            // nothing but where they are read from the next time.
            unsafe { libc::madvise(from as *mut c_void, length, libc::MADV_DONTNEED) };
        }
    }
    0
}

/// The pages that lie wholly in so many bytes: where they begin, and how many bytes they are.
fn whole_pages(from: usize, length: usize, page: usize) -> (usize, usize) {
    let first = from.next_multiple_of(page);
    let behind = (from + length) / page * page;
    (first, behind.saturating_sub(first))
}

fn page_size() -> usize {
    // SAFETY: it takes an integer and gives one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Instant;

    #[test]
    fn only_whole_pages_are_let_go() {
        for (from, length, expected) in [
            (0, 4096, (0, 4096)),
            (1, 4096, (4096, 0)),
            (4095, 8194, (4096, 8192)),
            (4096, 100, (4096, 0)),
            (10, 5, (4096, 0)),
        ] {
            assert_eq!(whole_pages(from, length, 4096), expected, "{from} {length}");
        }
    }

    #[test]
    fn every_worker_gives_back_its_pieces_before_it_sleeps_again() {
        static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_park(|| {
                let before = COLLECTED.get();
                before_sleep();
                if COLLECTED.get() != before {
                    let thread = format!("{:?}", std::thread::current().id());
                    ASKED.lock().unwrap().insert(thread);
                }
            })
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let until = Instant::now() + Duration::from_secs(20);
        while ASKED.lock().unwrap().len() < 2 && Instant::now() < until {
            trim();
            std::thread::yield_now();
        }
        assert_eq!(ASKED.lock().unwrap().len(), 2);
    }

    #[test]
    fn work_is_seen_in_the_processor_time() {
        let before = processor_time();
        let mut sum = 0u64;
        while processor_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(processor_time() > before);
    }

    #[test]
    fn who_rests_is_looked_at_less_and_less_until_it_works() {
        let mut pause = WORK_LOOK_EVERY;
        for expected in [4, 8, 16, 32, 32] {
            pause = next_look(pause, Duration::from_millis(5));
            assert_eq!(pause.as_secs(), expected);
        }
        assert_eq!(next_look(pause, Duration::from_secs(1)), WORK_LOOK_EVERY);
    }

    #[test]
    fn every_second_piece_of_the_code_is_one_of_its_own() {
        let pieces = |from, length| every_second_piece(from, length, 4096).collect::<Vec<_>>();
        let piece = PIECE_BYTES;
        assert_eq!(pieces(0, piece), []);
        assert_eq!(pieces(0, 2 * piece + 10), [(piece, piece)]);
        assert_eq!(
            pieces(1, 4 * piece),
            [(4096 + piece, piece), (4096 + 3 * piece, piece - 4096)]
        );
        let mappings = || {
            std::fs::read_to_string("/proc/self/maps")
                .unwrap()
                .lines()
                .count()
        };
        let before = mappings();
        divide();
        assert!(mappings() > before);
    }

    /// It must go on running, on pages that are read again.
    #[test]
    fn a_process_that_lets_go_of_its_pages_goes_on() {
        let table: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        release();
        assert_eq!(table.concat().len(), 10 + 180 + 2700);
        assert!(std::panic::catch_unwind(|| panic!("unwinding reads tables of the program")).is_err());
    }
}
