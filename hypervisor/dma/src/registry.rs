//! All SMMUs and masters, and the transitions between their states.

mod faulted;
mod opened;
mod why;

pub use opened::Verdict;
pub use why::Why;

use crate::attachments::{AtSmmu, by_smmu};
use crate::{Assignment, GuestId, MasterId, Reason, SmmuId, State};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use driver_abi::Stream;
use partition::Dma;

/// How many transitions of one master are remembered; older ones are dropped from the middle of the story.
const HISTORY: usize = 16;

/// An SMMU and whether it translates.
#[derive(Debug, Clone)]
pub struct Smmu {
    /// Its device path.
    pub path: String,
    /// The component that drives it, once it is live.
    pub driver: Option<String>,
    /// Why it cannot be used in this run, if so.
    pub unusable: Option<String>,
    /// What its last driver failed with, if one did.
    pub failure: Option<String>,
    /// Why its gate was not measured shut, if that was so at any time.
    pub opened: Option<String>,
}

/// What the stream graph says of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Every path it has to memory goes through the SMMUs it lists.
    Covered,
    /// No SMMU lists it.
    Uncovered,
    /// The tree contradicts itself about it.
    Refused(String),
}

/// A master as the stream graph and the partition file describe it.
#[derive(Debug, Clone)]
pub struct MasterSpec {
    /// Device path or PCI address.
    pub name: String,
    /// The streams it emits.
    pub streams: Vec<(SmmuId, Stream)>,
    /// What is attached for it: the matches of its group that hold its streams.
    pub matches: Vec<(SmmuId, Stream)>,
    /// What the stream graph says.
    pub coverage: Coverage,
    /// Which guest it was given to, if any.
    pub assignment: Option<Assignment>,
}

/// One remembered transition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    at_us: u64,
    state: State,
    reason: Reason,
}

/// A master and its story.
#[derive(Debug, Clone)]
pub struct Master {
    /// Device path or PCI address.
    pub name: String,
    /// The streams it emits.
    pub streams: Vec<(SmmuId, Stream)>,
    /// What is attached for it: the matches of its group that hold its streams.
    pub matches: Vec<AtSmmu>,
    /// Which guest it was given to, if any.
    pub assignment: Option<Assignment>,
    state: State,
    born_us: u64,
    history: Vec<Step>,
}

impl Master {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How long after its discovery it entered its present state, in microseconds.
    pub fn waited_us(&self) -> u64 {
        self.history
            .last()
            .map_or(0, |step| step.at_us.saturating_sub(self.born_us))
    }

    /// Whether it emits streams there.
    pub fn is_behind(&self, smmu: SmmuId) -> bool {
        self.streams.iter().any(|(used, _)| *used == smmu)
    }

    /// Why it is in its present state.
    pub fn reason(&self) -> Option<&Reason> {
        self.history.last().map(|step| &step.reason)
    }
}

/// A transition that just happened, to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub master: MasterId,
    /// From where.
    pub from: State,
    /// To where.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// What the core must do to make a master live, in this order, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachPlan {
    /// Whom.
    pub master: MasterId,
    /// To whose stage 2.
    pub guest: GuestId,
    /// Which matches, on which SMMUs.
    pub matches: Vec<AtSmmu>,
}

/// Why a master cannot be attached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// It is not in the state *held*.
    State(State),
    /// Nobody was given it.
    Unassigned,
    /// There is no such master.
    Unknown,
}

/// All SMMUs and masters.
#[derive(Debug, Default)]
pub struct Registry {
    smmus: Vec<Smmu>,
    masters: Vec<Master>,
    guests: Vec<String>,
    sealed: bool,
}

impl Registry {
    /// An empty registry for the guests of that name, in the partition file's order.
    pub fn new(guests: Vec<String>) -> Self {
        Registry {
            guests,
            ..Registry::default()
        }
    }

    /// Adds an SMMU: its gate is shut, or `unusable` says why nothing behind it can ever be used.
    pub fn add_smmu(&mut self, path: String, unusable: Option<String>) -> SmmuId {
        self.smmus.push(Smmu {
            path,
            driver: None,
            unusable,
            failure: None,
            opened: None,
        });
        SmmuId(self.smmus.len() - 1)
    }

