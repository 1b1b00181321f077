//! The driver, its model and the specification beside them.

use crate::machine::{Kind, Machine, ModelDriver, Sabotage};
use crate::operations::{AREAS, DEVICES, Operation, SPACES};
use crate::spec::{BLOCK, Moving, PAGE, Pages, Spec};
use smmu_model::v2::{Defect, Route, Smmu as Model};
use smmu_v2::{Domain, IpaRange, Stream};
use stage2::{AddressSpace, Geometry, Invalidate, InvalidateError, Walker};
use std::cell::RefCell;
use std::rc::Rc;

/// Changes of the model that are watched: how, and what they lead to.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Accesses are made between any two changes.
    pub(crate) on: bool,
    /// Synchronizations stick after so many changes.
    pub(crate) sticks_after: Option<u32>,
    pub(crate) stuck: bool,
    /// Which access comes next.
    next: usize,
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) driver: ModelDriver,
    pub(crate) tables: Vec<Option<AddressSpace>>,
    pub(crate) spec: Rc<RefCell<Spec>>,
    pub(crate) watch: Rc<RefCell<Watch>>,
    pub(crate) devices: Vec<Vec<Stream>>,
    /// Streams and places that are tried.
    pub(crate) streams: Vec<u32>,
    pub(crate) places: Vec<u64>,
    pub(crate) geometry: Geometry,
    /// A detach or quiesce failed, and no later call has ended it.
    pub(crate) unfinished: bool,
    pub(crate) next_pa: u64,
}

/// Where an area lies, and how many bytes it has: single pages, more than are invalidated one by one, blocks, and the
/// last page that a space has.
pub(crate) fn area(index: usize, geometry: &Geometry) -> (u64, u64) {
    match index {
        0 => (0x4000_0000, PAGE),
        1 => (0x4000_1000, 2 * PAGE),
        2 => (0x4000_4000, 4 * PAGE),
        3 => (0x4010_0000, 70 * PAGE),
        4 => (0x4020_0000, BLOCK),
        5 => (0x4040_0000, BLOCK),
        6 => (0, PAGE),
        7 => (0x7fff_f000, PAGE),
        _ => (geometry.ipa_end() - PAGE, PAGE),
    }
}

/// Six devices: one stream, neighbours, single ones that share nothing, and the last ID that there is.
fn devices(machine: &Machine) -> Vec<Vec<Stream>> {
    let last = match (machine.matches(), machine.identify().features().extended_ids) {
        (false, _) => 0x3b,
        (true, true) => 0x8005,
        (true, false) => 0x7ffe,
    };
    let exact = |ids: &[u32]| ids.iter().map(|&id| Stream { id, mask: 0 }).collect();
    let masked = machine.matches().then(|| vec![Stream { id: 0x24, mask: 3 }]);
    vec![
        exact(&[1]),
        exact(&[4, 5, 6, 7]),
        exact(&[0x10]),
        exact(&[0x12, 0x15]),
        masked.unwrap_or_else(|| exact(&[0x24, 0x25, 0x26, 0x27])),
        exact(&[0x3e, last]),
    ]
}

fn ids(streams: &[Stream]) -> Vec<u32> {
    let all = streams
        .iter()
        .flat_map(|stream| (0..=stream.mask).map(|below| stream.id | below));
    all.collect()
}

impl World {
    /// The gate shut, the driver started, every space empty.
    pub(crate) fn new(kind: Kind, ipa_bits: u8) -> Self {
        let machine = Machine::new(kind);
        let driver = machine.start();
        let devices = devices(&machine);
        let geometry = machine.geometry(ipa_bits);
        let spec = Spec {
            devices: devices.iter().map(|streams| ids(streams)).collect(),
            attached: vec![None; DEVICES],
            spaces: vec![Pages::new(); SPACES],
            limbo: vec![Pages::new(); SPACES],
            frames: u64::try_from(kind.params.frames).unwrap(),
            ..Spec::default()
        };
        let mut streams: Vec<u32> = spec.devices.iter().flatten().copied().collect();
        streams.extend([0, 2, 0x14, 0x23, 0x77, 0xffff]);
        let mut places = vec![0x1000, 0x5000_0008, geometry.ipa_end(), geometry.ipa_end() * 3];
        for index in 0..AREAS {
            let (start, size) = area(index, &geometry);
            places.extend([start, start + size / 2, start + size - 8]);
        }
        let mut world = World {
            tables: (0..SPACES).map(|_| None).collect(),
            spec: Rc::new(RefCell::new(spec)),
            watch: Rc::default(),
            unfinished: false,
            next_pa: 0x1_0000_0000,
            machine,
            driver,
            devices,
            streams,
            places,
            geometry,
        };
        for space in 0..SPACES {
            world.make(space);
        }
        world.look_between_changes();
        world
    }

