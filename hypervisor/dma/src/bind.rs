//! What is done when masters come, go and fault: the registry decides, drivers are told, guests see it, in this order.
//!
//! Other CPUs do the same meanwhile. So nothing that was true before a driver or a guest was called is taken for true after it.

use crate::{AtSmmu, GuestId};
use crate::{Change, Hardware, Master, MasterId, Registry, State, attach, cut, detach};
use alloc::vec::Vec;

/// What else the core does for this.
pub trait Core: Hardware {
    /// Looks at the registry, under its lock. It is not held while a driver or a guest is called.
    fn registry<R>(&self, work: impl FnOnce(&mut Registry) -> R) -> R;

    /// Microseconds since the core started.
    fn now_us(&self) -> u64;

    /// Prints transitions.
    fn report(&self, changes: &[Change]);

    /// Whether a guest was built and has stopped.
    fn has_stopped(&self, guest: GuestId) -> bool;

    /// Lets a guest see its device, and have it master the bus.
    fn show(&self, id: MasterId);

    /// Takes a device from its guest's sight, and off the bus.
    fn hide(&self, id: MasterId);
}

/// Makes a held master live, if someone was given it.
pub fn bind(core: &impl Core, id: MasterId) {
    let Ok(plan) = core.registry(|registry| registry.attach_plan(id)) else {
        return;
    };
    // A guest that stopped before the driver came has no use for its devices: they stay held.
    if core.has_stopped(plan.guest) {
        return;
    }
    let result = attach(core, &plan);
    let now_us = core.now_us();
    match result {
        Ok(()) => {
            let change = core.registry(|registry| registry.attached(id, now_us));
            core.report(change.as_slice());
            if change.is_some() {
                core.show(id);
            } else {
                // Another CPU has given one of its drivers up, before it was live.
                detach(core, id, &plan.matches);
            }
            // Another CPU may have given the driver up meanwhile, and hidden what was not shown yet.
            if !is_live(core, id) {
                core.hide(id);
            }
        }
        Err(error) => {
            let change = core.registry(|registry| {
                // If its driver was given up over it, it waits already, as the others behind that SMMU do.
                registry.attach_plan(id).ok()?;
                registry.attach_failed(id, error, now_us)
            });
            core.report(change.as_slice());
            core.hide(id);
        }
    }
}

/// Takes a master from a guest that stopped: off the bus, and its streams abort.
pub fn release(core: &impl Core, id: MasterId) {
    core.hide(id);
    let state = core.registry(|registry| registry.master(id).map(Master::state));
    if matches!(state, Some(State::Live(_) | State::Faulted(_))) {
        detach(core, id, &matches_of(core, id));
        let change = core.registry(|registry| registry.detached(id, core.now_us()));
        core.report(change.as_slice());
    }
}

/// Masters are not what they were because an SMMU lost its driver: they leave the bus, and nothing of them stays attached at
/// other SMMUs.
pub fn lost(core: &impl Core, changes: &[Change]) {
    core.report(changes);
    for change in changes {
        core.hide(change.master);
        if matches!(change.from, State::Live(_)) {
            detach(core, change.master, &matches_of(core, change.master));
        }
    }
}

/// Cuts a live master off that faulted, and whoever shares something with it.
pub fn quarantine(core: &impl Core, id: MasterId, fault: &str) {
    if !is_live(core, id) {
        return;
    }
    let cut = cut(core, id, &matches_of(core, id));
    let changes = core.registry(|registry| registry.quarantined(id, fault, &cut, core.now_us()));
    core.report(&changes);
    if !changes.iter().any(|change| change.master == id) {
        // Another CPU has taken its driver meanwhile: it waits, and is not cut off from the next one.
        detach(core, id, &matches_of(core, id));
    }
    for peer in changes.iter().filter(|change| change.master != id) {
        detach(core, peer.master, &matches_of(core, peer.master));
    }
}

