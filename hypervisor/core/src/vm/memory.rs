//! A guest's memory: its banks of RAM, its stage 2, and what it gave back.

use super::load::Load;
use crate::arch::mmu::{self, MapError};
use crate::arch::{bulk, native};
use crate::memory::{FrameTables, RamError};
use alloc::vec::Vec;
use core::ops::Range;
use driver_abi::Domain;
use mmio::OutOfTableMemory;
use stage2::{Access, AddressSpace, Attributes, Geometry, Invalidate};

/// One bank of RAM, physically contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bank {
    /// Guest physical address.
    pub ipa: u64,
    /// Physical address.
    pub pa: u64,
    /// Size in bytes.
    pub size: u64,
}

impl Bank {
    /// The physical range of `[ipa, ipa + size)`, if all of it lies in this bank.
    fn physical(&self, ipa: u64, size: u64) -> Option<Range<u64>> {
        let offset = ipa.checked_sub(self.ipa)?;
        let end = offset.checked_add(size).filter(|end| *end <= self.size)?;
        Some(self.pa + offset..self.pa + end)
    }
}

/// A guest's memory cannot be set up or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MemoryError {
    /// No tables.
    #[error(transparent)]
    Tables(#[from] OutOfTableMemory),
    /// Stage 2 refuses.
    #[error("stage 2: {0}")]
    Stage2(#[from] stage2::Error),
    /// The RAM is not to be had.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The RAM cannot be mapped for being filled.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What a guest wants to give back is not a range of pages of its RAM.
    #[error("{size:#x} bytes at {ipa:#x} are not pages of the guest's RAM")]
    NotItsPages {
        /// Guest physical address.
        ipa: u64,
        /// Size in bytes.
        size: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Memory {
    tables: FrameTables,
    space: AddressSpace,
    banks: Vec<Bank>,
}

impl Memory {
    /// An address space with `banks` mapped as RAM.
    pub fn new(geometry: Geometry, vmid: u16, banks: Vec<Bank>) -> Result<Memory, MemoryError> {
        let mut tables = FrameTables::new();
        let space = AddressSpace::new(&mut tables, geometry, vmid)?;
        let mut memory = Memory { tables, space, banks };
        for bank in &memory.banks {
            memory
                .space
                .map(&mut memory.tables, bank.ipa, bank.pa, bank.size, Attributes::RAM)?;
        }
        Ok(memory)
    }

    /// The address space as an SMMU driver is told of it.
    pub fn domain(&self) -> Domain {
        let geometry = self.space.geometry();
        Domain {
            root: self.space.root(),
            vmid: self.space.vmid(),
            ipa_bits: geometry.ipa_bits(),
            pa_bits: geometry.pa_bits(),
            start_level: geometry.start_level(),
            reserved: [0; 3],
        }
    }

    /// `VTTBR_EL2`.
    pub fn vttbr(&self) -> u64 {
        self.space.vttbr()
    }

    /// Whether hardware, if it looked again, would find something at `ipa`.
    pub fn is_mapped(&self, ipa: u64) -> bool {
        self.space.find(&self.tables, ipa).is_some()
    }

    /// Whether `ipa` lies in the guest's RAM.
    pub fn is_ram(&self, ipa: u64) -> bool {
        self.banks.iter().any(|bank| bank.physical(ipa, 1).is_some())
    }

    /// Copies what lies at `ipa` in the guest's RAM.
    ///
    /// # Errors
    /// Not all of it is RAM that the guest has, or it cannot be mapped.
    pub fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let (mut at, mut rest) = (ipa, into);
        while !rest.is_empty() {
            // Pages may have been given back one by one.
            let in_page = native(stage2::PAGE_SIZE - at % stage2::PAGE_SIZE).min(rest.len());
            let (piece, after) = rest.split_at_mut(in_page);
            let size = piece.len() as u64;
            let physical = self.banks.iter().find_map(|bank| bank.physical(at, size));
            let physical = physical.filter(|_| self.is_mapped(at));
            let physical = physical.ok_or(MemoryError::NotItsPages { ipa: at, size })?;
            mmu::read_guest(physical.start, piece)?;
            at += size;
            rest = after;
        }
        Ok(())
    }

    /// Maps a page that devices write their messages to, and that nobody reads.
    pub fn map_doorbell(&mut self, ipa: u64, address: u64) -> Result<(), MemoryError> {
        let attributes = Attributes {
            access: Access::Write,
            ..Attributes::DEVICE
        };
        Ok(self
            .space
            .map(&mut self.tables, ipa, address, stage2::PAGE_SIZE, attributes)?)
    }

    /// Whether a part of the range lies in the guest's RAM, given back or not.
    pub fn is_on_ram(&self, ipa: u64, size: u64) -> bool {
        let end = ipa.saturating_add(size);
        self.banks
            .iter()
            .any(|bank| ipa < bank.ipa + bank.size && bank.ipa < end)
    }

    /// Maps device registers.
    pub fn map_device(&mut self, ipa: u64, physical: u64, size: u64) -> Result<(), MemoryError> {
        Ok(self
            .space
            .map(&mut self.tables, ipa, physical, size, Attributes::DEVICE)?)
    }

    /// Unmaps device registers.
    pub fn unmap_device(
        &mut self,
        walkers: &mut dyn Invalidate,
        ipa: u64,
        size: u64,
    ) -> Result<(), MemoryError> {
        Ok(self
            .space
            .unmap(&mut self.tables, &mut &mut *walkers, ipa, size)?)
    }

    /// Takes pages of RAM from the guest: unmapped from its CPUs and devices, then overwritten with zeroes. Nobody else gets
    /// them, and the guest has them again after its next reset.
    ///
    /// # Errors
    /// Nothing changed, or the pages are unmapped but some walker did not confirm it; then they stay as they are.
    pub fn give_back(
        &mut self,
        walkers: &mut dyn Invalidate,
        ipa: u64,
        size: u64,
    ) -> Result<(), MemoryError> {
        let physical = self.banks.iter().find_map(|bank| bank.physical(ipa, size));
        let physical = physical.ok_or(MemoryError::NotItsPages { ipa, size })?;
        self.space
            .unmap(&mut self.tables, &mut &mut *walkers, ipa, size)?;
        Ok(mmu::with_mapped(physical, bulk::clear)?)
    }

    /// Makes the guest's RAM what it is at its start: all of it there, and filled anew. None of its vCPUs may run, and
    /// none of its devices write.
    ///
    /// # Errors
    /// The guest cannot be started again.
    pub fn renew(&mut self, load: &Load) -> Result<(), MemoryError> {
        for index in 0..self.banks.len() {
            if let Some(bank) = self.banks.get(index).copied() {
                self.map_gaps(&bank)?;
            }
        }
        Ok(load.fill(&self.banks)?)
    }

    /// Maps what was given back of a bank.
    fn map_gaps(&mut self, bank: &Bank) -> Result<(), MemoryError> {
        let end = bank.ipa + bank.size;
        let mut next = bank.ipa;
        while next < end {
            if let Some(mapping) = self.space.find(&self.tables, next) {
                next = mapping.ipa + mapping.size;
                continue;
            }
            let start = next;
            while next < end && self.space.find(&self.tables, next).is_none() {
                next += stage2::PAGE_SIZE;
            }
            let pa = bank.pa + (start - bank.ipa);
            self.space
                .map(&mut self.tables, start, pa, next - start, Attributes::RAM)?;
        }
        Ok(())
    }
}