    /// Adds a master, which is born *pending*, *refused* or *uncovered*.
    pub fn add_master(&mut self, spec: MasterSpec, now_us: u64) -> MasterId {
        let (state, reason) = self.birth(&spec);
        self.masters.push(Master {
            name: spec.name,
            streams: spec.streams,
            matches: by_smmu(&spec.matches),
            assignment: spec.assignment,
            state,
            born_us: now_us,
            history: alloc::vec![Step {
                at_us: now_us,
                state,
                reason
            }],
        });
        MasterId(self.masters.len() - 1)
    }

    /// Decides the first state of a master.
    fn birth(&self, spec: &MasterSpec) -> (State, Reason) {
        match &spec.coverage {
            Coverage::Refused(text) => (State::Refused, Reason::Graph(text.clone())),
            Coverage::Uncovered => match spec.assignment {
                Some(assignment) if assignment.dma == Dma::Trusted => (State::Uncovered, Reason::Trusted),
                Some(_) => (State::Refused, Reason::NotTrusted),
                None => (State::Uncovered, Reason::NoSmmu),
            },
            Coverage::Covered => {
                let smmus = spec.streams.iter().map(|(smmu, _)| self.smmus.get(smmu.0));
                for smmu in smmus {
                    match smmu {
                        None => {
                            return (
                                State::Refused,
                                Reason::Graph("it names an unknown SMMU".to_string()),
                            );
                        }
                        Some(Smmu {
                            path,
                            unusable: Some(text),
                            ..
                        }) => {
                            let text = alloc::format!("{path}: {text}");
                            return (State::Refused, Reason::UnusableSmmu(text));
                        }
                        Some(_) => {}
                    }
                }
                if spec.streams.is_empty() {
                    return (State::Refused, Reason::Graph("it lists no stream".to_string()));
                }
                // It would be told as live, and a stream of it would abort.
                if let Some((_, stream)) = spec.streams.iter().find(|stream| !is_held(stream, &spec.matches))
                {
                    let text =
                        alloc::format!("nothing that can be attached holds its stream {:#x}", stream.id);
                    return (State::Refused, Reason::Graph(text));
                }
                (State::Pending, Reason::NoDriver(self.driverless(&spec.streams)))
            }
        }
    }

    /// An SMMU went live under `component`: its last step of probing is done. Masters whose SMMUs are all live
    /// become *held*.
    pub fn driver_live(&mut self, smmu: SmmuId, component: &str, now_us: u64) -> Vec<Change> {
        if let Some(smmu) = self.smmus.get_mut(smmu.0) {
            smmu.driver = Some(component.to_string());
            smmu.failure = None;
        }
        let ready: Vec<MasterId> = self
            .ids()
            .filter(|id| {
                self.master(*id).is_some_and(|master| {
                    master.state == State::Pending
                        && master.streams.iter().all(|(smmu, _)| self.is_live(*smmu))
                })
            })
            .collect();
        ready
            .into_iter()
            .filter_map(|id| self.step(id, State::Held, Reason::DriverLive(component.to_string()), now_us))
            .collect()
    }

    /// A driver did not come up, or came down: the SMMU blocks what is behind it. Masters that were held wait
    /// again, live ones are cut off, quarantined ones are refused, and all are told why.
    pub fn driver_failed(&mut self, smmu: SmmuId, error: &str, now_us: u64) -> Vec<Change> {
        if let Some(smmu) = self.smmus.get_mut(smmu.0) {
            smmu.driver = None;
            smmu.failure = Some(error.to_string());
        }
        let sealed = self.sealed;
        let next = |state| match state {
            State::Pending | State::Held | State::Live(_) if !sealed => Some(State::Pending),
            // A quarantine outlives the driver: the next one must not find the master free to be attached.
            State::Pending | State::Held | State::Live(_) | State::Faulted(_) => Some(State::Refused),
            State::Refused | State::Uncovered => None,
        };
        let behind: Vec<(MasterId, State)> = self
            .ids()
            .filter_map(|id| {
                let master = self.master(id)?;
                next(master.state)
                    .filter(|_| master.is_behind(smmu))
                    .map(|next| (id, next))
            })
            .collect();
        behind
            .into_iter()
            .filter_map(|(id, next)| self.step(id, next, Reason::DriverFailed(error.to_string()), now_us))
            .collect()
    }

