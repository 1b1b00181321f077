//! Registers of an ITS (IHI 0069 12.19) and, for LPIs, of a redistributor (12.11), and how hardware reads tables.

use mmio::Bus;

pub(crate) const GITS_CTLR: usize = 0x0000;
pub(crate) const GITS_TYPER: usize = 0x0008;
pub(crate) const GITS_CBASER: usize = 0x0080;
pub(crate) const GITS_CWRITER: usize = 0x0088;
pub(crate) const GITS_CREADR: usize = 0x0090;
/// `GITS_BASER<n>`, eight of them.
pub(crate) const GITS_BASER: usize = 0x0100;
pub(crate) const BASERS: usize = 8;

pub(crate) const GICR_CTLR: usize = 0x0000;
pub(crate) const GICR_TYPER: usize = 0x0008;
pub(crate) const GICR_PROPBASER: usize = 0x0070;
pub(crate) const GICR_PENDBASER: usize = 0x0078;

/// `GITS_CTLR`: it translates and carries out commands; and it is off and does nothing any more.
pub(crate) const ENABLED: u32 = 1 << 0;
pub(crate) const QUIESCENT: u32 = 1 << 31;

/// `GITS_CBASER` and `GITS_BASER<n>`.
pub(crate) const VALID: u64 = 1 << 63;
/// `GITS_CREADR`: it stopped at a command. The offset is in bits 19:5.
pub(crate) const STALLED: u64 = 1 << 0;
pub(crate) const OFFSET: u64 = 0x7fff << 5;

/// `GICR_CTLR`.
pub(crate) const ENABLE_LPIS: u32 = 1 << 0;
pub(crate) const REGISTER_WRITE_PENDING: u32 = 1 << 3;
/// `GICR_TYPER`.
pub(crate) const PHYSICAL_LPIS: u64 = 1 << 0;
/// `GICR_PENDBASER`: the table is all zeroes.
pub(crate) const PENDING_ZERO: u64 = 1 << 62;

/// Where the field `InnerCache` of a register with a table's address begins. Its shareability is bits 11:10 in all of them,
/// and `OuterCache` = 0 says "as inner".
#[derive(Debug, Clone, Copy)]
pub(crate) enum InnerCache {
    /// `GITS_CBASER` and `GITS_BASER<n>`.
    Its = 59,
    /// `GICR_PROPBASER` and `GICR_PENDBASER`.
    Redistributor = 7,
}

const INNER_SHAREABLE: u64 = 1 << 10;
const SHAREABILITY: u64 = 3 << 10;
/// Normal memory: write-back with allocation on reads and writes, or without caches.
const WRITE_BACK: u64 = 7;
const NO_CACHE: u64 = 1;

/// Writes a register with a table's address: cached and shared if hardware keeps that, else past the caches. Returns
/// what it reads then.
pub(crate) fn write_table(bus: &impl Bus, offset: usize, value: u64, cache: InnerCache) -> u64 {
    bus.write64(offset, value | INNER_SHAREABLE | WRITE_BACK << cache as u32);
    let kept = bus.read64(offset);
    if kept & SHAREABILITY != 0 {
        return kept;
    }
    bus.write64(offset, value | NO_CACHE << cache as u32);
    bus.read64(offset)
}

/// `GITS_TYPER`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typer(pub(crate) u64);

impl Typer {
    pub(crate) fn has_physical_lpis(self) -> bool {
        self.0 & 1 != 0
    }

    /// Bytes of an entry of a device's table.
    pub(crate) fn entry_size(self) -> usize {
        self.field(4, 0xf) as usize + 1
    }

    pub(crate) fn event_bits(self) -> u32 {
        self.field(8, 0x1f) + 1
    }

    pub(crate) fn device_bits(self) -> u32 {
        self.field(13, 0x1f) + 1
    }

    /// Redistributors are named by their addresses, not by their numbers.
    pub(crate) fn targets_are_addresses(self) -> bool {
        self.0 & 1 << 19 != 0
    }

    /// Collections that need no memory.
    pub(crate) fn hardware_collections(self) -> u32 {
        self.field(24, 0xff)
    }

    fn field(self, shift: u32, mask: u32) -> u32 {
        // No more than 32 bits are left by the mask.
        u32::try_from(self.0 >> shift & u64::from(mask)).unwrap_or(0)
    }
}
