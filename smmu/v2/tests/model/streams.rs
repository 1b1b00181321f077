//! Operations on streams: attach, detach, quiesce, and what an interrupt tells.

use crate::spec::Recorded;
use crate::world::World;
use smmu_v2::{Error, Event, EventKind};

/// How an attachment has to end.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Done,
    Attached,
    Groups,
    Banks,
    Sync,
}

impl Ending {
    fn of(result: &Result<(), Error>) -> Option<Self> {
        Some(match result {
            Ok(()) => Ending::Done,
            Err(Error::Attached { .. }) => Ending::Attached,
            Err(Error::Groups { .. }) => Ending::Groups,
            Err(Error::Banks { .. }) => Ending::Banks,
            Err(Error::Sync(_)) => Ending::Sync,
            Err(_) => return None,
        })
    }
}

impl World {
    /// How many groups a device needs where streams are matched.
    fn groups_of(&self, device: usize) -> usize {
        [1, 1, 1, 2, 1, 2][device]
    }

    fn expected(&self, device: usize, space: usize) -> Ending {
        let spec = self.spec.borrow();
        let features = self.driver.features();
        let attached = (0..self.devices.len()).filter(|&device| spec.attached[device].is_some());
        let groups: usize = attached.map(|device| self.groups_of(device)).sum();
        let used = (0..spec.spaces.len())
            .filter(|&space| spec.users(space) != 0)
            .count();
        if self.is_stuck() && self.unfinished {
            Ending::Sync
        } else if spec.attached[device].is_some() {
            Ending::Attached
        } else if features.stream_match && groups + self.groups_of(device) > features.groups.into() {
            Ending::Groups
        } else if spec.users(space) != 0 {
            Ending::Done
        } else if used >= features.banks.into() {
            Ending::Banks
        } else if self.is_stuck() {
            Ending::Sync
        } else {
            Ending::Done
        }
    }

    pub(crate) fn attach(&mut self, device: usize, space: usize) {
        let expected = self.expected(device, space);
        let was_stuck = self.is_stuck();
        self.spec.borrow_mut().forget_faults_of_unused();
        if expected == Ending::Done {
            self.start_moving(None);
            self.spec.borrow_mut().attached[device] = Some(space);
        }
        let domain = self.domain(space);
        let result = self.driver.attach(&self.devices[device], &domain);
        let ending = Ending::of(&result);
        let surprised = self.is_stuck() != was_stuck && ending == Some(Ending::Sync);
        self.expect(surprised || ending.as_ref() == Some(&expected), || {
            format!("attach: {result:?} instead of {expected:?}")
        });
        if expected == Ending::Done && result.is_err() {
            self.spec.borrow_mut().attached[device] = None;
        }
        if surprised && self.unfinished {
            // Whether what was left is done cannot be told from outside.
            self.repair();
            let done = self.driver.detach(&[]);
            self.expect(done.is_ok(), || format!("detach of nothing: {done:?}"));
        }
        // Any other error comes after what was left to do.
        if !self.is_stuck() || ending != Some(Ending::Sync) {
            self.unfinished = false;
        }
        self.settle(device);
    }

    pub(crate) fn detach(&mut self, device: usize) {
        let attached = self.spec.borrow().attached[device].is_some();
        let fails = self.is_stuck() && (self.unfinished || attached);
        self.leave(&[device], fails, attached, |world| {
            world.driver.detach(&world.devices[device])
        });
        self.settle(device);
    }

    pub(crate) fn quiesce(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        let attached = self.spec.borrow().attached.iter().any(Option::is_some);
        self.leave(&all, self.is_stuck(), attached, |world| world.driver.quiesce());
        for device in all {
            self.settle(device);
        }
    }

    /// Some devices leave; whether the call does not come to an end, and whether there is anything to end.
    fn leave(
        &mut self,
        devices: &[usize],
        fails: bool,
        attached: bool,
        call: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) {
        let was_stuck = self.is_stuck();
        self.spec.borrow_mut().forget_faults_of_unused();
        self.start_moving(None);
        for &device in devices {
            self.spec.borrow_mut().attached[device] = None;
        }
        let result = call(self);
        let surprised = self.is_stuck() != was_stuck;
        let as_expected = result.is_err() == fails || surprised;
        let kind = matches!(result, Ok(()) | Err(Error::Sync(_)));
        self.expect(as_expected && kind, || {
            format!("detach or quiesce: {result:?}, fails: {fails}")
        });
        self.unfinished = result.is_err() && (self.unfinished || attached);
        self.spec.borrow_mut().forget_faults_of_unused();
    }

