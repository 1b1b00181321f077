//! The core's own address space: EL2 stage 1, identity mapped, nothing writable and executable.
//!
//! Mapped are the image, the frame pool, the device tree and the bundle (read-only) and the device windows that were asked
//! for. Guest RAM is not, but for the moments of [`with_mapped`].
//!
//! All CPUs share the tables. A change invalidates TLBs in the inner shareable domain before it returns.

use super::percpu::{self, MAX_CPUS};
use super::{image, native, native_range};
use crate::memory;
use aarch64_cpu::registers::{MAIR_EL2, TCR_EL2};
use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El23Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El2, MemoryRegion, PageTable, Translation};
use alloc::alloc::{alloc, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::{self, NonNull};
use mmio::Region;
use spin::Mutex;
use tock_registers::interfaces::Readable;

/// Level of the root table: 48 bits of address, like `TCR_EL2.T0SZ` = 16 in `entry.S`.
const ROOT_LEVEL: usize = 0;
/// Size of a page in bytes.
pub const PAGE: usize = 4096;
/// `SCTLR_EL2` with MMU, caches, stack alignment check, and WXN: what is writable is not executable.
const SCTLR: u64 = 0x30c5_0830 | (1 << 19) | (1 << 12) | (1 << 3) | (1 << 2) | (1 << 0);

/// What a range of addresses is for, and so its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Code: readable and executable.
    Text,
    /// Readable.
    ReadOnly,
    /// Readable and writable.
    Data,
    /// Device registers: readable and writable, Device-nGnRE.
    Device,
}

impl Kind {
    fn attributes(self) -> El23Attributes {
        let common = El23Attributes::VALID
            | El23Attributes::ACCESSED
            | El23Attributes::USER_RES1
            | El23Attributes::INNER_SHAREABLE;
        // Attribute 0 of MAIR_EL2 is Device-nGnRE, 1 is normal write-back (`entry.S`).
        let normal = common | El23Attributes::ATTRIBUTE_INDEX_1;
        match self {
            Kind::Text => normal | El23Attributes::READ_ONLY,
            Kind::ReadOnly => normal | El23Attributes::READ_ONLY | El23Attributes::XN,
            Kind::Data => normal | El23Attributes::XN,
            Kind::Device => common | El23Attributes::ATTRIBUTE_INDEX_0 | El23Attributes::XN,
        }
    }
}

/// A mapping that could not be made or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// No memory for translation tables.
    #[error("mapping {:#x}..{:#x}: no memory for {tables} translation tables", range.start, range.end)]
    OutOfTables {
        /// What was to be mapped.
        range: Range<usize>,
        /// How many tables it may take.
        tables: usize,
    },
    /// The range is empty, wraps around, or lies above 48 bits.
    #[error("mapping {:#x}..{:#x}: not a range of addresses", .0.start, .0.end)]
    BadRange(Range<usize>),
    /// Something else is mapped there.
    #[error("mapping {:#x}..{:#x}: something is mapped there", .0.start, .0.end)]
    Occupied(Range<usize>),
    /// A device window that covers RAM.
    #[error("mapping {:#x}..{:#x} as device registers: it is memory", .0.start, .0.end)]
    DeviceInMemory(Range<usize>),
    /// Something other than a device window that does not lie in memory.
    #[error("mapping {:#x}..{:#x}: it is not free memory", .0.start, .0.end)]
    NotMemory(Range<usize>),
    /// The table crate refused.
    #[error("mapping {:#x}..{:#x}: {reason}", range.start, range.end)]
    Refused {
        /// What was to be mapped.
        range: Range<usize>,
        /// Why not.
        reason: aarch64_paging::MapError,
    },
    /// The map does not exist yet.
    #[error("mapping before the map exists")]
    NotReady,
}

/// Zeroed pages in wait for a change of the map.
///
/// aarch64-paging cannot be told in the middle of a change that there is no memory, so what the change may need is laid
/// in beforehand.
struct Reserve(Vec<NonNull<PageTable<El23Attributes>>>);

// SAFETY: the pages belong to the reserve, whichever CPU looks at it.
unsafe impl Send for Reserve {}

static RESERVE: Mutex<Reserve> = Mutex::new(Reserve(Vec::new()));
const TABLE_LAYOUT: Layout = Layout::new::<PageTable<El23Attributes>>();

impl Reserve {
    /// Lays in pages until there are `count`.
    fn fill(&mut self, count: usize) -> Option<()> {
        self.0.try_reserve(count.saturating_sub(self.0.len())).ok()?;
        while self.0.len() < count {
            // SAFETY: the layout is not empty.
            self.0.push(NonNull::new(unsafe { alloc(TABLE_LAYOUT) })?.cast());
        }
        Some(())
    }
}

/// Where aarch64-paging gets its tables, and how it finds them: virtual is physical.
struct Tables;

