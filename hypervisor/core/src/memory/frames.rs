//! The frame pool: pages that the core owns and has mapped, from a buddy allocator.

use super::heap::is_askable;
use super::ram::{RamError, take_for_core};
use crate::arch::mmu::{self, Kind, MapError};
use crate::arch::native_range;
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::{self, NonNull};
use spin::Mutex;

/// Size of a frame in bytes.
const FRAME: usize = 4096;
/// What the pool takes of RAM, in bytes.
const POOL_SIZE: usize = 16 << 20;
/// Blocks of up to 2^(ORDER-1) bytes: the whole pool.
const ORDER: usize = POOL_SIZE.trailing_zeros() as usize + 1;

struct Pool {
    heap: Heap<ORDER>,
    range: Range<usize>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    heap: Heap::new(),
    range: 0..0,
});

/// A problem with the frame pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The pool has no such block left.
    #[error("the frame pool has no {size} bytes aligned to {align} left")]
    Exhausted {
        /// Bytes asked for.
        size: usize,
        /// Alignment asked for, in bytes.
        align: usize,
    },
    /// There is no RAM for the pool.
    #[error("frame pool: {0}")]
    Ram(#[from] RamError),
    /// The pool cannot be mapped.
    #[error("frame pool: {0}")]
    Map(#[from] MapError),
}

/// Whole frames, physically contiguous, mapped and owned; zeroed when handed out. Dropping gives them back.
#[derive(Debug, PartialEq, Eq)]
pub struct Frames {
    start: usize,
    layout: Layout,
}

impl Frames {
    /// The first byte, as physical and as virtual address.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Size in bytes: what was asked for, rounded up to whole frames.
    pub fn size(&self) -> usize {
        self.layout.size()
    }

    /// The addresses.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.size()
    }

    /// The content, to be written. A page that is not [`Kind::Data`] at the moment faults.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the frames are ours and initialised; `&mut self` says nobody else looks.
        unsafe { core::slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(self.start), self.size()) }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // The allocator writes into free frames, and so will the next owner. A block that cannot be made writable
        // again is lost rather than dangerous.
        if !mmu::is_data(&self.range()) && mmu::protect(self.range(), Kind::Data).is_err() {
            log::error!(target: "memory", "frames at {:#x} cannot be given back", self.start);
            return;
        }
        if let Some(start) = NonNull::new(ptr::with_exposed_provenance_mut(self.start)) {
            // SAFETY: the block came from this heap with this layout, once.
            unsafe { POOL.lock().heap.dealloc(start, self.layout) };
        }
    }
}

/// Takes the pool out of RAM and maps it. Once, after `Ram::install`.
pub fn create_pool() -> Result<Range<usize>, FrameError> {
    let range = take_for_core(POOL_SIZE as u64, POOL_SIZE as u64)?;
    let range = native_range(&range);
    mmu::map_pool(range.clone())?;
    let mut pool = POOL.lock();
    // SAFETY: `take_for_core` gave the range to us alone, and it is mapped as data now.
    unsafe { pool.heap.init(range.start, range.len()) };
    pool.range = range.clone();
    Ok(range)
}

/// Takes `size` bytes of zeroed frames aligned to `align` (a power of two, at least a frame).
pub fn allocate_frames(size: usize, align: usize) -> Result<Frames, FrameError> {
    let exhausted = FrameError::Exhausted { size, align };
    let rounded = size
        .max(1)
        .checked_next_multiple_of(FRAME)
        .ok_or(exhausted.clone())?;
    let layout = Layout::from_size_align(rounded, align.max(FRAME)).map_err(|_| exhausted.clone())?;
    if !is_askable(layout, POOL_SIZE) {
        return Err(exhausted);
    }
    let block = POOL.lock().heap.alloc(layout).map_err(|()| exhausted)?;
    // SAFETY: the block is mapped as data, and belongs to nobody else.
    unsafe { block.write_bytes(0, rounded) };
    Ok(Frames {
        start: block.as_ptr().expose_provenance(),
        layout,
    })
}

/// Bytes of the pool in use, and its size.
pub fn pool_usage() -> (usize, usize) {
    let pool = POOL.lock();
    (pool.heap.stats_alloc_actual(), pool.heap.stats_total_bytes())
}

/// Whether all of the range lies in the pool.
pub fn is_pool(range: &Range<usize>) -> bool {
    let pool = POOL.lock();
    pool.range.start <= range.start && range.start <= range.end && range.end <= pool.range.end
}
