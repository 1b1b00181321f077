//! Filling list registers, and taking them back.

use super::interrupt::{Interrupt, Source};
use super::queue::Queue;
use super::{LPI_FIRST, ListRegister, Outside, Vgic};
use arrayvec::ArrayVec;

/// The most list registers that a CPU can have (IHI 0069 12.4, `ICH_LR0_EL2`..`ICH_LR15_EL2`).
const MOST_LIST_REGISTERS: usize = 16;

/// How a vCPU's list registers were filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flushed {
    /// The first so many are in use; the others are empty.
    pub used: usize,
    /// Pending interrupts found no room: ask for a maintenance interrupt when the list registers run empty
    /// (`ICH_HCR_EL2.UIE`).
    pub pending_left: bool,
    /// Active interrupts found no room: ask for a maintenance interrupt when the guest ends one that has no list
    /// register (`ICH_HCR_EL2.LRENPIE`).
    pub active_left: bool,
}

/// Order of delivery: active ones first, because the guest will end them; then by priority.
type Key = (bool, u8, u32);

fn key(interrupt: &Interrupt, intid: u32) -> Key {
    (!interrupt.active, interrupt.priority, intid)
}

impl Vgic {
    /// Fills `list_registers` (at most 16 are used) for `vcpu`, which is about to be entered.
    pub fn flush(&mut self, vcpu: usize, list_registers: &mut [ListRegister]) -> Flushed {
        list_registers.fill(ListRegister::EMPTY);
        let room = list_registers.len().min(MOST_LIST_REGISTERS);
        let mut flushed = Flushed::default();
        // Nearly always.
        if self.is_idle(vcpu) {
            return flushed;
        }
        // Sorted, the most urgent first.
        let mut chosen: ArrayVec<Key, MOST_LIST_REGISTERS> = ArrayVec::new();
        let Some(private) = self.vcpus.get(vcpu) else {
            return flushed;
        };

        let waiting = private.queue.iter().filter_map(|intid| {
            let interrupt = self.interrupt(vcpu, intid)?;
            (interrupt.active || self.enabled).then(|| key(interrupt, intid))
        });
        let lpis = self.waiting_lpis(vcpu).filter(|_| self.enabled);
        for key in waiting.chain(lpis.map(|(priority, intid)| (true, priority, intid))) {
            let at = chosen.partition_point(|taken| *taken < key);
            let last = if chosen.len() < room { None } else { chosen.pop() };
            // What falls off the end found no room.
            let falling = if at < room {
                chosen.insert(at, key);
                last
            } else {
                chosen.extend(last);
                Some(key)
            };
            if let Some((inactive, ..)) = falling {
                flushed.pending_left |= inactive;
                flushed.active_left |= !inactive;
            }
        }

        for (place, (.., intid)) in list_registers.iter_mut().zip(chosen) {
            if let Some(filled) = self.place(vcpu, intid) {
                *place = filled;
                flushed.used += 1;
            }
        }
        flushed
    }

    /// Whether a vCPU has nothing to deliver.
    fn is_idle(&self, vcpu: usize) -> bool {
        let queue = self.vcpus.get(vcpu).map(|private| &private.queue);
        queue.is_none_or(Queue::is_empty) && self.waiting_lpis(vcpu).next().is_none()
    }

    /// Moves one interrupt into a list register.
    fn place(&mut self, vcpu: usize, intid: u32) -> Option<ListRegister> {
        if intid >= LPI_FIRST {
            return self.place_lpi(vcpu, intid);
        }
        let interrupt = self.interrupt_mut(vcpu, intid)?;
        let is_hardware = interrupt.physical().is_some();
        // Pending and active at once is not allowed with a hardware link, and of a level-sensitive interrupt the
        // line is looked at again when the guest ended it. A list register has room for one sender of an SGI.
        let has_senders = interrupt.senders != 0;
        let only_active = interrupt.active && (is_hardware || !interrupt.edge || has_senders);
        let pending = interrupt.enabled && interrupt.is_pending() && !only_active;
        let entry = ListRegister::new(intid, interrupt.priority, pending, interrupt.active);
        if pending {
            interrupt.take_sender();
        }
        let entry = match (interrupt.source, interrupt.sender) {
            (Source::Hardware(physical), _) => entry.linked_to(physical),
            (_, Some(sender)) if interrupt.senders == 0 => entry.sent_by(sender),
            (_, Some(sender)) => entry.sent_by(sender).with_end_notice(),
            _ if !interrupt.edge => entry.with_end_notice(),
            _ => entry,
        };
        interrupt.latch_placed = pending && interrupt.latch;
        interrupt.latch &= !pending || interrupt.senders != 0;
        interrupt.placed = Some(vcpu);
        self.settle(vcpu, intid);
        Some(entry)
    }

