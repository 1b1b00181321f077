//! Message signalled interrupts of functions that are given to guests: who takes them, and whether a guest may have them.
//!
//! Without messages a function has its INTx pin, so nothing here keeps a guest from its function; a line says why it
//! has no messages.

use super::System;
use super::given::Given;
use crate::arch::gic::messages::{self, MessageError, Messages, Route};
use crate::arch::{native, percpu};
use crate::vm::PassedFunction;
use alloc::string::{String, ToString};
use dma::{GuestId, State};
use topology::{Coverage, Master, MasterIndex, MsiRoute};
use vdev::layout;

/// The most messages of one function that are mapped: a guest has a few CPUs, and wants so many for each.
const MOST_EVENTS: u32 = 256;

/// Why a guest's function has no messages.
#[derive(Debug, thiserror::Error)]
enum NoMessages {
    #[error("the device tree names nobody who takes its messages")]
    NoRoute,
    #[error("its messages have more than one device ID")]
    SeveralIds,
    #[error("its messages have no device ID")]
    NoId,
    #[error("{0} has the same device ID")]
    SharedId(String),
    #[error(
        "its messages go to {0}, which is no ITS: there, each device could raise the interrupts of all others"
    )]
    NotIts(String),
    #[error("its guest's CPU does not run")]
    NoCpu,
    #[error("its guest has another ITS already")]
    OtherIts,
    #[error("no SMMU translates its messages, and the ITS is not where its guest sees it")]
    NotTranslated,
    #[error(transparent)]
    Refused(#[from] MessageError),
}

impl System {
    /// Maps the messages of a guest's functions, where that can be.
    pub fn map_messages(&self, id: GuestId, guest: &partition::Guest, functions: &mut [PassedFunction<'_>]) {
        let mut page = None;
        for passed in functions {
            let physical = passed.function.bdf;
            let mut mine = self.given.iter().filter(|given| given.guest == id);
            let given = mine.find(|given| given.place.is_some_and(|(_, bdf)| bdf == physical));
            let master = given.and_then(|given| self.described(given));
            let events = passed.function.messages().next_power_of_two().min(MOST_EVENTS);
            let Some(master) = master.filter(|_| passed.function.messages() != 0) else {
                continue;
            };
            match self.map_events(guest, master, events, page) {
                Ok(messages) => {
                    log::info!(target: "msi", "{} for {}: its messages are LPIs {}..={}",
                        master.identity, guest.name, messages.lpis.start, messages.lpis.end - 1);
                    page = Some(messages.page);
                    passed.messages = Some(messages);
                }
                Err(error) => {
                    log::info!(target: "msi", "{} for {}: INTx only: {error}", master.identity, guest.name);
                }
            }
        }
    }

    /// The master that a guest was given, unless it is refused.
    fn described(&self, given: &Given) -> Option<&Master> {
        let registry = self.registry.lock();
        registry
            .master(given.master)
            .filter(|master| master.state() != State::Refused)?;
        self.graph.master(MasterIndex(given.master.0))
    }

    fn map_events(
        &self,
        guest: &partition::Guest,
        master: &Master,
        events: u32,
        page: Option<u64>,
    ) -> Result<Messages, NoMessages> {
        let route = self.route(master)?;
        // Its messages go to the CPU of the first vCPU, which hands them on.
        let first = guest
            .cpus
            .first()
            .and_then(|cpu| percpu::of(native(u64::from(*cpu))));
        let cpu = first.filter(|cpu| cpu.is_online()).ok_or(NoMessages::NoCpu)?;
        let its = messages::page_of(route.service)?;
        if page.is_some_and(|page| page != its) {
            return Err(NoMessages::OtherIts);
        }
        if master.coverage == Coverage::Uncovered && its != layout::TRANSLATER {
            return Err(NoMessages::NotTranslated);
        }
        Ok(messages::map(&route, events, cpu)?)
    }

    /// Where messages of a master go, if they can be told from those of all others.
    fn route(&self, master: &Master) -> Result<Route, NoMessages> {
        let only = only_route(master)?;
        let mut others = self.graph.masters().iter();
        let other = others.find(|other| other.identity != master.identity && other.messages.contains(&only));
        if let Some(other) = other {
            return Err(NoMessages::SharedId(other.identity.to_string()));
        }
        let controller = self.graph.msi_controllers().get(only.controller.0);
        let controller = controller.ok_or(NoMessages::NoRoute)?;
        if !controller
            .compatible
            .iter()
            .any(|name| name == messages::COMPATIBLE)
        {
            return Err(NoMessages::NotIts(controller.path.clone()));
        }
        // The ITS is set up once, for the masters of all guests.
        let given = self.given.iter().filter_map(|given| self.described(given));
        let routes = given.filter_map(|master| only_route(master).ok());
        let same = routes.filter(|route| route.controller == only.controller);
        Ok(Route {
            service: controller.node,
            device: only.device_id.ok_or(NoMessages::NoId)?,
            highest_device: same.filter_map(|route| route.device_id).max().unwrap_or(0),
        })
    }
}

/// Where the master's messages go, if all go there with one device ID.
fn only_route(master: &Master) -> Result<MsiRoute, NoMessages> {
    let first = master.messages.first().ok_or(NoMessages::NoRoute)?;
    if master.messages.iter().any(|route| route != first) {
        return Err(NoMessages::SeveralIds);
    }
    Ok(*first)
}