    pub(crate) fn sabotage(&self, sabotage: Sabotage) {
        self.machine.sabotage.set(sabotage);
    }

    pub(crate) fn make(&mut self, space: usize) {
        let vmid = vmid(space);
        let made = AddressSpace::new(&mut self.machine.memory, self.geometry, vmid).unwrap();
        self.tables[space] = Some(made);
    }

    pub(crate) fn domain(&self, space: usize) -> Domain {
        let tables = self.tables[space].as_ref().unwrap();
        Domain {
            root: tables.root(),
            vmid: vmid(space),
            ipa_bits: self.geometry.ipa_bits(),
            pa_bits: self.geometry.pa_bits(),
            start_level: self.geometry.start_level(),
        }
    }

    /// Between any two changes that the model sees, and before every read of the driver's, devices access memory. Two
    /// instances differ between the writes to one and to the other, so there only the way that streams would take is
    /// looked at.
    fn look_between_changes(&self) {
        let (spec, watch) = (Rc::clone(&self.spec), Rc::clone(&self.watch));
        let (streams, places) = (self.streams.clone(), self.places.clone());
        let pair = self.machine.kind.params.frames == 2;
        let look = move |model: &Model| {
            // An access before a read is a change itself.
            let Ok(mut watch) = watch.try_borrow_mut() else {
                return;
            };
            if let Some(left) = watch.sticks_after {
                watch.sticks_after = left.checked_sub(1);
                if left == 0 {
                    model.inject(Defect::SyncStuck);
                    watch.stuck = true;
                }
            }
            if !watch.on {
                return;
            }
            // Neither number has a common factor with how many there are.
            watch.next = watch.next.wrapping_add(1);
            let stream = streams[watch.next * 7 % streams.len()];
            if pair {
                return check_routes(model, &mut spec.borrow_mut(), stream);
            }
            let place = places[watch.next * 13 / 3 % places.len()];
            spec.borrow_mut()
                .access(model, stream, place, watch.next % 2 == 0);
        };
        let (on_change, on_read) = (Rc::new(look), Rc::clone(&self.machine.on_read));
        *on_read.borrow_mut() = Some(Rc::clone(&on_change) as Rc<dyn Fn(&Model)>);
        self.machine.model.on_every_change(move |model| on_change(model));
    }

