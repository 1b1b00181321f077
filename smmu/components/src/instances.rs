//! Driver instances behind handles that grow stale.

use driver_abi::{Instance, Status};

/// The most SMMUs that one component drives at a time. Boards have up to ten.
pub const MAX_INSTANCES: usize = 16;

/// What a slot holds. The tag of an empty one is 0 by definition, where an `Option` may choose: a component whose slots
/// are all zero at first has them in `.bss`, and not in its file.
#[derive(Debug)]
#[repr(u8)]
enum Content<D> {
    Empty = 0,
    Driver(D) = 1,
}

impl<D> Content<D> {
    fn as_mut(&mut self) -> Option<&mut D> {
        match self {
            Content::Empty => None,
            Content::Driver(driver) => Some(driver),
        }
    }

    fn take(&mut self) -> Option<D> {
        match core::mem::replace(self, Content::Empty) {
            Content::Empty => None,
            Content::Driver(driver) => Some(driver),
        }
    }
}

/// A place for a driver, and how many drivers have left it.
#[derive(Debug)]
struct Slot<D> {
    content: Content<D>,
    left: u32,
}

impl<D> Slot<D> {
    fn is_empty(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    /// Counts from 1, so that a handle of zeros is stale from the start.
    fn generation(&self) -> u64 {
        u64::from(self.left.saturating_add(1))
    }
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

    /// No driver yet.
    pub const fn new() -> Self {
        Instances {
            slots: [const {
                Slot {
                    content: Content::Empty,
                    left: 0,
                }
            }; MAX_INSTANCES],
        }
    }

    /// Whether there is room for another driver; asked before its SMMU is touched.
    pub fn is_full(&self) -> bool {
        !self.slots.iter().any(Slot::is_empty)
    }

    /// Keeps a driver and returns its handle.
    pub fn insert(&mut self, driver: D) -> Result<Instance, Status> {
        let free = (0_u64..).zip(&mut self.slots).find(|(_, slot)| slot.is_empty());
        let (index, slot) = free.ok_or(Status::BUSY)?;
        slot.content = Content::Driver(driver);
        Ok(Instance(slot.generation() << 32 | index))
    }

    /// The driver of a handle.
    pub fn get_mut(&mut self, instance: Instance) -> Result<&mut D, Status> {
        self.slot(instance)?.content.as_mut().ok_or(Status::STALE_HANDLE)
    }

    /// Gives the driver of a handle to `release`. If that succeeds the handle is stale from now on; if it fails it
    /// stays good, with the driver that came back.
    pub fn release(
        &mut self,
        instance: Instance,
        release: impl FnOnce(D) -> Result<(), (D, Status)>,
    ) -> Result<(), Status> {
        let slot = self.slot(instance)?;
        match release(slot.content.take().ok_or(Status::STALE_HANDLE)?) {
            Ok(()) => {
                // A slot whose generations are used up keeps the last; 2^32 probes of one SMMU do not happen.
                slot.left = slot.left.saturating_add(1);
                Ok(())
            }
            Err((driver, failed)) => {
                slot.content = Content::Driver(driver);
                Err(failed)
            }
        }
    }

    fn slot(&mut self, instance: Instance) -> Result<&mut Slot<D>, Status> {
        let index = instance.0 & u64::from(u32::MAX);
        let slot = usize::try_from(index)
            .ok()
            .and_then(|index| self.slots.get_mut(index));
        slot.filter(|slot| slot.generation() == instance.0 >> 32)
            .ok_or(Status::STALE_HANDLE)
    }
}
