//! The board: who answers at which address, and what devices do on their own.

use alloc::string::String;
use alloc::vec::Vec;

use crate::edu::{Edu, Transfer};
use crate::iommu::Iommu;
use crate::map::{BARS, ECAM, PLATFORM, PLATFORM_INTERRUPT, PLATFORM_STREAM, SLOTS, SMMU, pci_interrupt};
use crate::memory::Memory;
use crate::pci::HostBridge;

/// Translations hold for the rest of a page.
const PAGE: u64 = 4096;
/// Transfers between devices move registers of this many bytes.
const REGISTER: usize = 4;

/// All emulated devices.
#[derive(Debug)]
pub struct Board<I, M> {
    host: HostBridge,
    /// A device that is no PCI function: what stops its DMA is the SMMU or nothing.
    platform: Edu,
    iommu: I,
    memory: M,
}

impl<I: Iommu, M: Memory> Board<I, M> {
    /// A board after reset.
    pub fn new(iommu: I, memory: M) -> Self {
        Board {
            host: HostBridge::new(SLOTS),
            platform: Edu::new(),
            iommu,
            memory,
        }
    }

    /// Answers a load of `size` bytes; all ones where nobody is.
    pub fn read(&mut self, address: u64, size: usize) -> u64 {
        if ECAM.contains(&address) {
            self.host.read(address - ECAM.start, size)
        } else if SMMU.contains(&address) {
            let offset = usize::try_from(address - SMMU.start);
            offset.map_or(u64::MAX, |offset| self.iommu.read(offset, size))
        } else {
            let found = self.at(address);
            found.map_or(u64::MAX, |(edu, offset)| edu.read(offset, size))
        }
    }

    /// Takes a store of `size` bytes, at the time `now_us`.
    pub fn write(&mut self, address: u64, size: usize, value: u64, now_us: u64) {
        if ECAM.contains(&address) {
            self.host.write(address - ECAM.start, size, value);
        } else if SMMU.contains(&address) {
            if let Ok(offset) = usize::try_from(address - SMMU.start) {
                self.iommu.write(offset, size, value);
            }
        } else if let Some((edu, offset)) = self.at(address) {
            edu.write(offset, size, value, now_us);
        }
    }

    /// The device whose registers are there, and the offset in them.
    fn at(&mut self, address: u64) -> Option<(&mut Edu, u64)> {
        if PLATFORM.contains(&address) {
            return Some((&mut self.platform, address - PLATFORM.start));
        }
        let (function, offset) = self.host.at(address)?;
        Some((&mut function.edu, offset))
    }

    /// Every device, the functions first, and the stream that it has now: none if it must not do DMA.
    fn devices(&mut self) -> impl Iterator<Item = (&mut Edu, Option<u32>)> {
        let functions = self.host.functions.iter_mut().map(|function| {
            let stream = function.masters().then_some(function.requester_id());
            (&mut function.edu, stream)
        });
        functions.chain([(&mut self.platform, Some(PLATFORM_STREAM))])
    }

    /// Lets devices do what is due by now.
    pub fn advance(&mut self, now_us: u64) {
        let count = self.devices().count();
        for index in 0..count {
            let due = self.devices().nth(index).and_then(|(edu, stream)| {
                let transfer = edu.take_due(now_us)?;
                let bytes = edu.buffer(&transfer).to_vec();
                Some((transfer, bytes, stream))
            });
            let Some((transfer, mut bytes, stream)) = due else {
                continue;
            };
            self.transfer(stream, &transfer, &mut bytes, now_us);
            if let Some((edu, _)) = self.devices().nth(index) {
                finish(edu, &transfer, &bytes);
            }
        }
    }

    /// When the next thing is due, in microseconds.
    pub fn next_us(&self) -> Option<u64> {
        let functions = self.host.functions.iter().map(|function| &function.edu);
        let devices = functions.chain([&self.platform]);
        devices.filter_map(Edu::due_us).min()
    }

    /// What a driver left unfinished, in words.
    pub fn unsettled(&self) -> Vec<String> {
        self.iommu.unsettled()
    }

    /// All interrupt lines with their levels.
    pub fn lines(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        let pins = self.host.functions.iter();
        let pins = pins.map(|function| (pci_interrupt(function.slot()), function.asserts()));
        pins.chain([(PLATFORM_INTERRUPT, self.platform.asserts())])
            .chain(self.iommu.interrupts().iter().copied())
    }

    /// Moves bytes page by page; a device that must not master the bus has no stream. What is stopped reads as zero.
    fn transfer(&mut self, stream: Option<u32>, transfer: &Transfer, bytes: &mut [u8], now_us: u64) {
        let mut address = transfer.memory;
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_page = usize::try_from(PAGE - address % PAGE).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at_mut(in_page.min(rest.len()));
            let write = transfer.to_memory;
            let output = stream.and_then(|stream| self.iommu.translate(stream, address, write));
            let moved = match output {
                Some(output) if write => self.put(output, part, now_us),
                Some(output) => self.get(output, part),
                None => false,
            };
            if !moved && !write {
                part.fill(0);
            }
            address = address.wrapping_add(part.len() as u64);
            rest = behind;
        }
    }

    fn put(&mut self, address: u64, bytes: &[u8], now_us: u64) -> bool {
        if !is_registers(address) {
            return self.memory.write(address, bytes);
        }
        for (register, chunk) in (0..).zip(bytes.as_chunks::<REGISTER>().0) {
            let at = address + register * REGISTER as u64;
            if let Some((edu, offset)) = self.at(at) {
                let value = u32::from_le_bytes(*chunk);
                edu.write(offset, REGISTER, value.into(), now_us);
            }
        }
        true
    }

    fn get(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        if !is_registers(address) {
            return self.memory.read(address, bytes);
        }
        for (register, chunk) in (0..).zip(bytes.as_chunks_mut::<REGISTER>().0) {
            let value = self.read(address + register * REGISTER as u64, REGISTER);
            *chunk = ((value & 0xffff_ffff) as u32).to_le_bytes();
        }
        true
    }
}

/// Whether devices' registers can be there.
fn is_registers(address: u64) -> bool {
    BARS.contains(&address) || PLATFORM.contains(&address)
}

/// What a transfer brought goes into the device's buffer, and the transfer ends.
fn finish(edu: &mut Edu, transfer: &Transfer, bytes: &[u8]) {
    if !transfer.to_memory {
        let buffer = edu.buffer(transfer);
        buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
    edu.finish();
}

#[cfg(test)]
mod tests;
