//! Driver instances behind handles that grow stale.

use driver_abi::{Instance, Status};

/// The most SMMUs that one component drives at a time.
pub const MAX_INSTANCES: usize = 4;

/// A place for a driver, and how many drivers have left it.
#[derive(Debug)]
struct Slot<D> {
    driver: Option<D>,
    generation: u32,
}

/// The drivers of a component.
#[derive(Debug)]
pub struct Instances<D> {
    slots: [Slot<D>; MAX_INSTANCES],
}

impl<D> Default for Instances<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D> Instances<D> {
    /// The handle that a driver leaves in its report; the real one is filled in when the driver is kept.
    pub const NONE: Instance = Instance(0);

    /// No driver yet. Generations begin at 1, so that a handle of zeros is stale from the start.
    pub const fn new() -> Self {
        Instances {
            slots: [const {
                Slot {
                    driver: None,
                    generation: 1,
                }
            }; MAX_INSTANCES],
        }
    }

    /// Whether there is room for another driver; asked before its SMMU is touched.
    pub fn is_full(&self) -> bool {
        self.slots.iter().all(|slot| slot.driver.is_some())
    }

    /// Keeps a driver and returns its handle.
    pub fn insert(&mut self, driver: D) -> Result<Instance, Status> {
        let free = (0_u64..)
            .zip(&mut self.slots)
            .find(|(_, slot)| slot.driver.is_none());
        let (index, slot) = free.ok_or(Status::BUSY)?;
        slot.driver = Some(driver);
        Ok(Instance(u64::from(slot.generation) << 32 | index))
    }

    /// The driver of a handle.
    pub fn get_mut(&mut self, instance: Instance) -> Result<&mut D, Status> {
        self.slot(instance)?.driver.as_mut().ok_or(Status::STALE_HANDLE)
    }

    /// Gives the driver of a handle to `release`. If that succeeds the handle is stale from now on; if it fails it
    /// stays good, with the driver that came back.
    pub fn release(
        &mut self,
        instance: Instance,
        release: impl FnOnce(D) -> Result<(), (D, Status)>,
    ) -> Result<(), Status> {
        let slot = self.slot(instance)?;
        match release(slot.driver.take().ok_or(Status::STALE_HANDLE)?) {
            Ok(()) => {
                // A slot whose generations are used up keeps the last; 2^32 probes of one SMMU do not happen.
                slot.generation = slot.generation.saturating_add(1);
                Ok(())
            }
            Err((driver, failed)) => {
                slot.driver = Some(driver);
                Err(failed)
            }
        }
    }

    fn slot(&mut self, instance: Instance) -> Result<&mut Slot<D>, Status> {
        let index = instance.0 & u64::from(u32::MAX);
        let slot = usize::try_from(index)
            .ok()
            .and_then(|index| self.slots.get_mut(index));
        slot.filter(|slot| u64::from(slot.generation) == instance.0 >> 32)
            .ok_or(Status::STALE_HANDLE)
    }
}
