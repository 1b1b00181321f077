//! Attaching and detaching: the order in which drivers are told, so that a master has all of its streams or none.

use crate::{AtSmmu, AttachPlan, Attachments, MasterId, SmmuId};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use driver_abi::{MAX_STREAMS, Stream};

/// What the core does for this: it calls drivers, and gives up those that fail.
pub trait Hardware {
    /// Looks at what is attached, under its lock. It is not held while a driver is called.
    fn attachments<R>(&self, work: impl FnOnce(&mut Attachments) -> R) -> R;

    /// Has a driver attach these streams, in one call: all, or after an error none.
    ///
    /// # Errors
    /// Why there is no attaching them, for the master's reason.
    fn attach(&self, plan: &AttachPlan, smmu: SmmuId, streams: &[Stream]) -> Result<(), String>;

    /// Makes streams abort that were attached by one call, or whatever else is behind that SMMU as well.
    fn block(&self, smmu: SmmuId, streams: &[Stream]);
}

/// Attaches all streams of a plan, or none.
///
/// # Errors
/// Why not.
pub fn attach(hardware: &impl Hardware, plan: &AttachPlan) -> Result<(), String> {
    for (done, (smmu, streams)) in plan.matches.iter().enumerate() {
        // What a master of the same group has attached already (the registry proved that the group has one owner) is shared,
        // not attached twice.
        let claimed = hardware.attachments(|attachments| attachments.claim(plan.master, *smmu, streams));
        let result = match claimed {
            Ok(missing) => attach_missing(hardware, plan, *smmu, &missing).map_err(|error| (done + 1, error)),
            Err(cut) => Err((done, cut.to_string())),
        };
        if let Err((claimed, error)) = result {
            detach(
                hardware,
                plan.master,
                plan.matches.get(..claimed).unwrap_or_default(),
            );
            return Err(error);
        }
    }
    Ok(())
}

/// Attaches streams that nobody has attached: in one call, so that the driver may pack them, unless there are more than a call
/// takes. After an error some of them may be attached.
fn attach_missing(
    hardware: &impl Hardware,
    plan: &AttachPlan,
    smmu: SmmuId,
    streams: &[Stream],
) -> Result<(), String> {
    for part in streams.chunks(MAX_STREAMS) {
        hardware.attach(plan, smmu, part)?;
        hardware.attachments(|attachments| attachments.add(plan.master, smmu, part));
    }
    Ok(())
}

/// Makes a master's streams abort, unless another one of its group still uses them.
pub fn detach(hardware: &impl Hardware, who: MasterId, streams: &[AtSmmu]) {
    let unused = hardware.attachments(|attachments| attachments.release(who, streams));
    block(hardware, &unused);
}

/// Makes the streams of a master that faulted abort, whoever else uses them. Returns what was attached.
pub fn cut(hardware: &impl Hardware, who: MasterId, streams: &[AtSmmu]) -> Vec<AtSmmu> {
    let cut = hardware.attachments(|attachments| attachments.cut(who, streams));
    block(hardware, &cut);
    cut
}

fn block(hardware: &impl Hardware, sets: &[AtSmmu]) {
    for (smmu, streams) in sets {
        hardware.block(*smmu, streams);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GuestId;
    use crate::tests::stream;
    use std::cell::RefCell;

    const FIRST: SmmuId = SmmuId(0);
    const SECOND: SmmuId = SmmuId(1);

    /// Drivers that attach everything but one stream.
    #[derive(Default)]
    struct Fake {
        attachments: RefCell<Attachments>,
        attached: RefCell<Vec<(SmmuId, Stream)>>,
        refuses: Option<(SmmuId, Stream)>,
    }

    impl Hardware for Fake {
        fn attachments<R>(&self, work: impl FnOnce(&mut Attachments) -> R) -> R {
            work(&mut self.attachments.borrow_mut())
        }

        fn attach(&self, _: &AttachPlan, smmu: SmmuId, streams: &[Stream]) -> Result<(), String> {
            let all: Vec<_> = streams.iter().map(|stream| (smmu, *stream)).collect();
            if all.iter().any(|stream| self.refuses == Some(*stream)) {
                return Err("no room".to_string());
            }
            self.attached.borrow_mut().extend(all);
            Ok(())
        }

        fn block(&self, smmu: SmmuId, streams: &[Stream]) {
            let mut attached = self.attached.borrow_mut();
            attached.retain(|(at, stream)| *at != smmu || !streams.contains(stream));
        }
    }

    fn plan(master: usize, matches: &[(SmmuId, &[u32])]) -> AttachPlan {
        let streams = |ids: &[u32]| ids.iter().map(|id| stream(*id)).collect();
        AttachPlan {
            master: MasterId(master),
            guest: GuestId(0),
            matches: matches.iter().map(|(smmu, ids)| (*smmu, streams(ids))).collect(),
        }
    }

    #[test]
    fn a_refusal_at_the_last_smmu_leaves_nothing_attached_at_the_first() {
        let fake = Fake {
            refuses: Some((SECOND, stream(9))),
            ..Fake::default()
        };
        let refused = plan(1, &[(FIRST, &[1, 2]), (SECOND, &[9])]);
        assert_eq!(attach(&fake, &refused), Err("no room".to_string()));
        assert_eq!(*fake.attached.borrow(), []);
        assert_eq!(fake.attachments.borrow().total(), 0);
    }

    #[test]
    fn a_refusal_takes_nothing_from_who_shares_a_stream() {
        let fake = Fake {
            refuses: Some((SECOND, stream(9))),
            ..Fake::default()
        };
        assert_eq!(attach(&fake, &plan(1, &[(FIRST, &[1])])), Ok(()));
        assert!(attach(&fake, &plan(2, &[(FIRST, &[1, 2]), (SECOND, &[9])])).is_err());
        assert_eq!(*fake.attached.borrow(), [(FIRST, stream(1))]);
        detach(&fake, MasterId(1), &plan(1, &[(FIRST, &[1])]).matches);
        assert_eq!(fake.attachments.borrow().total(), 0);
    }

    #[test]
    fn more_streams_than_a_call_takes_are_attached_by_several_or_not_at_all() {
        let ids: Vec<u32> = (0..300).collect();
        let fake = Fake::default();
        assert_eq!(attach(&fake, &plan(1, &[(FIRST, &ids)])), Ok(()));
        assert_eq!(fake.attached.borrow().len(), 300);
        let fake = Fake {
            refuses: Some((FIRST, stream(299))),
            ..Fake::default()
        };
        assert!(attach(&fake, &plan(1, &[(FIRST, &ids)])).is_err());
        assert_eq!(*fake.attached.borrow(), []);
    }

    #[test]
    fn what_was_cut_is_attached_for_nobody() {
        let fake = Fake::default();
        let bad = plan(1, &[(FIRST, &[1])]);
        assert_eq!(attach(&fake, &bad), Ok(()));
        assert_eq!(cut(&fake, bad.master, &bad.matches), bad.matches);
        assert_eq!(*fake.attached.borrow(), []);
        assert!(attach(&fake, &plan(2, &[(SECOND, &[5]), (FIRST, &[1])])).is_err());
        assert_eq!(*fake.attached.borrow(), []);
    }
}
