//! The address space of one guest.

use crate::PAGE_SIZE;
use crate::descriptor::Attributes;
use crate::edit::{self, Broken, Change};
use crate::error::{DestroyError, Error};
use crate::geometry::Geometry;
use crate::invalidate::{Invalidate, InvalidateError};
use crate::map;
use crate::supply::Supply;
use crate::table::Table;
use crate::walk::{self, Found, Mapping, Mappings};
use core::ops::Range;
use mmio::{Block, OutOfTableMemory, TableMemory};

/// One guest's stage-2 tree, walked by its CPUs and its devices.
///
/// Every call takes the [`TableMemory`] that the space was made in; another one would show it empty tables.
///
/// # Splitting a block
/// Changing a part of a 2 MiB or 1 GiB block breaks the whole block until the invalidation is complete. A CPU that
/// meets the gap takes a stage-2 fault for an IPA that is mapped again when the fault is handled: such a
/// fault is to be retried. A device has no retry; its access aborts.
///
/// # Leaks
/// Dropping a space leaks its tables, which is safe. [`destroy`](Self::destroy) gives them back.
#[derive(Debug)]
pub struct AddressSpace {
    geometry: Geometry,
    root: Block,
    vmid: u16,
    /// An invalidation failed: walkers may hold translations that are no longer in the tree.
    stale: bool,
    /// Tables taken out of the tree that a walker may still follow.
    quarantine: Supply,
}

impl AddressSpace {
    /// An empty space. No other live space may have the same `vmid`.
    ///
    /// # Errors
    /// No memory for the root.
    pub fn new(
        memory: &mut impl TableMemory,
        geometry: Geometry,
        vmid: u16,
    ) -> Result<AddressSpace, OutOfTableMemory> {
        let root = memory.allocate(geometry.root_size(), geometry.root_size())?;
        Ok(AddressSpace {
            geometry,
            root,
            vmid,
            stale: false,
            quarantine: Supply::default(),
        })
    }

    /// The shape of the tree.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The VMID that tags its TLB entries.
    pub fn vmid(&self) -> u16 {
        self.vmid
    }

    /// Physical address of the root table or tables.
    pub fn root(&self) -> u64 {
        self.root.address
    }

    /// The value of `VTTBR_EL2` (DDI 0487, `VTTBR_EL2`): VMID and root, CnP = 0.
    pub fn vttbr(&self) -> u64 {
        u64::from(self.vmid) << 48 | self.root.address
    }

    /// Whether an invalidation failed and [`recover`](Self::recover) has not succeeded since.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Maps `[ipa, ipa + size)` to `[pa, pa + size)` with the largest blocks that fit.
    ///
    /// Nothing is to be invalidated: the range was unmapped, and absence is never cached.
    ///
    /// # Errors
    /// The space is as before; what is mapped is never mapped over ([`Error::AlreadyMapped`]).
    pub fn map(
        &mut self,
        memory: &mut impl TableMemory,
        ipa: u64,
        pa: u64,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), Error> {
        self.check_stale()?;
        let range = self.check_range(ipa, pa, size)?;
        if pa
            .checked_add(size)
            .is_none_or(|end| end > self.geometry.pa_end())
        {
            return Err(Error::PaTooLarge {
                pa,
                size,
                bits: self.geometry.pa_bits(),
            });
        }
        let request = map::Request {
            range,
            pa,
            attributes,
        };
        let tables = request.plan(memory, &self.table())?;
        let mut supply = Supply::reserve(memory, tables)?;
        request.fill(memory, &self.table(), &mut supply);
        Ok(())
    }

    /// Unmaps `[ipa, ipa + size)`, all of which must be mapped. When it returns, no CPU and no device reaches
    /// the memory through this space any more.
    ///
    /// # Errors
    /// Before anything is changed, or [`Error::Invalidate`]: see there.
    pub fn unmap(
        &mut self,
        memory: &mut impl TableMemory,
        caches: &mut impl Invalidate,
        ipa: u64,
        size: u64,
    ) -> Result<(), Error> {
        self.change(memory, caches, ipa, size, Change::Unmap)
    }

    /// Gives `[ipa, ipa + size)`, all of which must be mapped, other attributes. Entries that have them already are
    /// not touched. When it returns, no CPU and no device uses the old ones any more.
    ///
    /// # Errors
    /// Before anything is changed, or [`Error::Invalidate`]: see there.
    pub fn protect(
        &mut self,
        memory: &mut impl TableMemory,
        caches: &mut impl Invalidate,
        ipa: u64,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), Error> {
        self.change(memory, caches, ipa, size, Change::Protect(attributes))
    }

