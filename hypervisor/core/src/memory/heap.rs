//! The global heap of the core: a fixed part of the image.

use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use spin::Mutex;

/// Size of the heap in bytes: the largest device tree that the gate accepts, with what is built from it, fits.
const HEAP_SIZE: usize = 16 << 20;
/// Blocks of up to 2^(ORDER-1) bytes: the whole heap.
const ORDER: usize = HEAP_SIZE.trailing_zeros() as usize + 1;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<MaybeUninit<[u8; HEAP_SIZE]>>);

// SAFETY: only `init_heap` looks at it, once, and gives it to the allocator behind a lock.
unsafe impl Sync for Memory {}

#[unsafe(link_section = ".bss..heap")]
static MEMORY: Memory = Memory(UnsafeCell::new(MaybeUninit::uninit()));

struct CoreHeap(Mutex<Heap<ORDER>>);

#[global_allocator]
static HEAP: CoreHeap = CoreHeap(Mutex::new(Heap::new()));

/// Whether the buddy allocator can be asked for this layout: it rounds sizes up to powers of two without a check.
pub(super) fn is_askable(layout: Layout, largest: usize) -> bool {
    layout.size() <= largest && layout.align() <= largest
}

// SAFETY: blocks come from `Heap`, which hands out each byte of `MEMORY` to one owner at a time, aligned as asked:
// its blocks are powers of two, aligned to their size.
unsafe impl GlobalAlloc for CoreHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_askable(layout, HEAP_SIZE) {
            return ptr::null_mut();
        }
        self.0
            .lock()
            .alloc(layout)
            .map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: by our caller's contract, `block` came from `alloc` with the same layout.
            unsafe { self.0.lock().dealloc(block, layout) };
        }
    }
}

/// Makes the heap usable. Once, on the boot CPU, before anything allocates.
pub fn init_heap() {
    let mut heap = HEAP.0.lock();
    if heap.stats_total_bytes() == 0 {
        // SAFETY: `MEMORY` is ours alone, lives for good, and was not given to the heap before.
        unsafe { heap.init(MEMORY.0.get().addr(), HEAP_SIZE) };
    }
}

/// Bytes of the heap in use, and its size.
pub fn heap_usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.stats_alloc_actual(), heap.stats_total_bytes())
}
