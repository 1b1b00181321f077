//! SMMUs whose gate was not measured shut, and what a run may say of isolation therefore.

use super::{Change, Master, Registry};
use crate::{MasterId, Reason, SmmuId, State};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What a run may say at its end. Devices of guests were isolated or blocked, but for these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// SMMUs that were open at some time: a line for each, with the devices of guests behind it.
    pub open: Vec<String>,
    /// Guests that were given devices which no SMMU describes, each with these devices.
    pub exposed: Vec<(String, Vec<String>)>,
}

impl Registry {
    /// An SMMU has no driver, and its gate was not measured shut. Everything behind it is refused, and stays so even if it is
    /// shut later: the core is to keep these masters off the bus.
    pub fn opened(&mut self, smmu: SmmuId, why: &str, now_us: u64) -> Vec<Change> {
        let Some(open) = self.smmus.get_mut(smmu.0) else {
            return Vec::new();
        };
        open.driver = None;
        open.opened.get_or_insert_with(|| why.to_string());
        let text = format!("{}: {why}", open.path);
        open.unusable.get_or_insert_with(|| format!("IT IS OPEN: {why}"));
        let behind: Vec<MasterId> = self
            .ids()
            .filter(|id| {
                self.master(*id)
                    .is_some_and(|master| master.state != State::Uncovered && master.is_behind(smmu))
            })
            .collect();
        behind
            .into_iter()
            .filter_map(|id| self.step(id, State::Refused, Reason::OpenSmmu(text.clone()), now_us))
            .collect()
    }

    /// Whether DMA of a device goes where the device wants: no SMMU describes it, or one was open.
    pub fn is_exposed(&self, id: MasterId) -> bool {
        let opened = |index: &usize| self.smmus.get(*index).is_some_and(|smmu| smmu.opened.is_some());
        let mut open = (0..self.smmus.len()).filter(opened);
        self.master(id).is_some_and(|master| {
            master.state == State::Uncovered || open.any(|smmu| master.is_behind(SmmuId(smmu)))
        })
    }

