//! Guests and the devices given to them: who gets what, who waits for what, who starts when.

use super::System;
use super::fabric::HostBridge;
use crate::arch::{cpu, mmu, timer};
use crate::smmus::Unit;
use crate::vm::{self, Guest, PassedFunction, Spec};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use devicetree::Tree;
use dma::{Assignment, Coverage, GuestId, MasterId, MasterSpec, Registry, SmmuId, State};
use partition::{Device, DeviceName, Dma, Wait, When};
use pci::Bdf;
use stage2::{Geometry, WalkerLimits};
use topology::{Graph, Identity, MasterIndex};
use vdev::ecam::Action;

/// A device of a guest: which master it is, and where it sits.
#[derive(Debug, Clone)]
pub struct Given {
    /// The master.
    pub master: MasterId,
    /// Whose it is.
    pub guest: GuestId,
    /// Who waits for it.
    pub wait: Wait,
    /// The host bridge and the place behind it; nothing if there is no such device.
    pub place: Option<(usize, Bdf)>,
}

/// Fills the registry with all SMMUs and masters, and with what the partition gives to whom.
pub fn register(
    tree: &Tree,
    units: &[Unit],
    graph: &Graph,
    bridges: &[HostBridge],
    guests: &[partition::Guest],
) -> (Registry, Vec<Given>) {
    let now_us = timer::now_us();
    let mut registry = Registry::new(guests.iter().map(|guest| guest.name.clone()).collect());
    for unit in units {
        registry.add_smmu(unit.path.clone(), unit.gate.as_ref().err().cloned());
    }
    let mut wishes: Vec<(GuestId, &partition::Guest, &Device)> = Vec::new();
    for (index, guest) in guests.iter().enumerate() {
        wishes.extend(guest.devices.iter().map(|device| (GuestId(index), guest, device)));
    }
    let mut given = Vec::new();
    for (index, master) in graph.masters().iter().enumerate() {
        let position = wishes
            .iter()
            .position(|(_, _, device)| is_that(&device.name, &master.identity));
        let wish = position.map(|position| wishes.remove(position));
        let mut coverage = match &master.coverage {
            topology::Coverage::Covered => Coverage::Covered,
            topology::Coverage::Uncovered => Coverage::Uncovered,
            topology::Coverage::Refused(refusal) => Coverage::Refused(refusal.to_string()),
        };
        let place = place(&master.identity, bridges);
        if let Some((_, guest, device)) = wish {
            coverage = narrow(coverage, guest, device, place.is_some());
        }
        let group = graph.group_of(MasterIndex(index));
        let matches = group.map_or_else(Vec::new, |group| group.matches_of(master));
        let id = registry.add_master(
            MasterSpec {
                name: master.identity.to_string(),
                streams: at_smmus(&master.streams),
                matches: at_smmus(&matches),
                coverage,
                assignment: wish.map(|(guest, _, device)| assignment(guest, device)),
            },
            now_us,
        );
        given.extend(wish.map(|(guest, _, device)| Given {
            master: id,
            guest,
            wait: device.wait,
            place,
        }));
    }
    let groups: Vec<Vec<MasterId>> = graph
        .groups()
        .iter()
        .map(|group| group.masters.iter().map(|master| MasterId(master.0)).collect())
        .collect();
    registry.settle_groups(&groups, now_us);
    // What no binding describes and no bus shows.
    for (guest, _, device) in wishes {
        let why = match &device.name {
            DeviceName::Path(path) if tree.find(path).is_none() => "there is no such node".to_string(),
            _ if graph.not_described().is_refused() => graph.not_described().to_string(),
            DeviceName::Pci(_) => "there is no such PCI function".to_string(),
            DeviceName::Path(_) => NOT_PCI.to_string(),
        };
        let spec = MasterSpec {
            name: device.name.to_string(),
            streams: Vec::new(),
            matches: Vec::new(),
            coverage: Coverage::Refused(why),
            assignment: Some(assignment(guest, device)),
        };
        let master = registry.add_master(spec, now_us);
        given.push(Given {
            master,
            guest,
            wait: device.wait,
            place: None,
        });
    }
    (registry, given)
}

/// The graph's streams as the registry and the drivers have them.
fn at_smmus(streams: &[topology::Stream]) -> Vec<(SmmuId, driver_abi::Stream)> {
    let own = |stream: &topology::Stream| {
        let &topology::Stream { smmu, id, mask } = stream;
        (SmmuId(smmu.0), driver_abi::Stream { id, mask })
    };
    streams.iter().map(own).collect()
}

