//! The ITS's own tables: `GITS_BASER<n>` (IHI 0069 12.19). They are flat: their sizes are known beforehand.

use crate::Error;
use crate::registers::{BASERS, GITS_BASER, InnerCache, VALID, write_table};
use mmio::{Bus, TableMemory};

/// `Type`.
const DEVICES: u64 = 1;
const COLLECTIONS: u64 = 4;
/// `Page_Size`, bits 9:8: what they stand for.
const PAGE_SIZES: [u64; 3] = [0x1000, 0x4000, 0x1_0000];
const PAGE_SIZE_SHIFT: u32 = 8;
const PAGE_SIZE: u64 = 3 << PAGE_SIZE_SHIFT;
/// `Size`, bits 7:0: pages, less one.
const MOST_PAGES: u64 = 256;
/// Physical address, bits 47:12. With pages of 64 KiB, bits 15:12 are bits 51:48 of the address: zero, since the core has
/// no memory there.
const ADDRESS: u64 = 0xffff_ffff_f000;

/// Which tables there are.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) devices: bool,
    pub(crate) collections: bool,
}

/// Gives memory to the tables for that many devices and collections. The others stay off: they are for virtual LPIs. While
/// the ITS is off.
pub(crate) fn set_up(
    bus: &impl Bus,
    memory: &mut impl TableMemory,
    devices: u64,
    collections: u64,
) -> Result<Found, Error> {
    let mut found = Found::default();
    for offset in (0..BASERS).map(|index| GITS_BASER + 8 * index) {
        let value = bus.read64(offset);
        let entry_size = (value >> 48 & 0x1f) + 1;
        let size = match value >> 56 & 7 {
            DEVICES => devices.saturating_mul(entry_size),
            COLLECTIONS => collections.saturating_mul(entry_size),
            _ => {
                bus.write64(offset, 0);
                continue;
            }
        };
        set_up_table(bus, memory, offset, size)?;
        found.devices |= value >> 56 & 7 == DEVICES;
        found.collections |= value >> 56 & 7 == COLLECTIONS;
    }
    Ok(found)
}

fn set_up_table(
    bus: &impl Bus,
    memory: &mut impl TableMemory,
    offset: usize,
    size: u64,
) -> Result<(), Error> {
    let (code, page) = page_size(bus, offset, size)?;
    let pages = size.div_ceil(page).max(1);
    let bytes = |bytes: u64| usize::try_from(bytes).map_err(|_| Error::TableTooLarge(size));
    let block = memory.allocate(bytes(pages * page)?, bytes(page)?)?;
    let written = VALID | block.address | code << PAGE_SIZE_SHIFT | (pages - 1);
    let read = write_table(bus, offset, written, InnerCache::Its);
    let kept = VALID | ADDRESS | PAGE_SIZE | (MOST_PAGES - 1);
    if read & kept != written & kept {
        return Err(Error::NotKept {
            register: "GITS_BASER",
            written,
            read,
        });
    }
    Ok(())
}

/// The smallest page that hardware accepts and with which the table can be described: its code and size.
fn page_size(bus: &impl Bus, offset: usize, size: u64) -> Result<(u64, u64), Error> {
    for (code, page) in (0..).zip(PAGE_SIZES) {
        if size.div_ceil(page) <= MOST_PAGES {
            bus.write64(offset, code << PAGE_SIZE_SHIFT);
            if bus.read64(offset) & PAGE_SIZE == code << PAGE_SIZE_SHIFT {
                return Ok((code, page));
            }
        }
    }
    Err(Error::TableTooLarge(size))
}
