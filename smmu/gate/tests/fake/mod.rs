//! The registers of an SMMUv1 or v2 as plain memory, with a log of writes, and what they mean for a stream.
#![expect(
    dead_code,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "each test crate that includes this uses a part of it"
)]

use mmio::{Bus, Clock};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

pub const CR0: usize = 0x000;
pub const CR2: usize = 0x008;
pub const GFSR: usize = 0x048;
pub const TLBIVMID: usize = 0x064;
pub const TLBIALLNSNH: usize = 0x068;
pub const TLBGSYNC: usize = 0x070;
pub const TLBGSTATUS: usize = 0x074;
pub const SMR: usize = 0x800;
pub const S2CR: usize = 0xc00;
pub const ALIAS: usize = 0x400;

pub const CLIENTPD: u32 = 1;
pub const EXIDENABLE: u32 = 1 << 3;
pub const USFCFG: u32 = 1 << 10;
pub const SMCFCFG: u32 = 1 << 21;
pub const VALID: u32 = 1 << 31;
pub const EXIDVALID: u32 = 1 << 10;
pub const BYPASS: u32 = 1 << 16;
pub const FAULT: u32 = 2 << 16;
const OTHER_WAYS: u32 = 1 << 29 | 1 << 31;

/// IDR0: stage 2 and stream matching, two context interrupts, 15 bits of stream ID.
pub const IDR0: u32 = 1 << 29 | 1 << 27 | 2 << 16 | 15 << 9;
/// IDR0: 16-bit stream IDs.
pub const EXIDS: u32 = 1 << 8;
/// IDR0: stream matching; without it NUMSIDB counts.
pub const SMS: u32 = 1 << 27;
/// IDR2: AArch64 tables with 4 KiB granule, 16-bit VMIDs, 48 bits out, 40 bits in.
pub const IDR2: u32 = 1 << 12 | 1 << 15 | 5 << 4 | 2;

/// What may become of a stream's transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fates {
    pub fault: bool,
    pub bypass: bool,
    /// The banks that may translate it, as bits.
    pub banks: u128,
}

impl Fates {
    pub const FAULT: Fates = Fates {
        fault: true,
        bypass: false,
        banks: 0,
    };

    pub fn bank(bank: u32) -> Fates {
        Fates {
            banks: 1 << bank,
            ..Fates::default()
        }
    }

    /// Whether something may get through that could not before. What bypasses reaches all there is.
    pub fn opens(&self, before: &Fates) -> bool {
        !before.bypass && (self.bypass || self.banks & !before.banks != 0)
    }
}

/// A write, of whichever width.
pub type Write = (usize, u64);

/// What is called after every write.
type Watch = Rc<dyn Fn(&Fake)>;

/// Bytes of registers that there is room for.
const ROOM: usize = 0x20_0000;

#[derive(Default)]
struct State {
    registers: Vec<u32>,
    /// Bits that a write reaches; all of them where nothing is said.
    writable: BTreeMap<usize, u32>,
    /// Transactions that wait in a bank; each RESUME ends one.
    stalled: BTreeMap<u32, u32>,
    log: Vec<Write>,
    watch: Option<Watch>,
}

/// One register frame.
#[derive(Clone, Default)]
pub struct Fake {
    state: Rc<RefCell<State>>,
    /// The offset of a status register that says forever that something goes on.
    stuck: Rc<Cell<Option<usize>>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    /// `banks` context banks, pages of 4 KiB, four of them global.
    pub fn new(groups: u32, banks: u32) -> Fake {
        Fake::with(IDR0 | groups, 1 << 28 | banks, IDR2)
    }

    pub fn with(idr0: u32, idr1: u32, idr2: u32) -> Fake {
        let fake = Fake::default();
        fake.state.borrow_mut().registers = vec![0; ROOM / 4];
        for (offset, value) in [(0x20, idr0), (0x24, idr1), (0x28, idr2), (CR0, CLIENTPD)] {
            fake.set(offset, value);
            fake.limit(offset, if offset == CR0 { u32::MAX } else { 0 });
        }
        fake
    }

    /// Changes a register as hardware does.
    pub fn set(&self, offset: usize, value: u32) {
        self.state.borrow_mut().registers[offset / 4] = value;
    }

    pub fn get(&self, offset: usize) -> u32 {
        self.state.borrow().registers[offset / 4]
    }

    /// From now on writes reach only these bits of a register.
    pub fn limit(&self, offset: usize, bits: u32) {
        self.state.borrow_mut().writable.insert(offset, bits);
    }

    /// Lets so many transactions wait in a bank, for a translation fault.
    pub fn stall(&self, bank: u32, transactions: u32) {
        self.state.borrow_mut().stalled.insert(bank, transactions);
        self.set(self.bank(bank, 0x58), 1 << 30 | 1 << 1);
    }

    /// The first transaction that waits in a bank ends; the next one faults in its place.
    fn resume(&self, bank: u32) {
        let left = self
            .state
            .borrow()
            .stalled
            .get(&bank)
            .map_or(0, |waiting| waiting - 1);
        if left == 0 {
            let fsr = self.bank(bank, 0x58);
            self.set(fsr, self.get(fsr) & !(1 << 30));
            self.state.borrow_mut().stalled.remove(&bank);
        } else {
            self.stall(bank, left);
        }
    }

