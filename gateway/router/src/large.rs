//! Where large tables are: in large pages, where the system has them.
//!
//! A look-up in a table of many megabytes is a wait for memory, and with small pages another one for where the page is: the
//! processor knows the addresses of some thousand pages, and a table of 100,000 subscriptions has more. Only tables ask for
//! large pages, since each of theirs is filled; the heap at large must not (see `cli/serve.rs` of the program).
//!
//! Knows nothing of what is in the tables.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator, Global};

/// The octets of a large page on nearly all systems; where it is another, the system looks after what fits.
const PAGE: usize = 2 * 1024 * 1024;
/// Octets from which on a table has pages of its own. A smaller one would leave half of its last page empty.
const LARGE: usize = 2 * PAGE;

/// Allocates small things where everything else is, and large ones in pages of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Large;

/// The octets that are mapped for a large allocation; none for a small one.
fn mapped(layout: Layout) -> Option<usize> {
    let is_large = cfg!(target_os = "linux") && layout.size() >= LARGE && layout.align() <= 4096;
    is_large.then(|| layout.size().checked_next_multiple_of(PAGE)).flatten()
}

// SAFETY: what is small is `Global`'s from its allocation to its end, and what is large the system's: which of the two it is
// depends on nothing but the layout, which is the same for both. A mapping stays where it is until it is unmapped, whatever
// becomes of the value of this type, which has no state. Growing and shrinking are the trait's own: a new allocation, a copy
// and the end of the old one, each with its own layout.
// Measured: a message among 100,000 subscriptions, `docs/performance`.
#[allow(unsafe_code)]
unsafe impl Allocator for Large {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match mapped(layout) {
            Some(octets) => map(octets),
            None => Global.allocate(layout),
        }
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        match mapped(layout) {
            // SAFETY: of this layout, so it is a mapping of so many octets, which nobody uses any more.
            Some(octets) => unsafe { unmap(ptr, octets) },
            // SAFETY: of this layout, so it is `Global`'s.
            None => unsafe { Global.deallocate(ptr, layout) },
        }
    }
}

#[cfg(target_os = "linux")]
fn map(octets: usize) -> Result<NonNull<[u8]>, AllocError> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

    let (may, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new private mapping at an address that the system chooses overlaps with nothing.
    #[allow(unsafe_code)]
    let at = unsafe { mmap_anonymous(std::ptr::null_mut(), octets, may, private) }.map_err(|_| AllocError)?;
    // Where there are no large pages, the table has small ones.
    // SAFETY: the mapping is ours, and the advice changes nothing that is in it.
    #[allow(unsafe_code)]
    let _ = unsafe { madvise(at, octets, Advice::LinuxHugepage) };
    let at = NonNull::new(at.cast::<u8>()).ok_or(AllocError)?;
    Ok(NonNull::slice_from_raw_parts(at, octets))
}

/// # Safety
/// `at` is a mapping of so many octets by [`map`], and nobody uses it any more.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
unsafe fn unmap(at: NonNull<u8>, octets: usize) {
    // It fails for no address that was mapped; if it did, the memory would be lost, and nothing else.
    // SAFETY: the caller's.
    let _ = unsafe { rustix::mm::munmap(at.as_ptr().cast(), octets) };
}

/// Nothing is large on other systems.
#[cfg(not(target_os = "linux"))]
fn map(_: usize) -> Result<NonNull<[u8]>, AllocError> {
    Err(AllocError)
}

/// # Safety
/// It is never called: nothing is large on other systems.
#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
unsafe fn unmap(_: NonNull<u8>, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_into_pages_of_its_own_and_back_is_what_it_was() {
        let mut list = allocator_api2::vec::Vec::new_in(Large);
        for n in 0..1_000_000_u64 {
            list.push(n);
        }
        assert!(mapped(Layout::for_value(&*list)).is_some());
        assert!(list.iter().copied().eq(0..1_000_000));
        list.truncate(1000);
        list.shrink_to_fit();
        assert!(mapped(Layout::for_value(&*list)).is_none());
        assert!(list.iter().copied().eq(0..1000));
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 16).unwrap();
        assert!(Large.allocate(layout).is_err());
    }
}