    /// Takes the list registers of `vcpu` back after an exit. `ended_without` is `ICH_HCR_EL2.EOIcount`: how many
    /// interrupts the guest ended that were active without a list register.
    pub fn sync(
        &mut self,
        vcpu: usize,
        list_registers: &[ListRegister],
        ended_without: u32,
        outside: &mut dyn Outside,
    ) {
        for entry in list_registers
            .iter()
            .filter(|entry| **entry != ListRegister::EMPTY)
        {
            self.take_back(vcpu, *entry, outside);
        }
        for _ in 0..ended_without.min(1024) {
            if !self.end_highest(vcpu, outside) {
                break;
            }
        }
    }

    fn take_back(&mut self, vcpu: usize, entry: ListRegister, outside: &mut dyn Outside) {
        let intid = entry.intid();
        if intid >= LPI_FIRST {
            return self.take_lpi_back(vcpu, entry, outside);
        }
        let Some(interrupt) = self.interrupt_mut(vcpu, intid) else {
            return;
        };
        if interrupt.placed != Some(vcpu) {
            return;
        }
        let pending = entry.is_pending() && interrupt.latch_placed && !interrupt.cancel_pending;
        let active = entry.is_active() && !interrupt.cancel_active;
        // The guest's end of interrupt deactivates a linked physical interrupt in hardware. A cancelled one is
        // deactivated here.
        let was_live = entry.is_pending() || entry.is_active();
        let cancelled = was_live && !pending && !active && !interrupt.latch;
        let deactivate = interrupt.physical().filter(|_| cancelled);
        if pending {
            interrupt.latch = true;
            interrupt.put_sender_back();
        }
        interrupt.active = active;
        interrupt.holder = vcpu;
        interrupt.placed = None;
        interrupt.latch_placed = false;
        interrupt.cancel_pending = false;
        interrupt.cancel_active = false;
        let home = self.settle(vcpu, intid);
        if let Some(physical) = deactivate {
            outside.deactivate(vcpu, physical);
        }
        if let Some(home) = home.filter(|home| *home != vcpu) {
            outside.kick(home);
        }
    }

    /// The guest ended an interrupt that had no list register: the active one with the highest priority.
    fn end_highest(&mut self, vcpu: usize, outside: &mut dyn Outside) -> bool {
        let Some(private) = self.vcpus.get(vcpu) else {
            return false;
        };
        let active = private.queue.iter().filter_map(|intid| {
            let interrupt = self.interrupt(vcpu, intid).filter(|interrupt| interrupt.active)?;
            Some(key(interrupt, intid))
        });
        let Some((.., intid)) = active.min() else {
            return false;
        };
        if let Some(interrupt) = self.interrupt_mut(vcpu, intid) {
            interrupt.active = false;
            let physical = interrupt.physical();
            if let Some(home) = self.settle(vcpu, intid).filter(|home| *home != vcpu) {
                outside.kick(home);
            }
            if let Some(physical) = physical {
                outside.deactivate(vcpu, physical);
            }
        }
        true
    }

    /// Whether `vcpu` has something to deliver that is not in its list registers.
    pub fn has_work(&self, vcpu: usize) -> bool {
        let Some(private) = self.vcpus.get(vcpu) else {
            return false;
        };
        private.queue.iter().any(|intid| {
            self.enabled
                || self
                    .interrupt(vcpu, intid)
                    .is_some_and(|interrupt| interrupt.active)
        }) || (self.enabled && self.waiting_lpis(vcpu).next().is_some())
    }
}