impl Translation<El23Attributes> for Tables {
    fn allocate_table(&mut self) -> (NonNull<PageTable<El23Attributes>>, PhysicalAddress) {
        // `fill` made sure that there is one; the other branch aborts when the heap is empty too.
        let page = RESERVE.lock().0.pop();
        let page = page.unwrap_or_else(PageTable::new);
        // SAFETY: the page is ours, of the right size, and zeroes are a table without entries.
        unsafe { page.write_bytes(0, 1) };
        (page, PhysicalAddress(page.as_ptr().expose_provenance()))
    }

    unsafe fn deallocate_table(&mut self, page: NonNull<PageTable<El23Attributes>>) {
        // SAFETY: `allocate_table` got it from the heap with this layout, and our caller has no use for it any more.
        unsafe { dealloc(page.as_ptr().cast(), TABLE_LAYOUT) };
    }

    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<PageTable<El23Attributes>> {
        // An address of a table is never null; a dangling pointer faults in the guard of page 0.
        NonNull::new(ptr::with_exposed_provenance_mut(address.0)).unwrap_or(NonNull::dangling())
    }
}

type Map = Mapping<Tables, El2>;

static MAP: Mutex<Option<Map>> = Mutex::new(None);

unsafe extern "C" {
    /// In `entry.S`.
    fn enable_mmu(root: u64, translation_control: u64, memory_attributes: u64, system_control: u64);
}

/// Replaces the first map of `entry.S` by the real one. Once, on the boot CPU.
pub fn init() -> Result<(), MapError> {
    let mut slot = MAP.lock();
    if slot.is_some() {
        return Ok(());
    }
    RESERVE.lock().fill(1).ok_or(MapError::OutOfTables {
        range: image::whole(),
        tables: 1,
    })?;
    let mut map = Mapping::new(Tables, ROOT_LEVEL, El2);
    change(
        &mut map,
        image::text(),
        Some(Kind::Text),
        Constraints::NO_BLOCK_MAPPINGS,
    )?;
    change(
        &mut map,
        image::rodata(),
        Some(Kind::ReadOnly),
        Constraints::NO_BLOCK_MAPPINGS,
    )?;
    // Data, around the guard pages.
    let mut start = image::data().start;
    for guard in (0..MAX_CPUS).map(percpu::guard_page) {
        change(
            &mut map,
            start..guard.start,
            Some(Kind::Data),
            Constraints::NO_BLOCK_MAPPINGS,
        )?;
        start = guard.end;
    }
    change(
        &mut map,
        start..image::data().end,
        Some(Kind::Data),
        Constraints::empty(),
    )?;
    // SAFETY: the new map has everything the core uses so far: image, stacks, heap. It never goes away.
    unsafe { enable_mmu(map.root_address().0 as u64, TCR_EL2.get(), MAIR_EL2.get(), SCTLR) };
    map.mark_active();
    *slot = Some(map);
    Ok(())
}

/// What another CPU needs to join: its `TTBR0_EL2` and `SCTLR_EL2`.
pub(super) fn registers() -> Result<(u64, u64), MapError> {
    let map = MAP.lock();
    let map = map.as_ref().ok_or(MapError::NotReady)?;
    Ok((map.root_address().0 as u64, SCTLR))
}

/// How many tables a change of `range` may take, at most: one for each entry of the level above that it touches, where
/// blocks need them at the range's two ends only.
fn tables_for(range: &Range<usize>, constraints: Constraints) -> usize {
    let touched = |shift: u32| ((range.end - 1) >> shift) - (range.start >> shift) + 1;
    let ends = if constraints.contains(Constraints::NO_BLOCK_MAPPINGS) {
        usize::MAX
    } else {
        2
    };
    touched(39) + touched(30).min(ends) + touched(21).min(ends)
}

/// Maps (`Some`) or unmaps (`None`) whole pages.
fn change(
    map: &mut Map,
    range: Range<usize>,
    kind: Option<Kind>,
    constraints: Constraints,
) -> Result<(), MapError> {
    let tables = tables_for(&range, constraints);
    RESERVE.lock().fill(tables).ok_or_else(|| MapError::OutOfTables {
        range: range.clone(),
        tables,
    })?;
    let attributes = kind.map_or(El23Attributes::empty(), Kind::attributes);
    map.map_range(
        &MemoryRegion::new(range.start, range.end),
        PhysicalAddress(range.start),
        attributes,
        constraints,
    )
    .map_err(|reason| MapError::Refused { range, reason })
}

/// Widens a range to whole pages.
fn pages(range: Range<usize>) -> Result<Range<usize>, MapError> {
    let end = range.end.checked_next_multiple_of(PAGE);
    match end {
        Some(end) if range.start < range.end && end <= 1 << 48 => Ok(range.start & !(PAGE - 1)..end),
        _ => Err(MapError::BadRange(range)),
    }
}