/// Why a platform device is refused.
const NOT_PCI: &str = "only PCI functions can be given to guests by this version";

/// What keeps a guest from getting a device although the stream graph would let it.
fn narrow(coverage: Coverage, guest: &partition::Guest, device: &Device, is_pci: bool) -> Coverage {
    let identity = guest.memory.iter().all(|region| region.pa == Some(region.ipa));
    match coverage {
        Coverage::Covered | Coverage::Uncovered if !is_pci => Coverage::Refused(NOT_PCI.to_string()),
        // Untranslated, the device would write to somebody else's memory even if its guest is honest.
        Coverage::Uncovered if device.dma == Dma::Trusted && !identity => Coverage::Refused(
            "no SMMU translates its DMA, so the guest's memory has to lie at pa = ipa; say so in the partition file"
                .to_string(),
        ),
        coverage => coverage,
    }
}

fn assignment(guest: GuestId, device: &Device) -> Assignment {
    Assignment {
        guest,
        dma: device.dma,
        on_fault: device.on_fault,
    }
}

fn is_that(name: &DeviceName, identity: &Identity) -> bool {
    match (name, identity) {
        (
            DeviceName::Pci(name),
            Identity::Pci {
                segment,
                requester_id,
                ..
            },
        ) => name.segment == *segment && name.requester_id() == *requester_id,
        (DeviceName::Path(name), Identity::Platform { path, .. }) => name == path,
        _ => false,
    }
}

fn place(identity: &Identity, bridges: &[HostBridge]) -> Option<(usize, Bdf)> {
    let Identity::Pci {
        host_bridge,
        requester_id,
        ..
    } = identity
    else {
        return None;
    };
    let bridge = bridges.iter().position(|bridge| bridge.node == *host_bridge)?;
    Some((bridge, Bdf::from_requester_id(*requester_id)))
}

