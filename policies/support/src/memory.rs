//! Memory of a guest: small things of one login come from a little room of their own, everything else from the standard
//! library's allocator.
//!
//! A login asks for some fifty texts and lists, each for an instant. The standard library's allocator looks for the best
//! place for each and joins neighbours that become free, which was two fifths of all instructions that a login spent in a
//! policy (`callgrind`, `device`). Here a size is rounded to a power of two, and what was freed last is taken first. The
//! room has an end: what finds no place in it is served as before, so that nothing that a client sends can make a policy
//! need more memory than without it.
#![allow(unsafe_code)] // An allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};

/// Octets of the room.
const ROOM: usize = 32 * 1024;
/// Octets of the smallest place, and what every place is aligned to.
const LEAST: usize = 16;
/// Sizes of places: 16 octets to 2 KiB.
const SIZES: usize = 8;
const MOST: usize = LEAST << (SIZES - 1);

/// The allocator.
pub(crate) struct Memory {
    room: UnsafeCell<Room>,
    places: UnsafeCell<Places>,
}

#[repr(align(16))]
struct Room {
    _octets: [u8; ROOM],
}

struct Places {
    /// Those that were freed, by size: each begins with the next.
    free: [Option<NonNull<Free>>; SIZES],
    /// Octets of the room that were ever given out.
    used: usize,
}

struct Free {
    next: Option<NonNull<Free>>,
}

// SAFETY: a guest has one thread, and nothing in here calls back into it.
#[cfg(target_family = "wasm")]
unsafe impl Sync for Memory {}

#[cfg(target_family = "wasm")]
#[global_allocator]
static MEMORY: Memory = Memory::new();

impl Memory {
    /// An allocator whose room is empty.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self {
            room: UnsafeCell::new(Room { _octets: [0; ROOM] }),
            places: UnsafeCell::new(Places { free: [None; SIZES], used: 0 }),
        }
    }

    /// Whether a place is in the room.
    #[inline]
    fn owns(&self, place: *mut u8) -> bool {
        (place as usize).wrapping_sub(self.room.get() as usize) < ROOM
    }

    /// A place in the room for something that is small.
    #[inline]
    fn take(&self, size: usize) -> Option<NonNull<u8>> {
        let class = class(size);
        // SAFETY: one thread; the reference ends with this function, which calls nobody who could make another.
        let places = unsafe { &mut *self.places.get() };
        let free = places.free.get_mut(class)?;
        if let Some(place) = *free {
            // SAFETY: what is in the list was given back, and begins with the next: `give_back` wrote it.
            *free = unsafe { place.as_ref() }.next;
            return Some(place.cast());
        }
        let octets = LEAST << class;
        if octets > ROOM - places.used {
            return None;
        }
        // SAFETY: the sum was just seen to lie within the room.
        let place = unsafe { self.room.get().cast::<u8>().add(places.used) };
        places.used += octets;
        NonNull::new(place)
    }

    /// Takes a place of the room back.
    #[inline]
    fn give_back(&self, place: NonNull<u8>, size: usize) {
        // SAFETY: as in `take`.
        let places = unsafe { &mut *self.places.get() };
        if let Some(free) = places.free.get_mut(class(size)) {
            let place = place.cast::<Free>();
            // SAFETY: nobody has the place any more; it is aligned to, and has, the 16 octets of the smallest.
            unsafe { place.write(Free { next: *free }) };
            *free = Some(place);
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Which size of place something gets.
#[inline]
fn class(size: usize) -> usize {
    let last = size.max(LEAST) - 1;
    (usize::BITS - last.leading_zeros() - LEAST.trailing_zeros()) as usize
}

// SAFETY: a place of the room belongs to one owner from `take` to `give_back`, is as large as the size is rounded to, and
// aligned to 16 octets; all others are the standard library's. Whose a place is says its address alone.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() <= MOST
            && layout.align() <= LEAST
            && let Some(place) = self.take(layout.size())
        {
            return place.as_ptr();
        }
        // SAFETY: the caller's own promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        match NonNull::new(place) {
            Some(place) if self.owns(place.as_ptr()) => self.give_back(place, layout.size()),
            // SAFETY: the caller's own promise; it is none of ours.
            _ => unsafe { System.dealloc(place, layout) },
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(place) {
            // SAFETY: as for `dealloc`.
            return unsafe { System.realloc(place, layout, size) };
        }
        if size <= MOST && class(size) == class(layout.size()) {
            return place;
        }
        // SAFETY: the caller promises that the size is neither 0 nor too large for the alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both have so many octets, and are two places; the old one is the caller's to give away.
            unsafe {
                ptr::copy_nonoverlapping(place, new, size.min(layout.size()));
                self.dealloc(place, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_rounded_to_powers_of_two() {
        let octets = |size| LEAST << class(size);
        assert_eq!([0, 1, 16, 17, 32, 33, 2047, 2048].map(octets), [16, 16, 16, 32, 32, 64, 2048, 2048]);
        assert!(class(MOST) < SIZES && class(MOST + 1) == SIZES);
    }

    #[test]
    fn what_was_freed_last_is_taken_first_and_the_room_has_an_end() {
        let memory = Box::new(Memory::new());
        let layout = Layout::from_size_align(1000, 8).unwrap();
        let first = unsafe { memory.alloc(layout) };
        unsafe { memory.dealloc(first, layout) };
        assert_eq!(unsafe { memory.alloc(layout) }, first);
        let more: Vec<_> = (0..40).map(|_| unsafe { memory.alloc(layout) }).collect();
        assert!(memory.owns(more[0]) && !memory.owns(more[39]) && !more[39].is_null());
        more.into_iter().chain([first]).for_each(|place| unsafe { memory.dealloc(place, layout) });
    }

    proptest! {
        #[test]
        fn nobody_writes_into_what_is_anothers(steps in prop::collection::vec((0_u8..3, 1_usize..5000, 0_usize..6), 1..300)) {
            let memory = Box::new(Memory::new());
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            for (number, (what, size, align)) in steps.into_iter().enumerate() {
                let mark = number as u8;
                match what {
                    0 => {
                        let layout = Layout::from_size_align(size, 1 << align).unwrap();
                        let place = unsafe { memory.alloc(layout) };
                        prop_assert_eq!(place as usize % layout.align(), 0);
                        unsafe { place.write_bytes(mark, size) };
                        held.push((place, layout, mark));
                    }
                    1 if !held.is_empty() => {
                        let (place, layout, mark) = held.swap_remove(size % held.len());
                        let seen = unsafe { std::slice::from_raw_parts(place, layout.size()) };
                        prop_assert!(seen.iter().all(|octet| *octet == mark));
                        unsafe { memory.dealloc(place, layout) };
                    }
                    2 if !held.is_empty() => {
                        let index = size % held.len();
                        let (place, layout, mark) = held[index];
                        let new = Layout::from_size_align(size, layout.align()).unwrap();
                        let moved = unsafe { memory.realloc(place, layout, size) };
                        let seen = unsafe { std::slice::from_raw_parts(moved, size.min(layout.size())) };
                        prop_assert!(seen.iter().all(|octet| *octet == mark));
                        unsafe { moved.write_bytes(mark, size) };
                        held[index] = (moved, new, mark);
                    }
                    _ => {}
                }
            }
            held.into_iter().for_each(|(place, layout, _)| unsafe { memory.dealloc(place, layout) });
        }
    }
}
