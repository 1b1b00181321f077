//! A driver in raw words, so that the tests share no encoding with the model.

use mmio::{Bus, Clock as _, TableMemory};

pub(crate) use crate::stage2::testing::{RO, RW, Tree};
use crate::v2::{FaultKind, Frame, How, Outcome, Params, Smmu, Version};
use crate::{Clock, Memory};

pub(crate) const CR0: usize = 0x0;
pub(crate) const ACR: usize = 0x10;
pub(crate) const IDR0: usize = 0x20;
pub(crate) const GFAR: usize = 0x40;
pub(crate) const GFSR: usize = 0x48;
pub(crate) const GFSRRESTORE: usize = 0x4c;
pub(crate) const GFSYNR0: usize = 0x50;
pub(crate) const GFSYNR1: usize = 0x54;
pub(crate) const TLBIVMID: usize = 0x64;
pub(crate) const TLBIALLNSNH: usize = 0x68;
pub(crate) const TLBGSYNC: usize = 0x70;
pub(crate) const TLBGSTATUS: usize = 0x74;

pub(crate) const SCTLR: usize = 0x0;
pub(crate) const ACTLR: usize = 0x4;
pub(crate) const RESUME: usize = 0x8;
pub(crate) const TTBR0: usize = 0x20;
pub(crate) const TCR: usize = 0x30;
pub(crate) const FSR: usize = 0x58;
pub(crate) const FSRRESTORE: usize = 0x5c;
pub(crate) const FAR: usize = 0x60;
pub(crate) const FSYNR0: usize = 0x68;
pub(crate) const IPAFAR: usize = 0x70;
pub(crate) const TLBIIPAS2: usize = 0x630;
pub(crate) const TLBIIPAS2L: usize = 0x638;
pub(crate) const TLBSYNC: usize = 0x7f0;
pub(crate) const TLBSTATUS: usize = 0x7f4;

pub(crate) const CLIENTPD: u32 = 1;
/// GFRE, GFIE, USFCFG, SMCFCFG.
pub(crate) const SHUT: u32 = 1 << 1 | 1 << 2 | 1 << 10 | 1 << 21;
pub(crate) const VALID: u32 = 1 << 31;
/// SMMU_S2CRn.TYPE = fault.
pub(crate) const FAULT: u32 = 2 << 16;
/// SMMU_S2CRn.TYPE = bypass.
pub(crate) const BYPASS: u32 = 1 << 16;
/// M, CFRE, CFIE, HUPCF.
pub(crate) const ON: u32 = 1 | 1 << 5 | 1 << 6 | 1 << 8;
/// Every fault, MULTI.
pub(crate) const ALL_FAULTS: u32 = 0x8000_01fe;
/// 39 bits of input from level 1, 4 KiB granule, inner shareable write-back walks, 40 bits of output.
pub(crate) const TCR39: u32 = 1 << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25;
/// The same as long descriptors of AArch32: T0SZ = -7, S.
pub(crate) const TCR39_LONG: u32 = 1 << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 1 << 4 | 9;

pub(crate) const STREAM: u32 = 0x10;
pub(crate) const BANK: usize = 1;
pub(crate) const VMID: u16 = 7;
pub(crate) const IPA: u64 = 0x4000_0000;
pub(crate) const PA: u64 = 0x12_3456_7000;

pub(crate) const fn smr(index: usize) -> usize {
    0x800 + 4 * index
}
pub(crate) const fn s2cr(index: usize) -> usize {
    0xc00 + 4 * index
}

pub(crate) struct Rig {
    pub memory: Memory,
    pub clock: Clock,
    pub smmu: Smmu,
    pub params: Params,
    pub frame: Frame,
}

impl Rig {
    /// An SMMU that stops every stream.
    pub(crate) fn new(params: Params) -> Rig {
        let rig = Rig::after_reset(params);
        rig.boot();
        rig.smmu.violations().assert_none();
        rig.smmu.forbid_bypass();
        rig
    }

    pub(crate) fn after_reset(params: Params) -> Rig {
        let coherent = params.idr[0] >> 14 & 1 == 1;
        let memory = if coherent {
            Memory::coherent()
        } else {
            Memory::non_coherent()
        };
        let clock = Clock::new();
        let smmu = Smmu::new(params, &memory, &clock);
        Rig {
            frame: smmu.frame(0),
            memory,
            clock,
            smmu,
            params,
        }
    }

    /// The same machine through another frame.
    pub(crate) fn through(&self, frame: usize) -> Rig {
        Rig {
            memory: self.memory.clone(),
            clock: self.clock.clone(),
            smmu: self.smmu.clone(),
            params: self.params,
            frame: self.smmu.frame(frame),
        }
    }

    /// What a driver does first.
    pub(crate) fn boot(&self) {
        let alias = if self.params.secure_access { 0x400 } else { 0 };
        self.write(GFSR + alias, 0x8000_01ff);
        let mappings = self.params.idr[0] & 0xff;
        let matching = self.params.idr[0] >> 27 & 1 == 1;
        let count = if matching {
            mappings
        } else {
            1 << (self.params.idr[0] >> 9 & 0xf)
        };
        for index in 0..count as usize {
            if matching {
                self.write(smr(index), 0);
            }
            self.write(s2cr(index), FAULT);
        }
        if self.params.mmu500 {
            self.write(ACR, self.read(ACR) & !(1 << 26));
        }
        for bank in 0..self.banks() {
            self.write_bank(bank, SCTLR, 0);
            self.write_bank(bank, FSR, ALL_FAULTS);
            if self.params.mmu500 {
                self.write_bank(bank, ACTLR, 1);
            }
        }
        self.write(TLBIALLNSNH, 0);
        self.global_sync();
        self.write(CR0 + alias, SHUT);
    }

