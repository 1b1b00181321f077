//! A configuration space for tests: functions with registers that behave, or misbehave, as hardware's do.

use crate::config::offset;
use crate::{Bdf, ConfigSpace};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// One function: 1 KiB of registers and the bits of each that a write reaches.
#[derive(Clone, Debug)]
pub(crate) struct FakeFunction {
    registers: Vec<u32>,
    writable: Vec<u32>,
    /// What the registers are after a function-level reset, if it has one.
    after_reset: Option<Vec<u32>>,
}

impl FakeFunction {
    fn blank(id: u32, class: u32, header_type: u8) -> Self {
        let mut function = FakeFunction {
            registers: vec![0; 256],
            writable: vec![0; 256],
            after_reset: None,
        };
        function.set(offset::ID, id, 0);
        function.set(offset::COMMAND, 0, 0x0407);
        function.set(offset::CLASS, class << 8, 0);
        function.set(offset::HEADER, u32::from(header_type) << 16, 0);
        function
    }

    pub(crate) fn endpoint(id: u32) -> Self {
        Self::blank(id, 0x00ff00, 0)
    }

    pub(crate) fn bridge(id: u32) -> Self {
        let mut bridge = Self::blank(id, 0x060400, 1);
        bridge.set(offset::BUSES, 0, 0xffff_ffff);
        bridge.set(offset::MEMORY_WINDOW, 0, 0xfff0_fff0);
        bridge.set(offset::PREFETCHABLE_WINDOW, 0x0001_0001, 0xfff0_fff0);
        bridge.set(offset::PREFETCHABLE_BASE_UPPER, 0, u32::MAX);
        bridge.set(offset::PREFETCHABLE_LIMIT_UPPER, 0, u32::MAX);
        bridge
    }

    pub(crate) fn set(&mut self, at: u16, value: u32, writable: u32) {
        self.registers[usize::from(at / 4)] = value;
        self.writable[usize::from(at / 4)] = writable;
    }

    pub(crate) fn multi_function(mut self) -> Self {
        self.registers[usize::from(offset::HEADER / 4)] |= 1 << 23;
        self
    }

    pub(crate) fn pin(mut self, pin: u8) -> Self {
        self.set(offset::INTERRUPT, u32::from(pin) << 8, 0xff);
        self
    }

    /// A 32-bit memory BAR.
    pub(crate) fn bar32(mut self, index: u16, size: u32) -> Self {
        self.set(offset::BAR0 + 4 * index, 0, !(size - 1));
        self
    }

    /// A 64-bit memory BAR.
    pub(crate) fn bar64(mut self, index: u16, size: u64, prefetchable: bool) -> Self {
        let mask = !(size - 1);
        let flags = if prefetchable { 0xc } else { 4 };
        self.set(
            offset::BAR0 + 4 * index,
            flags,
            u32::try_from(mask & 0xffff_ffff).unwrap(),
        );
        self.set(
            offset::BAR0 + 4 * index + 4,
            0,
            u32::try_from(mask >> 32).unwrap(),
        );
        self
    }

    /// An I/O BAR.
    pub(crate) fn bar_io(mut self, index: u16, size: u32) -> Self {
        self.set(offset::BAR0 + 4 * index, 1, !(size - 1) & 0xffff);
        self
    }

    /// A capability at `at`, in front of those that are there.
    pub(crate) fn capability(mut self, at: u16, id: u8, upper: u16) -> Self {
        let next = self.registers[usize::from(offset::CAPABILITIES / 4)] & 0xff;
        self.set(at, u32::from(upper) << 16 | next << 8 | u32::from(id), 0);
        self.set(offset::CAPABILITIES, u32::from(at), 0);
        self.registers[usize::from(offset::COMMAND / 4)] |= 1 << 20;
        self
    }

    /// A PCI Express capability of device/port type `port`.
    pub(crate) fn express(self, port: u16) -> Self {
        self.capability(0x40, 0x10, port << 4 | 2)
    }

    /// A PCI Express capability with a function-level reset, after which the function is what it is now, or does not
    /// answer. The last one to be called.
    pub(crate) fn function_level_reset(self, answers: bool) -> Self {
        let mut function = self.express(9);
        function.set(0x44, 1 << 28, 0);
        function.set(0x48, 0, 0x7fff);
        let mut after = function.registers.clone();
        if !answers {
            after.fill(u32::MAX);
        }
        function.after_reset = Some(after);
        function
    }

