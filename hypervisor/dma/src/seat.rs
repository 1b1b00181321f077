//! Who keeps the devices of one SMMU in check: its gate, a driver, or nobody.
//!
//! All that changes it takes `&mut`: whoever looks, under the lock that this implies, finds a driver, or a gate that was
//! measured shut, or knows that there is neither. There is no moment between a driver and the gate behind it.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use core::fmt;

/// The place of a driver `D`.
#[derive(Debug)]
pub struct Seat<D> {
    holder: Holder<D>,
    /// VMIDs that streams were ever attached to here: the SMMU may have cached translations of these, and of no other.
    vmids: BTreeSet<u16>,
}

#[derive(Debug)]
enum Holder<D> {
    Gate,
    Driver(D),
    /// With what is known of it.
    Nobody(String),
}

/// An SMMU is neither driven nor measured shut: it may translate as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open(pub String);

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<D> Seat<D> {
    /// The gate is shut.
    pub const fn shut() -> Self {
        Seat {
            holder: Holder::Gate,
            vmids: BTreeSet::new(),
        }
    }

    /// The gate could not be shut.
    pub const fn open(why: String) -> Self {
        Seat {
            holder: Holder::Nobody(why),
            vmids: BTreeSet::new(),
        }
    }

    /// Its driver, if it has one.
    pub fn driver(&self) -> Option<&D> {
        match &self.holder {
            Holder::Driver(driver) => Some(driver),
            Holder::Gate | Holder::Nobody(_) => None,
        }
    }

    /// Whether a driver may take over: the gate is shut, and nobody has.
    pub fn is_free(&self) -> bool {
        matches!(self.holder, Holder::Gate)
    }

    /// Lets a driver take over. After an error the SMMU counts as open until [`give_up`](Self::give_up). Nothing, and `probe`
    /// is not called, unless the seat [is free](Self::is_free).
    pub fn take_over<E>(&mut self, probe: impl FnOnce() -> Result<D, E>) -> Option<Result<(), E>> {
        if !self.is_free() {
            return None;
        }
        self.holder = Holder::Nobody("a driver did not take it over".to_string());
        Some(probe().map(|driver| self.holder = Holder::Driver(driver)))
    }

    /// Notes that a stream is about to be attached to a VMID.
    pub fn attaching(&mut self, vmid: u16) {
        self.vmids.insert(vmid);
    }

    /// Drops the driver, if there is one, and has `shut` shut the gate and measure that.
    ///
    /// # Errors
    /// The SMMU is open.
    pub fn give_up(&mut self, shut: impl FnOnce() -> Result<(), String>) -> Result<(), Open> {
        self.holder = match shut() {
            Ok(()) => Holder::Gate,
            Err(why) => Holder::Nobody(why),
        };
        match &self.holder {
            Holder::Nobody(why) => Err(Open(why.clone())),
            Holder::Gate | Holder::Driver(_) => Ok(()),
        }
    }

    /// Whether nothing uses a translation of `vmid` that was unmapped: the driver has confirmed that, or will be asked; a shut
    /// SMMU translates nothing; and one that is open has never seen that VMID, or can be shut now.
    ///
    /// # Errors
    /// The SMMU is open, and may have cached it.
    pub fn confirm(&mut self, vmid: u16, shut: impl FnOnce() -> Result<(), String>) -> Result<(), Open> {
        match self.holder {
            Holder::Nobody(_) if self.vmids.contains(&vmid) => self.give_up(shut),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    const VMID: u16 = 3;

    fn driven() -> Seat<&'static str> {
        let mut seat = Seat::shut();
        assert_eq!(seat.take_over(|| Ok::<_, ()>("v3")), Some(Ok(())));
        seat.attaching(VMID);
        seat
    }

    fn stuck() -> Result<(), String> {
        Err("stuck".to_string())
    }

    fn not_called() -> Result<(), String> {
        panic!("the gate is not to be touched")
    }

    #[test]
    fn a_driver_takes_over_from_a_shut_gate_alone() {
        let mut seat = driven();
        assert_eq!(seat.driver(), Some(&"v3"));
        assert_eq!(seat.take_over(|| Ok::<_, ()>("another")), None);
        assert_eq!(seat.give_up(stuck), Err(Open("stuck".to_string())));
        assert_eq!(seat.driver(), None);
        assert!(!seat.is_free());
        assert_eq!(seat.take_over(|| Ok::<_, ()>("v3")), None);
        assert_eq!(seat.give_up(|| Ok(())), Ok(()));
        assert_eq!(seat.take_over(|| Ok::<_, ()>("v3")), Some(Ok(())));
        let mut seat = Seat::open("GATE NOT SHUT".to_string());
        assert_eq!(seat.take_over(|| Ok::<_, ()>("v3")), None);
    }

    #[test]
    fn what_a_driver_leaves_that_did_not_take_over_is_open_until_it_was_shut() {
        let mut seat = Seat::<()>::shut();
        seat.attaching(VMID);
        assert_eq!(seat.take_over(|| Err("panicked")), Some(Err("panicked")));
        assert!(!seat.is_free());
        assert!(seat.confirm(VMID, stuck).is_err());
        assert_eq!(seat.give_up(|| Ok(())), Ok(()));
        assert!(seat.is_free());
    }

    #[test]
    fn an_open_smmu_confirms_nothing_that_it_may_have_cached() {
        let mut seat = driven();
        assert_eq!(seat.confirm(VMID, not_called), Ok(()));
        assert!(seat.give_up(stuck).is_err());
        assert_eq!(seat.confirm(VMID, stuck), Err(Open("stuck".to_string())));
        // What was never attached here cannot be cached here.
        assert_eq!(seat.confirm(VMID + 1, not_called), Ok(()));
        // Once it can be shut it is, and stays so.
        assert_eq!(seat.confirm(VMID, || Ok(())), Ok(()));
        assert_eq!(seat.confirm(VMID, not_called), Ok(()));
        assert!(seat.is_free());
    }

    /// Another CPU invalidates while the driver is given up: it may not go on before the gate was measured shut.
    #[test]
    fn no_unmap_is_confirmed_between_a_driver_and_its_gate() {
        let seat = &Mutex::new(driven());
        let (shutting, is_shutting) = mpsc::channel();
        let (confirmed, is_confirmed) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                seat.lock().unwrap().give_up(|| {
                    shutting.send(()).unwrap();
                    // The other one had all the time it could want.
                    let early = is_confirmed.recv_timeout(std::time::Duration::from_millis(100));
                    assert!(early.is_err(), "confirmed while the gate was not shut");
                    Ok(())
                })
            });
            is_shutting.recv().unwrap();
            let confirm = seat.lock().unwrap().confirm(VMID, not_called);
            assert_eq!(confirm, Ok(()));
            let _ = confirmed.send(());
        });
    }
}
