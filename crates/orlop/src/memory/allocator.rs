//! Where memory comes from: small pieces from an allocator that keeps them by size and thread, large ones from the
//! system's, which gives them back whole.
//!
//! A request makes and drops hundreds of small pieces: trees of JSON, names, headers. The system's allocator joins and
//! divides them each time, under a lock; there they are a list of their own size. Objects that stay are larger, and lie
//! closest in the system's, which rounds them up least.
use libmimalloc_sys::{mi_free, mi_malloc_aligned, mi_realloc_aligned, mi_zalloc_aligned};
use std::alloc::{GlobalAlloc, Layout, System};

/// Pieces up to this come by size.
const SMALL_BYTES_MAX: usize = 1024;

#[global_allocator]
static BY_SIZE: BySize = BySize;

struct BySize;

unsafe extern "C" {
    /// Gives back what is free, all of it with `force`.
    fn mi_collect(force: bool);
}

/// Gives free memory of small pieces back to the system. By itself the allocator does so only when it is asked for more,
/// and not in a process that has come to rest.
pub fn collect() {
    // SAFETY: it may be called at any time, on any thread, and touches free memory only.
    unsafe { mi_collect(true) };
}

fn is_small(size: usize) -> bool {
    size <= SMALL_BYTES_MAX
}

// SAFETY: who gives a piece is told by the size in its layout alone, which callers must repeat when they give it back or
// change it; both allocators keep to the contract for theirs.
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_small(layout.size()) {
            // SAFETY: any size and power of two is taken.
            return unsafe { mi_malloc_aligned(layout.size(), layout.align()) }.cast();
        }
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_small(layout.size()) {
            // SAFETY: as above.
            return unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }.cast();
        }
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if is_small(layout.size()) {
            // SAFETY: it is one of this allocator's, as its size says.
            return unsafe { mi_free(piece.cast()) };
        }
        // SAFETY: it is one of the system's.
        unsafe { System.dealloc(piece, layout) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match (is_small(layout.size()), is_small(size)) {
            // SAFETY: it is and stays one of this allocator's.
            (true, true) => unsafe { mi_realloc_aligned(piece.cast(), size, layout.align()) }.cast(),
            // SAFETY: it is and stays one of the system's.
            (false, false) => unsafe { System.realloc(piece, layout, size) },
            // SAFETY: the new piece is as long as what is copied; the alignment was good before.
            _ => unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(piece, moved, layout.size().min(size));
                    self.dealloc(piece, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {

    /// Across the border, in both directions, what is in a piece stays.
    #[test]
    fn a_piece_that_grows_and_shrinks_keeps_what_it_holds() {
        let mut bytes: Vec<u8> = Vec::new();
        for n in 0..5000_u32 {
            bytes.push(n as u8);
        }
        bytes.truncate(100);
        bytes.shrink_to_fit();
        assert!(bytes.iter().enumerate().all(|(n, byte)| usize::from(*byte) == n));
        let zeroed = vec![0_u64; 100];
        assert!(zeroed.iter().all(|n| *n == 0));
        #[repr(align(4096))]
        struct Page([u8; 8]);
        let page = Box::new(Page([7; 8]));
        assert_eq!((&raw const *page).addr() % 4096, 0);
        assert_eq!(page.0, [7; 8]);
    }
}