    /// Whether a master may be attached now, and how. Proved before any register is written.
    pub fn attach_plan(&self, id: MasterId) -> Result<AttachPlan, NotNow> {
        let master = self.master(id).ok_or(NotNow::Unknown)?;
        let assignment = master.assignment.ok_or(NotNow::Unassigned)?;
        match master.state {
            State::Held => Ok(AttachPlan {
                master: id,
                guest: assignment.guest,
                matches: master.matches.clone(),
            }),
            state => Err(NotNow::State(state)),
        }
    }

    /// The core attached every stream of the plan: the master is *live*.
    pub fn attached(&mut self, id: MasterId, now_us: u64) -> Option<Change> {
        let plan = self.attach_plan(id).ok()?;
        self.step(id, State::Live(plan.guest), Reason::Attached, now_us)
    }

    /// The driver would not attach a stream; the core detached those it had attached before.
    pub fn attach_failed(&mut self, id: MasterId, error: String, now_us: u64) -> Option<Change> {
        self.step(id, State::Refused, Reason::AttachFailed(error), now_us)
    }

    /// The master's guest stopped and the core detached its streams: *held* again.
    pub fn detached(&mut self, id: MasterId, now_us: u64) -> Option<Change> {
        match self.master(id)?.state {
            State::Live(_) | State::Faulted(_) => self.step(id, State::Held, Reason::GuestStopped, now_us),
            _ => None,
        }
    }

    /// No component is accepted any more: what still waits is refused. "Late" became "never".
    pub fn seal(&mut self, now_us: u64) -> Vec<Change> {
        self.sealed = true;
        let waiting: Vec<(MasterId, String)> = self
            .ids()
            .filter_map(|id| self.master(id).map(|master| (id, master)))
            .filter(|(_, master)| master.state == State::Pending)
            .map(|(id, master)| (id, self.driverless(&master.streams)))
            .collect();
        waiting
            .into_iter()
            .filter_map(|(id, smmus)| self.step(id, State::Refused, Reason::Sealed(smmus), now_us))
            .collect()
    }

    /// Whether components are refused by now.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The master with that ID.
    pub fn master(&self, id: MasterId) -> Option<&Master> {
        self.masters.get(id.0)
    }

    /// The SMMU with that ID.
    pub fn smmu(&self, id: SmmuId) -> Option<&Smmu> {
        self.smmus.get(id.0)
    }

    /// All masters.
    pub fn ids(&self) -> impl Iterator<Item = MasterId> + use<> {
        (0..self.masters.len()).map(MasterId)
    }

    /// The name of a guest.
    pub fn guest_name(&self, guest: GuestId) -> &str {
        self.guests.get(guest.0).map_or("?", String::as_str)
    }

    /// The chain of reasons that led a master to where it stands.
    pub fn why(&self, id: MasterId) -> Option<Why<'_>> {
        self.master(id).map(|master| Why {
            registry: self,
            master,
        })
    }

    fn is_live(&self, smmu: SmmuId) -> bool {
        self.smmu(smmu).is_some_and(|smmu| smmu.driver.is_some())
    }

    /// The paths of those SMMUs of `streams` that have no driver, each once.
    fn driverless(&self, streams: &[(SmmuId, Stream)]) -> String {
        let mut paths: Vec<&str> = streams
            .iter()
            .filter(|(smmu, _)| !self.is_live(*smmu))
            .filter_map(|(smmu, _)| self.smmu(*smmu).map(|smmu| smmu.path.as_str()))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths.join(", ")
    }

    /// The only place that changes a state.
    pub(crate) fn step(&mut self, id: MasterId, to: State, reason: Reason, now_us: u64) -> Option<Change> {
        let master = self.masters.get_mut(id.0)?;
        let from = master.state;
        master.state = to;
        if master.history.len() == HISTORY {
            // Birth is kept: a story is not understood without its beginning.
            master.history.remove(1);
        }
        master.history.push(Step {
            at_us: now_us,
            state: to,
            reason: reason.clone(),
        });
        Some(Change {
            master: id,
            from,
            to,
            reason,
        })
    }
}

/// Whether one of `matches` holds all of a stream.
fn is_held((smmu, stream): &(SmmuId, Stream), matches: &[(SmmuId, Stream)]) -> bool {
    let holds = |at: &SmmuId, wide: &Stream| {
        at == smmu && stream.mask & !wide.mask == 0 && (stream.id ^ wide.id) & !wide.mask == 0
    };
    matches.iter().any(|(at, wide)| holds(at, wide))
}