/// Whether nothing of the range is mapped.
fn is_vacant(map: &Map, range: &Range<usize>) -> bool {
    let region = MemoryRegion::new(range.start, range.end);
    map.walk_range(&region, &mut |_, entry, _| {
        if entry.is_valid() { Err(()) } else { Ok(()) }
    })
    .is_ok()
}

/// Maps `range`, widened to whole pages, where nothing is mapped yet.
fn map_vacant(range: Range<usize>, kind: Kind, constraints: Constraints) -> Result<Range<usize>, MapError> {
    let range = pages(range)?;
    let mut map = MAP.lock();
    let map = map.as_mut().ok_or(MapError::NotReady)?;
    if !is_vacant(map, &range) {
        return Err(MapError::Occupied(range));
    }
    change(map, range.clone(), Some(kind), constraints)?;
    Ok(range)
}

/// Maps addresses that nobody has for the time of `work`, which gets them in whole pages.
fn with_vacant<R>(
    range: Range<usize>,
    kind: Kind,
    work: impl FnOnce(Range<usize>) -> R,
) -> Result<R, MapError> {
    let window = map_vacant(range, kind, Constraints::empty())?;
    let result = work(window.clone());
    let mut map = MAP.lock();
    let map = map.as_mut().ok_or(MapError::NotReady)?;
    change(map, window, None, Constraints::empty())?;
    Ok(result)
}

/// Maps the frame pool, page by page, so that rights can change page by page later.
pub fn map_pool(range: Range<usize>) -> Result<(), MapError> {
    map_vacant(range, Kind::Data, Constraints::NO_BLOCK_MAPPINGS).map(|_| ())
}

/// Maps what the boot loader left for us (device tree, bundle) for good and for reading.
///
/// Pages that are read-only already may be part of it, since the boot loader packs closely.
pub fn map_boot_data(range: Range<usize>) -> Result<&'static [u8], MapError> {
    let whole = pages(range.clone())?;
    let mut map = MAP.lock();
    let map = map.as_mut().ok_or(MapError::NotReady)?;
    let wanted = Kind::ReadOnly.attributes();
    let region = MemoryRegion::new(whole.start, whole.end);
    let suits = map.walk_range(&region, &mut |_, entry, _| {
        let suits = !entry.is_valid() || entry.flags() - El23Attributes::TABLE_OR_PAGE == wanted;
        if suits { Ok(()) } else { Err(()) }
    });
    let image = image::whole();
    if suits.is_err() || (whole.start < image.end && image.start < whole.end) {
        return Err(MapError::Occupied(whole));
    }
    change(map, whole, Some(Kind::ReadOnly), Constraints::empty())?;
    // SAFETY: the range is mapped for reading, for good. It is memory that the boot loader handed to us, which nobody
    // writes: `Ram` keeps it from everyone else.
    Ok(unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(range.start), range.len()) })
}

/// Maps device registers for good. The same window, or a part of it, may be asked for again.
pub fn map_device(address: u64, size: u64) -> Result<Region, MapError> {
    let start = native(address);
    let range = start..start.saturating_add(native(size));
    let whole = pages(range.clone())?;
    let memory = whole.start as u64..whole.end as u64;
    let image = image::whole();
    if memory::is_ram(&memory) || (whole.start < image.end && image.start < whole.end) {
        return Err(MapError::DeviceInMemory(range));
    }
    if !address.is_multiple_of(8) {
        return Err(MapError::BadRange(range));
    }
    let mut map = MAP.lock();
    let map = map.as_mut().ok_or(MapError::NotReady)?;
    change(map, whole, Some(Kind::Device), Constraints::empty())?;
    // SAFETY: the window is mapped as device memory, for good; it is not RAM, so no Rust object lies in it.
    Ok(unsafe { Region::new(range.start, range.len()) })
}

/// Maps device registers for the time of `work`, which gets them as they lie behind the first byte of their first page.
/// For what will be a guest's: the core keeps no way to it, and nobody else in the core has one now.
pub fn with_device<R>(address: u64, size: u64, work: impl FnOnce(&Region) -> R) -> Result<R, MapError> {
    let start = native(address);
    let range = start..start.saturating_add(native(size));
    let whole = pages(range.clone())?;
    if memory::is_ram(&(whole.start as u64..whole.end as u64)) {
        return Err(MapError::DeviceInMemory(range));
    }
    with_vacant(range, Kind::Device, |window| {
        // SAFETY: the window was vacant and is mapped as device memory as long as `work` can use the region; it is not RAM,
        // so no Rust object lies in it.
        let region = unsafe { Region::new(window.start, window.len()) };
        work(&region)
    })
}