fn is_live(core: &impl Core, id: MasterId) -> bool {
    let state = core.registry(|registry| registry.master(id).map(Master::state));
    matches!(state, Some(State::Live(_)))
}

fn matches_of(core: &impl Core, id: MasterId) -> Vec<AtSmmu> {
    core.registry(|registry| registry.master(id).map(|master| master.matches.clone()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{covered, given, registry, stream};
    use crate::{AttachPlan, Attachments, SmmuId};
    use driver_abi::Stream;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    const GUEST: GuestId = GuestId(0);

    /// What another CPU does at the worst moment.
    type Meanwhile = fn(&Fake);

    struct Fake {
        registry: RefCell<Registry>,
        attachments: RefCell<Attachments>,
        attached: RefCell<BTreeSet<(SmmuId, Stream)>>,
        shown: RefCell<BTreeSet<MasterId>>,
        stopped: Cell<bool>,
        in_attach: Cell<Option<Meanwhile>>,
        before_show: Cell<Option<Meanwhile>>,
        smmus: [SmmuId; 2],
    }

    impl Fake {
        /// Two SMMUs that are live, and a held master for each list of streams.
        fn new(masters: &[&[(usize, u32)]]) -> (Fake, Vec<MasterId>) {
            let (mut registry, a, b) = registry();
            let smmus = [a, b];
            let add = |streams: &&[(usize, u32)]| {
                let streams: Vec<_> = streams.iter().map(|(smmu, id)| (smmus[*smmu], *id)).collect();
                registry.add_master(covered("dev", &streams, given(GUEST.0)), 0)
            };
            let ids = masters.iter().map(add).collect();
            registry.driver_live(a, "v3", 1);
            registry.driver_live(b, "v3", 1);
            let fake = Fake {
                registry: RefCell::new(registry),
                attachments: RefCell::default(),
                attached: RefCell::default(),
                shown: RefCell::default(),
                stopped: Cell::new(false),
                in_attach: Cell::new(None),
                before_show: Cell::new(None),
                smmus,
            };
            (fake, ids)
        }

        /// The second SMMU's driver is given up.
        fn second_fails(&self) {
            let second = self.smmus[1];
            self.attachments.borrow_mut().forget(second);
            self.attached.borrow_mut().retain(|(smmu, _)| *smmu != second);
            let changes = self.registry(|registry| registry.driver_failed(second, "panic", 5));
            lost(self, &changes);
        }

        fn state(&self, id: MasterId) -> State {
            self.registry.borrow().master(id).unwrap().state()
        }

        /// What the hardware lets through, and what guests see.
        fn open(&self) -> (Vec<(usize, u32)>, Vec<usize>) {
            let attached = self.attached.borrow();
            let shown = self.shown.borrow();
            (
                attached
                    .iter()
                    .map(|(smmu, stream)| (smmu.0, stream.id))
                    .collect(),
                shown.iter().map(|id| id.0).collect(),
            )
        }
    }

    impl Hardware for Fake {
        fn attachments<R>(&self, work: impl FnOnce(&mut Attachments) -> R) -> R {
            work(&mut self.attachments.borrow_mut())
        }

        fn attach(&self, _: &AttachPlan, smmu: SmmuId, streams: &[Stream]) -> Result<(), String> {
            let new = streams.iter().map(|stream| (smmu, *stream));
            self.attached.borrow_mut().extend(new);
            if let Some(meanwhile) = self.in_attach.take() {
                meanwhile(self);
            }
            Ok(())
        }

        fn block(&self, smmu: SmmuId, streams: &[Stream]) {
            let mut attached = self.attached.borrow_mut();
            attached.retain(|(at, stream)| *at != smmu || !streams.contains(stream));
        }
    }

    impl Core for Fake {
        fn registry<R>(&self, work: impl FnOnce(&mut Registry) -> R) -> R {
            work(&mut self.registry.borrow_mut())
        }
        fn now_us(&self) -> u64 {
            9
        }
        fn report(&self, _: &[Change]) {}
        fn has_stopped(&self, _: GuestId) -> bool {
            self.stopped.get()
        }
        fn show(&self, id: MasterId) {
            if let Some(meanwhile) = self.before_show.take() {
                meanwhile(self);
            }
            self.shown.borrow_mut().insert(id);
        }
        fn hide(&self, id: MasterId) {
            self.shown.borrow_mut().remove(&id);
        }
    }

    const NOTHING: (Vec<(usize, u32)>, Vec<usize>) = (Vec::new(), Vec::new());

    #[test]
    fn a_master_comes_and_leaves_with_its_guest() {
        let (fake, ids) = Fake::new(&[&[(0, 1), (1, 2)]]);
        bind(&fake, ids[0]);
        assert_eq!(fake.state(ids[0]), State::Live(GUEST));
        assert_eq!(fake.open(), (vec![(0, 1), (1, 2)], vec![0]));
        release(&fake, ids[0]);
        assert_eq!((fake.state(ids[0]), fake.open()), (State::Held, NOTHING));
        assert_eq!(fake.attachments.borrow().total(), 0);
    }

    #[test]
    fn nothing_is_attached_for_a_guest_that_has_stopped() {
        let (fake, ids) = Fake::new(&[&[(0, 1)]]);
        fake.stopped.set(true);
        bind(&fake, ids[0]);
        assert_eq!((fake.state(ids[0]), fake.open()), (State::Held, NOTHING));
    }

    #[test]
    fn a_driver_that_is_lost_takes_its_masters_off_other_smmus() {
        let (fake, ids) = Fake::new(&[&[(0, 1), (1, 2)], &[(0, 7)]]);
        ids.iter().for_each(|id| bind(&fake, *id));
        fake.second_fails();
        assert_eq!(fake.state(ids[0]), State::Pending);
        assert_eq!(fake.open(), (vec![(0, 7)], vec![1]));
        assert_eq!(fake.attachments.borrow().total(), 1);
    }

    #[test]
    fn a_driver_that_is_lost_during_attach_leaves_nothing_open() {
        let (fake, ids) = Fake::new(&[&[(0, 1), (1, 2)]]);
        fake.in_attach.set(Some(Fake::second_fails));
        bind(&fake, ids[0]);
        assert_eq!(fake.state(ids[0]), State::Pending);
        let (attached, shown) = fake.open();
        assert!(!attached.contains(&(0, 1)), "{attached:?}");
        assert!(shown.is_empty());
        assert_eq!(fake.attachments.borrow().total(), 0);
    }

    #[test]
    fn a_driver_that_is_lost_before_its_master_is_shown_leaves_nothing_to_be_seen() {
        let (fake, ids) = Fake::new(&[&[(0, 1), (1, 2)]]);
        fake.before_show.set(Some(Fake::second_fails));
        bind(&fake, ids[0]);
        assert_eq!((fake.state(ids[0]), fake.open()), (State::Pending, NOTHING));
    }

    #[test]
    fn whoever_is_quarantined_has_nothing_attached() {
        let (fake, ids) = Fake::new(&[&[(0, 1), (0, 2)], &[(0, 2), (0, 3), (1, 3)], &[(0, 3)]]);
        ids.iter().for_each(|id| bind(&fake, *id));
        quarantine(&fake, ids[0], "read at IPA 0x0: not mapped");
        let states: Vec<_> = ids.iter().map(|id| fake.state(*id)).collect();
        assert_eq!(
            states,
            [State::Faulted(GUEST), State::Faulted(GUEST), State::Live(GUEST)]
        );
        // The third uses 3 as well, and shares nothing with who faulted.
        let third: Vec<_> = fake.attached.borrow().iter().copied().collect();
        assert_eq!(third, [(fake.smmus[0], stream(3))]);
        quarantine(&fake, ids[0], "again");
        assert_eq!(fake.state(ids[2]), State::Live(GUEST));
        ids.iter().for_each(|id| release(&fake, *id));
        assert_eq!(fake.open(), NOTHING);
    }
}