    /// Where `ipa` leads, as hardware would find it: the block or page it lies in.
    pub fn find(&self, memory: &impl TableMemory, ipa: u64) -> Option<Mapping> {
        match walk::find(memory, &self.table(), ipa)? {
            Found::Mapping(mapping) => Some(mapping),
            Found::Nothing { .. } => None,
        }
    }

    /// The physical address and attributes of `ipa`.
    pub fn translate(&self, memory: &impl TableMemory, ipa: u64) -> Option<(u64, Attributes)> {
        let mapping = self.find(memory, ipa)?;
        Some((mapping.pa + (ipa - mapping.ipa), mapping.attributes))
    }

    /// All blocks and pages, by rising IPA.
    pub fn mappings<'m, M: TableMemory>(&self, memory: &'m M) -> Mappings<'m, M> {
        Mappings {
            memory,
            root: self.table(),
            next: 0,
        }
    }

    /// Invalidates the whole space, after which an earlier failed invalidation no longer matters:
    /// tables kept back are freed and changes are accepted again.
    ///
    /// # Errors
    /// The space is as before.
    pub fn recover(
        &mut self,
        memory: &mut impl TableMemory,
        caches: &mut impl Invalidate,
    ) -> Result<(), InvalidateError> {
        caches.invalidate(self.vmid, 0, self.geometry.ipa_end())?;
        self.quarantine.release(memory);
        self.stale = false;
        Ok(())
    }

    /// Gives all tables back. The space must be detached first: no `VTTBR_EL2` and no stream names it.
    /// Its whole VMID is invalidated once more before the first table is freed.
    ///
    /// # Errors
    /// A walker did not confirm that it forgot the space; nothing is freed, and the space comes back.
    pub fn destroy(
        mut self,
        memory: &mut impl TableMemory,
        caches: &mut impl Invalidate,
    ) -> Result<(), DestroyError> {
        if let Err(cause) = self.recover(memory, caches) {
            return Err(DestroyError { space: self, cause });
        }
        edit::free_below(memory, &self.table());
        memory.free(self.root);
        Ok(())
    }

    fn change(
        &mut self,
        memory: &mut impl TableMemory,
        caches: &mut impl Invalidate,
        ipa: u64,
        size: u64,
        change: Change,
    ) -> Result<(), Error> {
        self.check_stale()?;
        let range = self.check_range(ipa, 0, size)?;
        let request = edit::Request { range, change };
        let tables = request.plan(memory, &self.table())?;
        let mut supply = Supply::reserve(memory, tables)?;
        let mut broken = Broken::default();
        request.break_entries(memory, &self.table(), &mut supply, &mut broken);
        let Some(touched) = broken.touched.clone() else {
            return Ok(());
        };
        let size = touched.end - touched.start;
        if let Err(cause) = caches.invalidate(self.vmid, touched.start, size) {
            self.stale = true;
            request.abandon(memory, &self.table(), &broken);
            self.quarantine.absorb(memory, broken.removed);
            return Err(Error::Invalidate {
                vmid: self.vmid,
                ipa: touched.start,
                size,
                cause,
            });
        }
        request.make_entries(memory, &self.table(), &broken);
        broken.removed.release(memory);
        Ok(())
    }

    fn table(&self) -> Table {
        Table::root(
            self.root.address,
            self.geometry.start_level(),
            self.geometry.ipa_end(),
        )
    }

    fn check_stale(&self) -> Result<(), Error> {
        if self.stale {
            Err(Error::Stale { vmid: self.vmid })
        } else {
            Ok(())
        }
    }

    /// `[ipa, ipa + size)` as a range of whole pages inside the space; `pa` is looked at for its alignment only.
    fn check_range(&self, ipa: u64, pa: u64, size: u64) -> Result<Range<u64>, Error> {
        if size == 0 || !(ipa | pa | size).is_multiple_of(PAGE_SIZE) {
            return Err(Error::NotPages { ipa, pa, size });
        }
        match ipa.checked_add(size) {
            Some(end) if end <= self.geometry.ipa_end() => Ok(ipa..end),
            _ => Err(Error::IpaTooLarge {
                ipa,
                size,
                bits: self.geometry.ipa_bits(),
            }),
        }
    }
}