impl System {
    /// Builds every guest that can be built; a line says why one cannot.
    pub fn build_guests(&self, guests: &[partition::Guest]) -> Vec<Option<&'static Guest>> {
        // A device that is already on its way to refusal must not narrow the tree; every SMMU that may get a driver does.
        let cpu = WalkerLimits::cpu("the CPUs", cpu::physical_address_bits(), true);
        let limits: Vec<_> = core::iter::once(cpu)
            .chain(self.units.iter().filter_map(Unit::walker_limits))
            .collect();
        let geometry = match Geometry::choose(&limits) {
            Ok(geometry) => geometry,
            Err(error) => {
                log::error!(target: "guest", "no guest can be built: {error}");
                return guests.iter().map(|_| None).collect();
            }
        };
        log::info!(target: "stage2", "{}-bit IPA, {}-bit PA, root at level {} (tables: {}), one tree for the CPUs and every SMMU (here: {})",
            geometry.ipa_bits(), geometry.pa_bits(), geometry.start_level(), geometry.root_tables(), limits.len() - 1);
        guests
            .iter()
            .enumerate()
            .map(
                |(index, guest)| match self.build_guest(GuestId(index), guest, &geometry) {
                    Ok(guest) => Some(guest),
                    Err(error) => {
                        log::error!(target: "guest", "{}: not built: {error}", guest.name);
                        None
                    }
                },
            )
            .collect()
    }

    fn build_guest(
        &self,
        id: GuestId,
        guest: &partition::Guest,
        geometry: &Geometry,
    ) -> Result<&'static Guest, String> {
        let image = self
            .bundle
            .find(&guest.image)
            .ok_or_else(|| format!("the bundle has no {}", guest.image))?;
        let places: Vec<_> = self
            .given
            .iter()
            .filter(|given| given.guest == id)
            .filter_map(|given| given.place)
            .collect();
        let functions: Vec<_> = places
            .iter()
            .map(|(bridge, bdf)| self.passed(*bridge, *bdf))
            .collect::<Result<_, _>>()?;
        let windows = places.first().and_then(|(bridge, _)| self.bridges.get(*bridge));
        if places
            .iter()
            .any(|(bridge, _)| places.first().is_some_and(|(first, _)| first != bridge))
        {
            return Err("its PCI functions sit behind different host bridges".to_string());
        }
        let spec = Spec {
            index: id.0,
            guest,
            image,
            // VMID 0 belongs to nobody: it is what `VTTBR_EL2` names where no guest runs.
            vmid: u16::try_from(id.0 + 1).map_err(|_| "there is no VMID left".to_string())?,
            geometry: *geometry,
            functions: &functions,
            windows: windows.map(HostBridge::windows).unwrap_or_default(),
        };
        Guest::build(&spec).map_err(|error| error.to_string())
    }

    fn passed(&self, bridge: usize, bdf: Bdf) -> Result<PassedFunction<'_>, String> {
        let bridge = self.bridges.get(bridge).ok_or("there is no such host bridge")?;
        let function = bridge.fabric.get(bdf).ok_or("there is no such PCI function")?;
        let bars = bridge.memory_bars(function);
        // The host bridge's windows come from the tree: a guest must not get an SMMU or the interrupt controller as a BAR.
        if let Some((address, size)) = bars.iter().find(|(address, size)| mmu::is_ours(*address, *size)) {
            return Err(format!(
                "{bdf}: its BAR of {size:#x} bytes at {address:#x} lies on memory or on the core's devices"
            ));
        }
        Ok(PassedFunction {
            function,
            at: seen_at(bdf),
            bars,
            interrupt: bridge.interrupt(&self.tree, bdf).unwrap_or_else(|error| {
                log::warn!(target: "pci", "{bdf}: its interrupt goes nowhere: {error}");
                None
            }),
        })
    }

    /// Prints the first state of every device that a guest was given.
    pub fn announce_devices(&self) {
        let registry = self.registry.lock();
        for given in &self.given {
            let Some(master) = registry.master(given.master) else {
                continue;
            };
            let kind = given
                .place
                .and_then(|(bridge, bdf)| self.bridges.get(bridge)?.fabric.get(bdf))
                .map_or_else(String::new, |found| {
                    format!(" ({:04x}:{:04x})", found.vendor, found.device)
                });
            let reason = master.reason().map_or_else(String::new, ToString::to_string);
            log::info!(target: "device", "{}{kind} for {}: {}: {reason}", master.name,
                registry.guest_name(given.guest), master.state().word());
        }
    }

    /// Says until when who waits.
    pub fn announce_schedule(&self, loading: &partition::Loading) {
        match loading.when {
            When::Boot => {}
            When::Delay { delay_ms } => log::info!(target: "component",
                "drivers are loaded {delay_ms} ms after the guests started; loading is sealed after {} ms", loading.seal_ms),
            When::Never => log::info!(target: "component",
                "no component is loaded in this run; loading is sealed after {} ms", loading.seal_ms),
        }
    }

    /// Shows guests those devices that do not wait: `wait = "no"`, whose DMA the gate blocks, and those that
    /// nothing isolates and that were accepted so.
    pub fn show_initial(&self) {
        for given in &self.given {
            let state = self.registry.lock().master(given.master).map(dma::Master::state);
            match state {
                Some(State::Pending | State::Held) if given.wait == Wait::No => self.show(given.master),
                Some(State::Uncovered) => {
                    let registry = self.registry.lock();
                    if let Some(master) = registry.master(given.master) {
                        log::warn!(target: "device", "{}: NOT ISOLATED: {} can read and write all memory with it",
                            master.name, registry.guest_name(given.guest));
                    }
                    drop(registry);
                    self.show(given.master);
                }
                _ => {}
            }
        }
    }

    /// Makes a device visible to its guest, and lets it master the bus when the guest says so.
    pub fn show(&self, id: MasterId) {
        if let Some(given) = self.given(id)
            && let (Some(guest), Some((_, bdf))) = (self.guest(given.guest), given.place)
            && let Err(error) = guest.show_device(seen_at(bdf), self)
        {
            log::error!(target: "guest", "{}: {bdf} cannot be shown: {error}", guest.name());
        }
        self.start_ready_guests();
    }

    /// Takes a device from its guest's sight; it does not master the bus any more.
    pub fn hide(&self, id: MasterId) {
        if let Some(given) = self.given(id)
            && let Some((bridge, bdf)) = given.place
        {
            if let Some(guest) = self.guest(given.guest) {
                guest.hide_device(seen_at(bdf), self);
            }
            // Whatever the guest's virtual machine made of it.
            if let Some(bridge) = self.bridges.get(bridge) {
                bridge.fabric.set_bus_master(&bridge.config, bdf, false);
            }
        }
        self.start_ready_guests();
    }

    /// Carries out what a guest's access to configuration space led to.
    pub fn switch(&self, guest: GuestId, action: Action) {
        let is_that = |given: &&super::guests::Given| {
            given.guest == guest && given.place.is_some_and(|(_, bdf)| bdf == action.physical)
        };
        let Some(given) = self.given.iter().find(is_that) else {
            return;
        };
        let Some(bridge) = given.place.and_then(|(bridge, _)| self.bridges.get(bridge)) else {
            return;
        };
        bridge
            .fabric
            .set_bus_master(&bridge.config, action.physical, action.bus_master);
        bridge
            .fabric
            .set_intx(&bridge.config, action.physical, action.intx);
    }

    /// What a guest that was not started waits for.
    fn awaits(&self, guest: GuestId) -> Awaits {
        let registry = self.registry.lock();
        let mut awaits = Awaits::Nothing;
        for given in self
            .given
            .iter()
            .filter(|given| given.guest == guest && given.wait == Wait::Guest)
        {
            let Some(master) = registry.master(given.master) else {
                continue;
            };
            match master.state() {
                State::Live(_) | State::Uncovered => {}
                State::Refused | State::Faulted(_) => return Awaits::Never(master.name.clone()),
                State::Pending | State::Held => awaits = Awaits::Device(master.name.clone()),
            }
        }
        awaits
    }

    fn waiting(&self) -> impl Iterator<Item = (GuestId, &'static Guest)> {
        let guests = self.guests.iter().enumerate();
        guests
            .filter_map(|(index, guest)| guest.map(|guest| (GuestId(index), guest)))
            .filter(|(_, guest)| guest.state() == vm::State::Waiting)
    }

    /// Says which guests wait, and for what.
    pub fn announce_waits(&self) {
        for (id, guest) in self.waiting() {
            if let Awaits::Device(device) = self.awaits(id) {
                log::info!(target: "guest", "{}: waits for {device}", guest.name());
            }
        }
    }

    /// Starts every guest that waits for nothing any more, and gives up those that wait for what will never come.
    pub fn start_ready_guests(&self) {
        // Loading at boot binds and gives up devices before their guests may see any.
        if !self.ready.load(Ordering::Acquire) {
            return;
        }
        for (id, guest) in self.waiting() {
            match self.awaits(id) {
                Awaits::Nothing => {
                    let cpus: Vec<_> = (0..guest.vcpus()).filter_map(|vcpu| guest.cpu_of(vcpu)).collect();
                    log::info!(target: "guest", "{}: starts, on CPUs {cpus:?}", guest.name());
                    guest.start();
                }
                Awaits::Device(_) => {}
                Awaits::Never(device) => {
                    guest.stop(&format!("it waits for {device}, which it will never get"));
                }
            }
        }
    }

    /// The guest and vCPU that a CPU runs.
    pub fn vcpu_of(&self, cpu: usize) -> Option<(&'static Guest, usize)> {
        let mut guests = self.guests.iter().copied().flatten();
        guests.find_map(|guest| {
            let vcpu = (0..guest.vcpus()).find(|vcpu| guest.cpu_of(*vcpu) == Some(cpu))?;
            Some((guest, vcpu))
        })
    }

    /// Stops a guest for a reason that is not its own.
    pub fn stop_guest(&self, id: GuestId, why: &str) {
        if let Some(guest) = self.guest(id) {
            guest.stop(why);
        }
    }

    /// Takes the devices of guests that stopped, once for each.
    pub fn release_stopped(&self) {
        for index in 0..self.guests.len() {
            let id = GuestId(index);
            if self.is_over(id) && !self.ended.lock().contains(&id) {
                self.ended.lock().push(id);
                self.given
                    .iter()
                    .filter(|given| given.guest == id)
                    .for_each(|given| self.release(given.master));
            }
        }
    }

    /// Whether no guest runs and none will.
    pub fn everyone_stopped(&self) -> bool {
        (0..self.guests.len()).all(|index| self.is_over(GuestId(index)))
    }

    /// Whether a guest has stopped, or was never built.
    fn is_over(&self, id: GuestId) -> bool {
        self.guest(id).is_none() || self.has_stopped(id)
    }

    /// Whether a guest was built and has stopped.
    pub fn has_stopped(&self, id: GuestId) -> bool {
        self.guest(id)
            .is_some_and(|guest| matches!(guest.state(), vm::State::Stopped(_)))
    }
}

/// What a guest waits for before it starts.
enum Awaits {
    Nothing,
    Device(String),
    /// A device that it will not get in this run.
    Never(String),
}

/// Where a guest finds a function: it has one bus, so device and function number stay and the bus does not.
fn seen_at(bdf: Bdf) -> Bdf {
    Bdf::from_requester_id(bdf.requester_id() & 0xff)
}