    /// How many context banks there are room for.
    pub(crate) fn banks(&self) -> usize {
        let pages = 2 << (self.params.idr[1] >> 28 & 7);
        ((self.params.idr[1] & 0xff) as usize).min(pages)
    }

    pub(crate) fn read(&self, offset: usize) -> u32 {
        self.frame.read32(offset)
    }

    pub(crate) fn write(&self, offset: usize, value: u32) {
        self.frame.write32(offset, value);
    }

    fn page(&self) -> usize {
        if self.params.idr[1] >> 31 == 1 {
            0x1_0000
        } else {
            0x1000
        }
    }

    /// The offset of a register of global space 1.
    pub(crate) fn global1(&self, register: usize) -> usize {
        self.page() + register
    }

    pub(crate) fn cbar(&self, bank: usize) -> usize {
        self.global1(4 * bank)
    }

    pub(crate) fn cba2r(&self, bank: usize) -> usize {
        self.global1(0x800 + 4 * bank)
    }

    /// The offset of a register of a context bank.
    pub(crate) fn bank(&self, bank: usize, register: usize) -> usize {
        let pages = 2 << (self.params.idr[1] >> 28 & 7);
        (pages + bank) * self.page() + register
    }

    pub(crate) fn read_bank(&self, bank: usize, register: usize) -> u32 {
        self.read(self.bank(bank, register))
    }

    pub(crate) fn write_bank(&self, bank: usize, register: usize, value: u32) {
        self.write(self.bank(bank, register), value);
    }

    pub(crate) fn write_bank64(&self, bank: usize, register: usize, value: u64) {
        self.frame.write64(self.bank(bank, register), value);
    }

    pub(crate) fn global_sync(&self) {
        self.write(TLBGSYNC, 0);
        self.wait(TLBGSTATUS);
    }

    pub(crate) fn bank_sync(&self, bank: usize) {
        self.write_bank(bank, TLBSYNC, 0);
        self.wait(self.bank(bank, TLBSTATUS));
    }

    fn wait(&self, status: usize) {
        for _ in 0..100 {
            if self.read(status) & 1 == 0 {
                return;
            }
            self.clock.now_us();
        }
        panic!("the synchronisation does not end");
    }

    pub(crate) fn tree(&self) -> Tree {
        let root = self.memory.clone().allocate(0x1000, 0x1000).unwrap();
        Tree {
            memory: self.memory.clone(),
            root: root.address,
            bits: 39,
            level: 1,
        }
    }

    fn is_v2(&self) -> bool {
        self.params.version == Version::V2
    }

    /// Programs a context bank, and leaves it disabled.
    pub(crate) fn set_up(&self, bank: usize, root: u64, vmid: u16) {
        let wide = self.read(CR0) >> 31 == 1;
        self.write(self.cbar(bank), if wide { 0 } else { vmid.into() });
        if self.is_v2() {
            let vmid = if wide { u32::from(vmid) << 16 } else { 0 };
            self.write(self.cba2r(bank), vmid | 1);
        }
        let tcr = if self.is_v2() { TCR39 } else { TCR39_LONG };
        // Walks that are not coherent are not cacheable.
        let caches = if self.memory.is_coherent() { 0 } else { 0xf00 };
        self.write_bank(bank, TCR, tcr & !caches);
        self.write_bank64(bank, TTBR0, root);
    }

    /// Makes `stream` translate through a new tree that maps nothing.
    pub(crate) fn attach(&self, mapping: usize, stream: u32, bank: usize, vmid: u16) -> Tree {
        let tree = self.tree();
        self.set_up(bank, tree.root, vmid);
        self.write_bank(bank, SCTLR, ON);
        self.map_stream(mapping, stream, bank);
        tree
    }

    /// Lets a stream mapping translate through a bank.
    pub(crate) fn map_stream(&self, mapping: usize, stream: u32, bank: usize) {
        let bank = u32::try_from(bank).unwrap();
        self.write(s2cr(mapping), bank);
        self.write(smr(mapping), VALID | stream);
    }

    /// `STREAM` with one page mapped.
    pub(crate) fn attached(&self) -> Tree {
        let mut tree = self.attach(0, STREAM, BANK, VMID);
        tree.map_page(IPA, PA, RW);
        tree
    }

    /// Stops what `attached` let through, with the TLB cleaned.
    pub(crate) fn detach(&self) {
        self.write(smr(0), 0);
        self.write(s2cr(0), FAULT);
        self.write(TLBIVMID, VMID.into());
        self.global_sync();
        self.write_bank(BANK, SCTLR, 0);
    }

    pub(crate) fn dma(&self, ipa: u64, write: bool) -> Outcome {
        self.smmu.dma(STREAM, ipa, write)
    }

    /// Where a read that must be translated lands, and whether the TLB served it.
    #[track_caller]
    pub(crate) fn reaches(&self, ipa: u64) -> (u64, bool) {
        match self.dma(ipa, false) {
            Ok(passed) => match passed.how {
                How::Translated { cached, .. } => (passed.address, cached),
                How::Bypassed(reason) => panic!("{ipa:#x}: {reason:?}"),
            },
            Err(blocked) => panic!("{ipa:#x}: {blocked:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn blocked(&self, ipa: u64, write: bool, kind: FaultKind) {
        assert_eq!(self.dma(ipa, write).unwrap_err().kind, kind);
    }

    #[track_caller]
    pub(crate) fn settled(&self) {
        assert_eq!(self.smmu.unsettled(), Vec::<String>::new());
    }
}