    /// From now on the status register at `offset` never says that it is done.
    pub fn stick(&self, offset: usize) {
        self.stuck.set(Some(offset));
    }

    pub fn unstick(&self) {
        self.stuck.set(None);
    }

    pub fn take_log(&self) -> Vec<Write> {
        core::mem::take(&mut self.state.borrow_mut().log)
    }

    /// From now on, calls `watch` after every write.
    pub fn on_every_write(&self, watch: impl Fn(&Fake) + 'static) {
        self.state.borrow_mut().watch = Some(Rc::new(watch));
    }

    pub fn page_bytes(&self) -> usize {
        if self.get(0x24) >> 31 == 1 {
            0x1_0000
        } else {
            0x1000
        }
    }

    pub fn banks(&self) -> u32 {
        self.get(0x24) & 0xff
    }

    pub fn matches_streams(&self) -> bool {
        self.get(0x20) & SMS != 0
    }

    pub fn groups(&self) -> u32 {
        let idr0 = self.get(0x20);
        if self.matches_streams() {
            idr0 & 0xff
        } else {
            1 << (idr0 >> 9 & 0xf)
        }
    }

    /// The offset of a bank's register.
    pub fn bank(&self, bank: u32, offset: usize) -> usize {
        let global = 2 << (self.get(0x24) >> 28 & 7);
        (global + bank as usize) * self.page_bytes() + offset
    }

    /// The offset of a register of global space 1.
    pub fn global_1(&self, offset: usize) -> usize {
        self.page_bytes() + offset
    }

    pub fn smr(&self, group: u32) -> usize {
        SMR + 4 * group as usize
    }

    pub fn s2cr(&self, group: u32) -> usize {
        S2CR + 4 * group as usize
    }

    /// Groups that match a stream.
    pub fn matching(&self, stream: u32) -> Vec<u32> {
        if !self.matches_streams() {
            return vec![stream];
        }
        let extended = self.get(CR0) & EXIDENABLE != 0;
        let matched = |group: &u32| {
            let (smr, s2cr) = (self.get(self.smr(*group)), self.get(self.s2cr(*group)));
            let (valid, bits) = if extended {
                (s2cr & EXIDVALID != 0, 0xffff)
            } else {
                (smr & VALID != 0, 0x7fff)
            };
            valid && (smr ^ stream) & !(smr >> 16) & bits == 0
        };
        (0..self.groups()).filter(matched).collect()
    }

    /// IHI 0062 2.3.5 and figure 2-3.
    pub fn fates(&self, stream: u32) -> Fates {
        let bypass = Fates {
            bypass: true,
            ..Fates::default()
        };
        let faults_if = |set: bool| if set { Fates::FAULT } else { bypass };
        let cr0 = self.get(CR0);
        if cr0 & CLIENTPD != 0 {
            return bypass;
        }
        if self.get(CR2) & OTHER_WAYS != 0 {
            return Fates {
                fault: true,
                bypass: true,
                banks: u128::MAX,
            };
        }
        let groups = self.matching(stream);
        let mut fates = match groups.len() {
            0 => return faults_if(cr0 & USFCFG != 0),
            1 => Fates::default(),
            _ => faults_if(cr0 & SMCFCFG != 0),
        };
        for group in groups {
            let s2cr = self.get(self.s2cr(group));
            let bank = s2cr & 0xff;
            match s2cr >> 16 & 3 {
                0 if bank >= self.banks() => fates.fault = true,
                0 if self.get(self.bank(bank, 0)) & 1 == 0 => fates.bypass = true,
                0 => fates.banks |= 1 << bank,
                1 => fates.bypass = true,
                _ => fates.fault = true,
            }
        }
        fates
    }

    fn write(&self, offset: usize, value: u64, words: &[(usize, u32)]) {
        self.state.borrow_mut().log.push((offset, value));
        for &(at, word) in words {
            let old = self.get(at);
            let bits = self.state.borrow().writable.get(&at).copied().unwrap_or(u32::MAX);
            let is_fsr = |bank| self.bank(bank, 0x58) == at;
            // Fault status is cleared by ones.
            let new = if at == GFSR || at == GFSR + ALIAS || (0..self.banks()).any(is_fsr) {
                old & !word
            } else {
                old & !bits | word & bits
            };
            self.set(at, new);
            if let Some(bank) = (0..self.banks()).find(|bank| self.bank(*bank, 8) == at) {
                self.resume(bank);
            }
        }
        let watch = self.state.borrow().watch.clone();
        if let Some(watch) = watch {
            watch(self);
        }
    }
}

impl Bus for Fake {
    fn read32(&self, offset: usize) -> u32 {
        if self.stuck.get() == Some(offset) {
            return 1;
        }
        self.get(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value.into(), &[(offset, value)]);
    }
    fn read64(&self, offset: usize) -> u64 {
        u64::from(self.get(offset)) | u64::from(self.get(offset + 4)) << 32
    }
    fn write64(&self, offset: usize, value: u64) {
        let [low, high] = [value & u64::from(u32::MAX), value >> 32].map(|half| half.try_into().unwrap());
        self.write(offset, value, &[(offset, low), (offset + 4, high)]);
    }
}

/// Time that passes when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Ticks(Rc<Cell<u64>>);

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        self.0.set(self.0.get() + 1000);
        self.0.get()
    }
}