    /// After its reset the register at `at` holds `value`.
    pub(crate) fn differ_after_reset(&mut self, at: u16, value: u32) {
        let after = self.after_reset.as_mut().unwrap();
        after[usize::from(at / 4)] = value;
    }

    /// Access control services: what the capability and control registers hold, and the control bits that a write
    /// reaches. PCI Express functions only.
    pub(crate) fn access_control(mut self, capability: u16, control: u16, writable: u16) -> Self {
        self.set(0x100, 0x0001_000d, 0);
        self.set(
            0x104,
            u32::from(control) << 16 | u32::from(capability),
            u32::from(writable) << 16,
        );
        self
    }
}

/// Root bus, and the devices of the bridges that lead to a device, and the device itself.
type Place = (u8, Vec<u8>);

/// A segment. Bridges are obeyed: a function behind one answers only at the bus number that the bridge holds.
#[derive(Default)]
pub(crate) struct FakeSegment {
    functions: RefCell<BTreeMap<Place, [Option<FakeFunction>; 8]>>,
}

impl FakeSegment {
    /// Puts `function` at device path `path` under `root`: the last element is its device, those before are the
    /// devices of the bridges (function 0 each) that lead there.
    pub(crate) fn add(&self, root: u8, path: &[u8], number: usize, function: FakeFunction) {
        let mut functions = self.functions.borrow_mut();
        functions.entry((root, path.to_vec())).or_default()[number] = Some(function);
    }

    /// The key of the device at `bdf` as bridges are programmed now.
    fn route(&self, bdf: Bdf) -> Option<Place> {
        let functions = self.functions.borrow();
        let roots: Vec<u8> = functions.keys().map(|(root, _)| *root).collect();
        if roots.contains(&bdf.bus()) {
            return Some((bdf.bus(), vec![bdf.device()]));
        }
        let mut found = Vec::new();
        for root in std::collections::BTreeSet::from_iter(roots) {
            let mut path: Vec<u8> = Vec::new();
            'down: loop {
                for ((at, below), device) in functions.iter() {
                    let leads = *at == root && below.len() == path.len() + 1 && below.starts_with(&path);
                    let Some(bridge) = device[0].as_ref().filter(|_| leads) else {
                        continue;
                    };
                    if bridge.registers[3] >> 16 & 0x7f != 1 {
                        continue;
                    }
                    let [_, secondary, subordinate, _] = bridge.registers[6].to_le_bytes();
                    if secondary == 0 || !(secondary..=subordinate).contains(&bdf.bus()) {
                        continue;
                    }
                    path.clone_from(below);
                    if secondary == bdf.bus() {
                        path.push(bdf.device());
                        found.push((root, path));
                        break 'down;
                    }
                    continue 'down;
                }
                break;
            }
        }
        assert!(found.len() <= 1, "two bridges claim bus {:#x}", bdf.bus());
        found.pop()
    }
}

impl ConfigSpace for FakeSegment {
    fn read32(&self, bdf: Bdf, offset: u16) -> u32 {
        let Some(key) = self.route(bdf) else {
            return u32::MAX;
        };
        let functions = self.functions.borrow();
        let function = functions
            .get(&key)
            .and_then(|device| device[usize::from(bdf.function())].as_ref());
        function.map_or(u32::MAX, |function| {
            function
                .registers
                .get(usize::from(offset / 4))
                .copied()
                .unwrap_or(0)
        })
    }

    fn write32(&self, bdf: Bdf, offset: u16, value: u32) {
        let Some(key) = self.route(bdf) else { return };
        let mut functions = self.functions.borrow_mut();
        let Some(function) = functions
            .get_mut(&key)
            .and_then(|device| device[usize::from(bdf.function())].as_mut())
        else {
            return;
        };
        let is_bar = (offset::BAR0..0x28).contains(&offset) && function.registers[3] >> 16 & 0x7f == 0;
        let decodes = function.registers[1] & 3 != 0;
        assert!(
            !(is_bar && decodes && value == u32::MAX),
            "{bdf}: a BAR is sized while the function decodes"
        );
        let at = usize::from(offset / 4);
        if let Some(after) = &function.after_reset
            && offset == 0x48
            && value & 1 << 15 != 0
        {
            assert_eq!(
                function.registers[1] & 4,
                0,
                "{bdf}: reset while it masters the bus"
            );
            function.registers.clone_from(after);
            return;
        }
        let writable = function.writable[at];
        function.registers[at] = function.registers[at] & !writable | value & writable;
    }
}