/// Writes a word of memory that nobody has, and to which somebody with its caches off is looking.
pub fn write_word(address: u64, value: u64) -> Result<(), MapError> {
    let start = native(address);
    let range = start..start.saturating_add(size_of::<u64>());
    if address == 0 || !address.is_multiple_of(8) || !memory::is_ram(&(range.start as u64..range.end as u64))
    {
        return Err(MapError::NotMemory(range));
    }
    with_vacant(range.clone(), Kind::Data, |_| {
        let word: *mut u64 = ptr::with_exposed_provenance_mut(start);
        // SAFETY: it is not null, aligned, mapped for writing as long as this runs, and belongs to no Rust object: its page
        // was vacant.
        unsafe { word.write_volatile(value) };
        super::cpu::clean_invalidate_to_coherency(range);
    })
}

/// Whether a part of these addresses is RAM, or registers that the core has mapped, so that no guest may have them.
/// What is no range of addresses counts as ours.
pub fn is_ours(address: u64, size: u64) -> bool {
    let start = native(address);
    let Ok(range) = pages(start..start.saturating_add(native(size))) else {
        return true;
    };
    memory::is_ram(&(range.start as u64..range.end as u64))
        || !MAP.lock().as_ref().is_some_and(|map| is_vacant(map, &range))
}

/// Changes the rights of whole pages of the pool; for the owner of the [`memory::Frames`], whose drop makes them data again.
/// What becomes [`Kind::Text`] goes through [`super::cpu::publish_instructions`] first.
pub fn protect(range: Range<usize>, kind: Kind) -> Result<(), MapError> {
    change_pool(range, Some(kind))
}

/// Unmaps whole pages of the pool, so that they guard their neighbours; otherwise like [`protect`].
pub fn unmap(range: Range<usize>) -> Result<(), MapError> {
    change_pool(range, None)
}

/// Whether all of the range is mapped as data.
pub fn is_data(range: &Range<usize>) -> bool {
    let region = MemoryRegion::new(range.start, range.end);
    let wanted = Kind::Data.attributes();
    MAP.lock().as_ref().is_some_and(|map| {
        map.walk_range(&region, &mut |_, entry, _| {
            let suits = entry.flags() - El23Attributes::TABLE_OR_PAGE == wanted;
            if suits { Ok(()) } else { Err(()) }
        })
        .is_ok()
    })
}

fn change_pool(range: Range<usize>, kind: Option<Kind>) -> Result<(), MapError> {
    if range.start >= range.end || !(range.start | range.end).is_multiple_of(PAGE) {
        return Err(MapError::BadRange(range));
    }
    if !memory::is_pool(&range) || kind == Some(Kind::Device) {
        return Err(MapError::NotMemory(range));
    }
    let mut map = MAP.lock();
    change(
        map.as_mut().ok_or(MapError::NotReady)?,
        range,
        kind,
        Constraints::NO_BLOCK_MAPPINGS,
    )
}

/// Maps guest RAM for the time of `work`, and writes it back to memory afterwards, so that a guest with its caches off
/// sees it.
///
/// The range is whole pages that were taken from RAM for a guest ([`memory::take_guest`]); no guest that runs may own it.
pub fn with_mapped<R>(range: Range<u64>, work: impl FnOnce(&mut [u8]) -> R) -> Result<R, MapError> {
    let window = native_range(&range);
    if !memory::is_guest(&range) {
        return Err(MapError::NotMemory(window));
    }
    with_vacant(window, Kind::Data, |window| {
        // SAFETY: the window is mapped as data, belongs to no Rust object, and no other window overlaps it: it was vacant.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(window.start), window.len())
        };
        let result = work(bytes);
        super::cpu::clean_invalidate_to_coherency(window);
        result
    })
}

/// Copies guest RAM. Unlike with [`with_mapped`], the guest may run, and write to it meanwhile.
pub fn read_guest(address: u64, into: &mut [u8]) -> Result<(), MapError> {
    let start = native(address);
    let range = start..start.saturating_add(into.len());
    if !memory::is_guest(&(range.start as u64..range.end as u64)) {
        return Err(MapError::NotMemory(range));
    }
    let window = map_vacant(range.clone(), Kind::ReadOnly, Constraints::empty())?;
    // A guest may write past its caches or through them: nothing older than what it wrote last stays in a line of ours.
    super::cpu::clean_invalidate_to_coherency(range);
    let source: *const u8 = ptr::with_exposed_provenance(start);
    for (offset, byte) in into.iter_mut().enumerate() {
        // SAFETY: it lies in the window, which is mapped, and in no Rust object. Volatile, since somebody may write.
        *byte = unsafe { source.wrapping_add(offset).read_volatile() };
    }
    let mut map = MAP.lock();
    let map = map.as_mut().ok_or(MapError::NotReady)?;
    change(map, window, None, Constraints::empty())
}