    /// Does one operation, and says what is wrong after it.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<(), String> {
        let still = matches!(
            operation,
            Operation::Access { .. } | Operation::Interrupt { busy: false }
        );
        self.watch.borrow_mut().on = !still;
        self.perform(operation);
        self.watch.borrow_mut().on = false;
        self.spec.borrow_mut().moving = None;
        self.verdict()
    }

    /// What is wrong, if anything.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let broken = self.spec.borrow().broken.clone();
        let violations = self.machine.model.violations().take();
        let first = violations.first().map(ToString::to_string);
        match (broken, first) {
            (None, None) => Ok(()),
            (broken, first) => {
                let both = [broken, first];
                Err(both.into_iter().flatten().collect::<Vec<_>>().join("; "))
            }
        }
    }

    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Attach { device, space } => self.attach(device, space),
            Operation::Detach { device } => self.detach(device),
            Operation::Quiesce => self.quiesce(),
            Operation::Map { space, area, access } => self.map(space, area, access),
            Operation::Unmap { space, area, part } => self.change(space, area, part, None),
            Operation::Protect {
                space,
                area,
                part,
                access,
            } => self.change(space, area, part, Some(access)),
            Operation::Invalidate { space, area, part } => self.invalidate(space, area, part),
            Operation::Recover { space } => self.recover(space),
            Operation::Renew { space } => self.renew(space),
            Operation::Access { stream, place, write } => {
                let stream = self.streams[stream % self.streams.len()];
                let place = self.places[place % self.places.len()];
                let offset = if write { 0 } else { 0x48 };
                self.spec
                    .borrow_mut()
                    .access(&self.machine.model, stream, place ^ offset, write);
            }
            Operation::Interrupt { busy: false } => self.interrupt(),
            Operation::Interrupt { busy: true } => self.interrupt_meanwhile(),
            Operation::Stick { after } => {
                // Large steps of time make timeouts short.
                self.machine.clock.set_step(2000);
                self.watch.borrow_mut().sticks_after = Some(after);
            }
            Operation::Repair => self.repair(),
        }
    }

    pub(crate) fn repair(&mut self) {
        self.machine.model.repair();
        self.machine.clock.set_step(1);
        let mut watch = self.watch.borrow_mut();
        (watch.stuck, watch.sticks_after) = (false, None);
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.watch.borrow().stuck
    }

    pub(crate) fn start_moving(&self, pages: Option<(usize, Pages, Vec<std::ops::Range<u64>>)>) {
        let mut spec = self.spec.borrow_mut();
        let attached = spec.attached.clone();
        spec.moving = Some(Moving { attached, pages });
    }

    /// Accesses that must find everything settled.
    pub(crate) fn look_at(&self, streams: &[u32], places: &[u64]) {
        self.watch.borrow_mut().on = false;
        let mut spec = self.spec.borrow_mut();
        spec.moving = None;
        for &stream in streams {
            for &place in places {
                spec.access(&self.machine.model, stream, place, true);
                spec.access(&self.machine.model, stream, place, false);
            }
        }
    }

    pub(crate) fn expect(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.spec.borrow_mut().complain(what());
        }
    }
}

impl World {
    /// The SMMU is released, with the gate shut behind it, and every space is given back.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.repair();
        self.spec.borrow_mut().attached = vec![None; DEVICES];
        let released = self.driver.quiesce();
        self.expect(released.is_ok(), || format!("quiesce: {released:?}"));
        for space in 0..SPACES {
            let tables = self.tables[space].take().unwrap();
            let destroyed = tables.destroy(&mut self.machine.memory, &mut Caches(&mut self.driver));
            self.expect(destroyed.is_ok(), || "destroy fails".into());
        }
        let (streams, places) = (self.streams.clone(), self.places.clone());
        self.look_at(&streams, &places);
        self.verdict()?;
        let World {
            machine,
            driver,
            spec,
            ..
        } = self;
        driver.release().map_err(|kept| kept.error.to_string())?;
        let open = smmu_gate::v2::opening(&machine.identify());
        let left = machine.memory.allocated().len();
        machine.model.on_every_change(|_| ());
        for &stream in &streams {
            spec.borrow_mut()
                .access(&machine.model, stream, 0x4000_0000, true);
        }
        let violation = machine.model.violations().take().first().map(ToString::to_string);
        let broken = spec.borrow().broken.clone();
        match (open, left, violation.or(broken)) {
            (None, 0, None) => Ok(()),
            wrong => Err(format!("{wrong:?}")),
        }
    }
}

fn check_routes(model: &Model, spec: &mut Spec, stream: u32) {
    for instance in 0..2 {
        if let Route::Bypass(reason) = model.route_in(instance, stream) {
            spec.complain(format!("stream {stream:#x}: {reason:?}"));
        }
    }
}

pub(crate) fn vmid(space: usize) -> u16 {
    3 + u16::try_from(space).unwrap()
}

/// Invalidation by the driver alone: there are no CPUs.
pub(crate) struct Caches<'d>(pub(crate) &'d mut ModelDriver);

impl Invalidate for Caches<'_> {
    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError> {
        self.0
            .invalidate(&IpaRange { vmid, ipa, size })
            .map_err(|_| InvalidateError {
                walker: Walker::Smmu(0),
                status: 1,
            })
    }
}
