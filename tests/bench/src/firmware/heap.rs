//! Memory for the SMMU's state.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use buddy_system_allocator::Heap;
use spin::Mutex;

use super::{MEMORY, MEMORY_END};

/// The second half of secure memory, but for its last page.
const START: usize = MEMORY + (MEMORY_END - MEMORY) / 2;
const END: usize = MEMORY_END - 0x1000;
/// Largest block: 2^31 bytes.
const ORDERS: usize = 32;

struct Allocator(Mutex<Option<Heap<ORDERS>>>);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(Mutex::new(None));

// SAFETY: a heap behind a lock; blocks are apart, and as large and aligned as asked for.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.0.lock();
        let heap = heap.get_or_insert_with(|| {
            let mut heap = Heap::empty();
            // SAFETY: secure memory that the linker script keeps free, used by nobody else, and added once.
            unsafe { heap.add_to_heap(START, END) };
            heap
        });
        heap.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let (Some(heap), Some(block)) = (self.0.lock().as_mut(), NonNull::new(block)) {
            // SAFETY: the caller's promise: it came from `alloc` with this layout.
            unsafe { heap.dealloc(block, layout) };
        }
    }
}
