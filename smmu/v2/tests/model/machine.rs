//! A machine of models: memory, time and one SMMU, with the gate shut. The driver gets a bus that can be sabotaged.

use mmio::Bus;
use smmu_gate::v2::shut_v2;
use smmu_model::v2::{Frame, Params, Smmu as Model};
use smmu_model::{Clock, Memory};
use smmu_v2::{Driver, Frames, Setup, Smmu};
use stage2::{Geometry, WalkerLimits};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// What is wrong with the driver, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// Pages are not invalidated.
    NoPageInvalidation,
    /// VMIDs are not invalidated.
    NoVmidInvalidation,
    /// Nothing waits for invalidations.
    NoSynchronization,
    /// Groups keep what they were.
    NoGroupChange,
    /// Groups that are to fault bypass.
    BypassForFault,
    /// Groups stay valid.
    NoGroupInvalidation,
    /// Banks are not switched on.
    NoBankEnable,
    /// Banks are not described: their tables stay those of the last owner.
    NoRoot,
    /// Faults are not cleared.
    NoFaultClear,
}

/// A register frame, through which the sabotage goes.
#[derive(Clone)]
pub(crate) struct Port {
    frame: Frame,
    /// Bytes of a page of registers, and where banks begin.
    page: usize,
    banks: usize,
    sabotage: Rc<Cell<Sabotage>>,
    model: Model,
    on_read: OnRead,
}

/// What happens before a read of the driver's, which changes nothing by itself.
type OnRead = Rc<RefCell<Option<Rc<dyn Fn(&Model)>>>>;

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frame.fmt(f)
    }
}

impl Port {
    fn before_read(&self) {
        let on_read = self.on_read.borrow().clone();
        if let Some(on_read) = on_read {
            on_read(&self.model);
        }
    }

    /// What becomes of a write.
    fn alter(&self, offset: usize, value: u64) -> Option<u64> {
        let s2cr = (0xc00..0xe00).contains(&offset);
        let fault = value >> 16 & 3 == 2;
        let in_bank = (offset >= self.banks).then_some(offset % self.page);
        let dropped = match self.sabotage.get() {
            Sabotage::None => false,
            Sabotage::NoPageInvalidation => in_bank == Some(0x630),
            Sabotage::NoVmidInvalidation => offset == 0x64,
            Sabotage::NoSynchronization => offset == 0x70 || in_bank == Some(0x7f0),
            Sabotage::NoGroupChange => s2cr,
            Sabotage::BypassForFault if s2cr && fault => return Some(value ^ 3 << 16),
            Sabotage::BypassForFault => false,
            Sabotage::NoGroupInvalidation => (0x800..0xa00).contains(&offset) && value == 0,
            Sabotage::NoBankEnable => in_bank == Some(0) && value & 1 != 0,
            Sabotage::NoRoot => in_bank == Some(0x20),
            Sabotage::NoFaultClear => in_bank == Some(0x58),
        };
        (!dropped).then_some(value)
    }
}

impl Bus for Port {
    fn read32(&self, offset: usize) -> u32 {
        self.before_read();
        self.frame.read32(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        if let Some(value) = self.alter(offset, value.into()) {
            self.frame.write32(offset, u32::try_from(value).unwrap());
        }
    }
    fn read64(&self, offset: usize) -> u64 {
        self.before_read();
        self.frame.read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        if let Some(value) = self.alter(offset, value) {
            self.frame.write64(offset, value);
        }
    }
}

/// The driver over the model.
pub(crate) type ModelDriver = Driver<Port, Clock>;

/// Which SMMU it is and how its driver is told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) params: Params,
    pub(crate) vmid_base: u16,
}

/// All kinds of SMMU that differ for the driver.
pub(crate) fn kinds() -> Vec<Kind> {
    let kind = |params| Kind { params, vmid_base: 0 };
    let extended = |vmid_base| Kind {
        params: Params::extended_ids(),
        vmid_base,
    };
    vec![
        kind(Params::mmu500()),
        kind(Params::generic()),
        kind(Params::mmu401()),
        kind(Params::small()),
        kind(Params::stream_indexing()),
        extended(0x1200),
        extended(0),
        kind(Params::pair()),
        kind(Params::secure_access()),
        kind(Params::non_coherent()),
        Kind {
            vmid_base: 0x40,
            ..kind(Params::mmu401())
        },
        // No AArch64 tables with the 4 KiB granule: driven as an SMMUv1.
        kind(Params::generic().with_idr(2, 12, 12, 0)),
        // Registers of 64 bits in halves.
        kind(Params {
            words_only: true,
            ..Params::mmu500()
        }),
    ]
}

pub(crate) struct Machine {
    pub(crate) memory: Memory,
    pub(crate) clock: Clock,
    pub(crate) model: Model,
    pub(crate) kind: Kind,
    pub(crate) sabotage: Rc<Cell<Sabotage>>,
    pub(crate) on_read: OnRead,
}

impl Machine {
    /// After reset: open.
    pub(crate) fn new(kind: Kind) -> Self {
        let coherent = kind.params.idr[0] >> 14 & 1 == 1;
        let memory = if coherent {
            Memory::coherent()
        } else {
            Memory::non_coherent()
        };
        let clock = Clock::new();
        let model = Model::new(kind.params, &memory, &clock);
        Machine {
            memory,
            clock,
            model,
            kind,
            sabotage: Rc::new(Cell::new(Sabotage::None)),
            on_read: OnRead::default(),
        }
    }

    fn port(&self, index: usize) -> Port {
        let idr1 = self.kind.params.idr[1];
        let page = if idr1 >> 31 == 1 { 0x1_0000 } else { 0x1000 };
        Port {
            frame: self.model.frame(index),
            page,
            banks: page * (2 << (idr1 >> 28 & 7)),
            sabotage: Rc::clone(&self.sabotage),
            model: self.model.clone(),
            on_read: Rc::clone(&self.on_read),
        }
    }

    pub(crate) fn identify(&self) -> Smmu<Port> {
        let frames = if self.kind.params.frames == 2 {
            Frames::two(self.port(0), self.port(1))
        } else {
            Frames::one(self.port(0))
        };
        let frames = if self.kind.params.words_only {
            frames.in_halves()
        } else {
            frames
        };
        Smmu::identify(frames, 0x100_0000, self.kind.params.secure_access).unwrap()
    }

    /// Shuts the gate, from which moment on nothing may ever be in bypass, and starts the driver.
    pub(crate) fn start(&self) -> ModelDriver {
        let smmu = self.identify();
        shut_v2(&smmu, &self.clock).unwrap();
        self.model.forbid_bypass();
        let setup = Setup {
            coherent: self.memory.is_coherent(),
            vmid_base: self.kind.vmid_base,
        };
        Driver::probe(smmu, self.clock.clone(), &setup).unwrap()
    }

    /// The shape of a tree with inputs of `wanted` bits, or as many as the SMMU translates.
    pub(crate) fn geometry(&self, wanted: u8) -> Geometry {
        let features = *self.identify().features();
        let most = if features.aarch64_tables { 48 } else { 40 };
        let limits = WalkerLimits {
            name: "smmu",
            input_bits: wanted.min(features.input_bits).min(most),
            output_bits: features.output_bits.min(most),
            granule_4k: true,
        };
        Geometry::choose(&[limits]).unwrap()
    }

    /// Whether a stream is matched; otherwise its ID is an index.
    pub(crate) fn matches(&self) -> bool {
        self.kind.params.idr[0] >> 27 & 1 == 1
    }
}