    /// What the run may say.
    pub fn verdict(&self) -> Verdict {
        let assigned = || {
            self.masters
                .iter()
                .filter_map(|master| Some((master, master.assignment?)))
        };
        let names = |which: &dyn Fn(&Master) -> bool| {
            let named = assigned()
                .filter(|(master, _)| which(master))
                .map(|(master, given)| format!("{} of {}", master.name, self.guest_name(given.guest)));
            named.collect::<Vec<_>>().join(", ")
        };
        let lost = names(&|master| master.state == State::Refused && master.streams.is_empty());
        let open = self.smmus.iter().enumerate().filter_map(|(index, smmu)| {
            let why = smmu.opened.as_ref()?;
            let behind = names(&|master| master.is_behind(SmmuId(index)));
            let devices = match (behind.as_str(), lost.as_str()) {
                ("", "") => "no device of a guest is behind it".to_string(),
                (behind, "") => format!("behind it: {behind}"),
                ("", lost) => format!("perhaps behind it, since no stream is known: {lost}"),
                (behind, lost) => {
                    format!("behind it: {behind}; perhaps behind it, since no stream is known: {lost}")
                }
            };
            Some(format!("{} WAS OPEN: {why}; {devices}", smmu.path))
        });
        let mut exposed: Vec<(String, Vec<String>)> = Vec::new();
        for (master, given) in assigned().filter(|(master, _)| master.state == State::Uncovered) {
            let guest = self.guest_name(given.guest);
            match exposed.iter_mut().find(|(known, _)| known == guest) {
                Some((_, devices)) => devices.push(master.name.clone()),
                None => exposed.push((guest.to_string(), alloc::vec![master.name.clone()])),
            }
        }
        Verdict {
            open: open.collect(),
            exposed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{covered, given, registry};
    use crate::{Assignment, Coverage, MasterSpec, NotNow};
    use partition::Dma;

    #[test]
    fn whatever_is_behind_an_open_smmu_is_refused_for_good() {
        let (mut registry, a, b) = registry();
        let live = registry.add_master(covered("live", &[(a, 1)], given(0)), 0);
        let both = registry.add_master(covered("both", &[(a, 2), (b, 2)], given(1)), 0);
        let nobodys = registry.add_master(covered("nobodys", &[(a, 3)], None), 0);
        let elsewhere = registry.add_master(covered("elsewhere", &[(b, 1)], given(1)), 0);
        registry.driver_live(a, "v3", 1);
        registry.attached(live, 2);
        assert!(registry.verdict().open.is_empty());
        assert!(![live, both, elsewhere].iter().any(|id| registry.is_exposed(*id)));
        let changes = registry.opened(a, "CR0 reads 0x0", 3);
        assert_eq!(changes.len(), 3);
        assert!(changes.iter().all(|change| change.to == State::Refused));
        for id in [live, both, nobodys] {
            let why = registry.why(id).unwrap().to_string();
            assert!(
                why.ends_with(
                    "its SMMU IS OPEN, and the device is kept off the bus: /smmu@1: CR0 reads 0x0)"
                ),
                "{why}"
            );
        }
        assert_eq!(registry.master(elsewhere).unwrap().state(), State::Pending);
        assert!(registry.is_exposed(live) && registry.is_exposed(both) && !registry.is_exposed(elsewhere));
        // Another driver makes nothing of it good.
        assert_eq!(registry.driver_live(a, "v3", 4), []);
        assert_eq!(registry.attach_plan(live), Err(NotNow::State(State::Refused)));
        let late = registry.add_master(covered("late", &[(a, 4)], given(0)), 5);
        assert_eq!(registry.master(late).unwrap().state(), State::Refused);
        let open =
            "/smmu@1 WAS OPEN: CR0 reads 0x0; behind it: live of alice, both of mallory, late of alice";
        assert_eq!(registry.verdict().open, [open]);
    }

    #[test]
    fn an_smmu_that_was_open_from_the_start_is_told_with_those_behind_it() {
        let (mut registry, a, b) = registry();
        assert_eq!(registry.opened(a, "GATE NOT SHUT", 0), []);
        assert_eq!(registry.opened(b, "stuck", 0), []);
        // The stream graph has refused it already, and knows no stream of it.
        let refused = |name| MasterSpec {
            coverage: Coverage::Refused("its SMMU is not shut".to_string()),
            ..covered(name, &[], given(0))
        };
        registry.add_master(covered("dev", &[(a, 1)], given(0)), 1);
        let told = |registry: &Registry| registry.verdict().open.join("\n");
        assert_eq!(
            told(&registry),
            "/smmu@1 WAS OPEN: GATE NOT SHUT; behind it: dev of alice\n\
             /smmu@2 WAS OPEN: stuck; no device of a guest is behind it"
        );
        registry.add_master(refused("lost"), 1);
        assert_eq!(
            told(&registry),
            "/smmu@1 WAS OPEN: GATE NOT SHUT; behind it: dev of alice; \
             perhaps behind it, since no stream is known: lost of alice\n\
             /smmu@2 WAS OPEN: stuck; perhaps behind it, since no stream is known: lost of alice"
        );
        assert_eq!(registry.verdict().exposed, []);
    }

    #[test]
    fn guests_with_devices_that_nothing_isolates_are_named_with_them() {
        let (mut registry, a, _) = registry();
        let uncovered = |name, guest, dma| MasterSpec {
            coverage: Coverage::Uncovered,
            assignment: given(guest).map(|given| Assignment { dma, ..given }),
            ..covered(name, &[], None)
        };
        registry.add_master(covered("behind", &[(a, 1)], given(0)), 0);
        let dma = registry.add_master(uncovered("dma", 1, Dma::Trusted), 0);
        assert!(registry.is_exposed(dma));
        registry.add_master(uncovered("not asked for", 0, Dma::Isolated), 0);
        registry.add_master(uncovered("usb", 1, Dma::Trusted), 0);
        let expected = ("mallory".to_string(), ["dma", "usb"].map(String::from).to_vec());
        assert_eq!(registry.verdict().exposed, [expected]);
    }
}
