//! Guests and the devices given to them: who waits for what, who starts when.

use super::System;
use super::fabric::HostBridge;
use super::given::Given;
use super::platform;
use crate::arch::{cpu, mmu, timer};
use crate::smmus::Unit;
use crate::vm::{self, Guest, PassedDevice, PassedFunction, Spec};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use devicetree::Tree;
use dma::{GuestId, State};
use partition::{Wait, When};
use pci::{Bdf, Window};
use sha2::{Digest, Sha512};
use stage2::{Geometry, PAGE_SIZE, WalkerLimits};
use vdev::ecam::{self, Place, Wish};

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
        // What has its place is taken before the core chooses one for anything else.
        let places: Vec<_> = guests.iter().map(vm::take_places).collect();
        let wanted = guests.iter().zip(places).enumerate();
        wanted
            .map(|(index, (guest, places))| {
                let built = places
                    .map_err(|error| error.to_string())
                    .and_then(|()| self.build_guest(GuestId(index), guest, &geometry));
                built
                    .inspect_err(|error| log::error!(target: "guest", "{}: not built: {error}", guest.name))
                    .ok()
            })
            .collect()
    }

    fn build_guest(
        &self,
        id: GuestId,
        guest: &partition::Guest,
        geometry: &Geometry,
    ) -> Result<&'static Guest, String> {
        let member = |name: &String| {
            let found = self.bundle.find(name);
            found.ok_or_else(|| format!("the bundle has no {name}"))
        };
        let image = member(&guest.image)?;
        let initrd = guest.initrd.as_ref().map(member).transpose()?;
        let mine = || self.given.iter().filter(|given| given.guest == id);
        let places: Vec<_> = mine().filter_map(|given| given.place).collect();
        let mut functions: Vec<_> = mine()
            .filter_map(|given| Some(self.passed(given.place?, given.at)))
            .collect::<Result<_, _>>()?;
        self.map_messages(id, guest, &mut functions);
        let bridge = places.first().and_then(|(bridge, _)| self.bridges.get(*bridge));
        // Where stage 2 does not reach, a guest had better not put a BAR.
        let windows: Vec<Window> = bridge
            .map(HostBridge::windows)
            .unwrap_or_default()
            .iter()
            .filter_map(|window| window.below(geometry.ipa_end()))
            .collect();
        if places
            .iter()
            .any(|(bridge, _)| places.first().is_some_and(|(first, _)| first != bridge))
        {
            return Err("its PCI functions sit behind different host bridges".to_string());
        }
        // A guest hears nothing of a device that it will never have.
        let may_have = |given: &&Given| {
            let registry = self.registry.lock();
            let state = registry.master(given.master).map(dma::Master::state);
            state.is_some_and(|state| state != State::Refused)
        };
        let platform: Vec<PassedDevice<'_>> = mine()
            .filter(may_have)
            .filter_map(|given| given.platform.as_ref())
            .inspect(|device| platform::announce(device, &self.tree, guest))
            .map(|device| PassedDevice {
                node: self.tree.node(device.node),
                pages: &device.pages,
                interrupts: &device.interrupts,
            })
            .collect();
        let spec = Spec {
            index: id.0,
            guest,
            image,
            initrd,
            seed: seed(&self.tree, id.0),
            // VMID 0 belongs to nobody: it is what `VTTBR_EL2` names where no guest runs.
            vmid: u16::try_from(id.0 + 1).map_err(|_| "there is no VMID left".to_string())?,
            geometry: *geometry,
            functions: &functions,
            platform: &platform,
            windows: &windows,
            slots: &slots(&functions, &windows)?,
        };
        Guest::build(&spec).map_err(|error| error.to_string())
    }

    fn passed(&self, (bridge, bdf): (usize, Bdf), at: Bdf) -> Result<PassedFunction<'_>, String> {
        let bridge = self.bridges.get(bridge).ok_or("there is no such host bridge")?;
        let function = bridge.fabric.get(bdf).ok_or("there is no such PCI function")?;
        let bars = bridge.memory_bars(function);
        // The host bridge's windows come from the tree: a guest must not get an SMMU or the interrupt controller as a BAR.
        if let Some(bar) = bars.iter().find(|bar| mmu::is_ours(bar.address, bar.size)) {
            return Err(format!(
                "{bdf}: its BAR of {:#x} bytes at {:#x} lies on memory or on the core's devices",
                bar.size, bar.address
            ));
        }
        Ok(PassedFunction {
            function,
            at,
            bars,
            interrupt: bridge.interrupt(&self.tree, bdf).unwrap_or_else(|error| {
                log::warn!(target: "pci", "{bdf}: its interrupt goes nowhere: {error}");
                None
            }),
            messages: None,
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

    /// Shows guests the devices that they have from the start, and says which of them nothing isolates.
    pub fn show_initial(&self) {
        for given in &self.given {
            let registry = self.registry.lock();
            if let Some(master) = registry.master(given.master)
                && master.state() == State::Uncovered
            {
                log::warn!(target: "device", "{}: NOT ISOLATED: {} can read and write all memory with it",
                    master.name, registry.guest_name(given.guest));
            }
            drop(registry);
            self.show_if_present(given);
        }
    }

    /// Shows a device that its guest has now: one that is live, one that does not wait, whose DMA is blocked, and one that
    /// nothing isolates and that was accepted so.
    fn show_if_present(&self, given: &Given) {
        let state = self.registry.lock().master(given.master).map(dma::Master::state);
        match state {
            Some(State::Live(_) | State::Uncovered) => self.show(given.master),
            Some(State::Pending | State::Held) if given.wait == Wait::No => self.show(given.master),
            _ => {}
        }
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
                self.take_console_from(id);
                self.given
                    .iter()
                    .filter(|given| given.guest == id)
                    .for_each(|given| self.release(given.master));
            }
        }
    }

    /// Starts guests again that asked for a reset. Their devices stay attached, but PCI functions master the bus no more
    /// until then.
    pub fn restart_reset(&self) {
        let guests = self.guests.iter().enumerate();
        for (index, guest) in guests.filter_map(|(index, guest)| Some((index, (*guest)?))) {
            let mine = || self.given.iter().filter(|given| given.guest.0 == index);
            if guest.is_at_rest() {
                mine().for_each(|given| self.hide(given.master));
                mine().for_each(|given| self.warn_of_reset(given));
                guest.let_clear();
            }
            if guest.take_cleared(timer::now_us()) {
                mine().for_each(|given| self.show_if_present(given));
                self.start_ready_guests();
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

/// The hot-plug slots of a guest: one for each function that is not on its bus 0.
fn slots(functions: &[PassedFunction<'_>], windows: &[Window]) -> Result<Vec<Place>, String> {
    let (fixed, arriving): (Vec<_>, Vec<_>) = functions.iter().partition(|passed| passed.at.bus() == 0);
    let wishes: Vec<Wish> = arriving
        .iter()
        .map(|passed| Wish {
            size: passed
                .bars
                .iter()
                .fold(0, |sum: u64, bar| {
                    sum.saturating_add(bar.size.next_multiple_of(PAGE_SIZE))
                })
                .next_power_of_two(),
            pin: passed.function.pin,
        })
        .collect();
    let devices: Vec<u8> = fixed.iter().map(|passed| passed.at.device()).collect();
    let bars = fixed.iter().flat_map(|passed| &passed.function.bars);
    let taken: Vec<(u64, u64)> = bars.map(|bar| (bar.address, bar.size)).collect();
    ecam::plan(&wishes, windows, &devices, &taken).map_err(|error| error.to_string())
}

/// Random bytes for a guest, if the boot loader passed any: nobody learns those of another guest from its own.
fn seed(tree: &Tree, guest: usize) -> Option<[u8; 32]> {
    let random = tree.chosen().node()?.property("rng-seed")?.bytes();
    let mut hash = Sha512::new();
    hash.update(random);
    hash.update(guest.to_le_bytes());
    hash.finalize().first_chunk().copied()
}

/// What a guest waits for before it starts.
enum Awaits {
    Nothing,
    Device(String),
    /// A device that it will not get in this run.
    Never(String),
}