    /// After any call about a device its streams find exactly what they should.
    fn settle(&self, device: usize) {
        let streams = self.spec.borrow().devices[device].clone();
        self.look_at(&streams, &[0x4000_0000, 0x4000_5000, 0x4020_0000, 0x5000_0000]);
        self.check_settled();
    }

    /// Nothing stale is cached, unless something failed.
    pub(crate) fn check_settled(&self) {
        let failed = self.spec.borrow().limbo.iter().any(|pages| !pages.is_empty());
        if self.is_stuck() || self.unfinished || failed {
            return;
        }
        let left = self.machine.model.unsettled();
        let stale = left.iter().find(|what| what.contains("cached"));
        self.expect(stale.is_none(), || format!("{stale:?}"));
    }

    /// While the driver looks, devices go on. What stood recorded before is told; whatever else is told happened; what is
    /// not told is told as lost; and as soon as devices rest the interrupt ends.
    pub(crate) fn interrupt_meanwhile(&mut self) {
        let mut spec = self.spec.borrow_mut();
        let mut required: Vec<Recorded> = std::mem::take(&mut spec.faults).into_values().collect();
        let mut optional = std::mem::take(&mut spec.optional);
        spec.meanwhile = Some(Vec::new());
        drop(spec);
        let mut told: Vec<Event> = Vec::new();
        self.driver.interrupt(|event| told.push(*event));
        self.watch.borrow_mut().on = false;
        let mut meanwhile = self.spec.borrow_mut().meanwhile.take().unwrap_or_default();
        // What came before it was looked for is told by the next call.
        let rest = self.driver.interrupt(|event| told.push(*event));
        self.expect(!rest.more, || format!("{rest:?} at rest"));
        let lost = told.iter().any(|event| event.kind == EventKind::Lost);
        for event in told.iter().filter(|event| event.kind != EventKind::Lost) {
            let mut lists = [&mut required, &mut meanwhile, &mut optional].into_iter();
            let found = lists.find_map(|faults| {
                let index = faults.iter().position(|fault| is_told_by(fault, event))?;
                Some(faults.remove(index))
            });
            self.expect(found.is_some(), || format!("{event:x?} never happened"));
        }
        self.expect(required.is_empty(), || format!("{required:x?} are not told"));
        self.expect(meanwhile.is_empty() || lost, || {
            format!("{meanwhile:x?} are neither told nor lost")
        });
        self.expect(!self.is_signalled(), || "the interrupt does not end".into());
    }

    fn is_signalled(&self) -> bool {
        let banks = 0..self.driver.features().banks.into();
        let model = &self.machine.model;
        model.global_interrupt() || banks.into_iter().any(|bank| model.context_interrupt(bank))
    }

    /// Every first fault is told as it happened, and that there were others.
    pub(crate) fn interrupt(&mut self) {
        let recorded = std::mem::take(&mut self.spec.borrow_mut().faults);
        let mut optional = std::mem::take(&mut self.spec.borrow_mut().optional);
        let mut required: Vec<Recorded> = recorded.into_values().collect();
        self.expect(required.is_empty() || self.is_signalled(), || {
            "a fault does not interrupt".into()
        });
        let mut events: Vec<Event> = Vec::new();
        let report = self.driver.interrupt(|event| events.push(*event));
        let mut lost = 0;
        let counted = (report.events, report.lost, report.global_errors, report.more);
        for event in events.iter().filter(|event| event.kind != EventKind::Lost) {
            let like = |fault: &Recorded| is_told_by(fault, event);
            let found = required.iter().position(like).map(|index| required.remove(index));
            let found = found.or_else(|| optional.iter().position(like).map(|index| optional.remove(index)));
            self.expect(found.is_some(), || format!("{event:x?} never happened"));
            lost += u32::from(found.is_some_and(|fault| fault.more));
        }
        self.expect(required.is_empty(), || format!("{required:x?} are not told"));
        let told = u32::try_from(events.len()).unwrap() - report.lost;
        self.expect(counted == (told, lost, 0, false), || {
            format!("{report:?}, expected {lost} lost")
        });
        self.expect(!self.is_signalled(), || "the interrupt does not end".into());
    }
}

fn is_told_by(fault: &Recorded, event: &Event) -> bool {
    let told = (event.stream, event.kind, event.address, event.write);
    told == (fault.stream, fault.kind, Some(fault.ipa), fault.write) && !event.instruction && event.count == 1
}
