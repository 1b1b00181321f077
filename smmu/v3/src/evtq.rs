//! The event queue (IHI 0070 3.5, 7.2, 7.4).

use crate::event::{EVENT_BYTES, parse};
use crate::queue::Ring;
use crate::registers::{POINTER, Registers};
use mmio::{Bus, TableMemory};
use smmu_driver::Event;
use tock_registers::interfaces::{Readable, Writeable};

/// The event queue.
#[derive(Debug)]
pub(crate) struct EventQueue {
    ring: Ring,
    consumed: u32,
    /// The value of PROD.OVERFLOW up to which we know of lost events.
    overflow: u32,
}

/// What a look into the queue gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Events taken out.
    pub(crate) events: u32,
    /// Whether some were left, because a queue's worth was taken out already.
    pub(crate) more: bool,
}

impl EventQueue {
    /// An empty queue in `ring`.
    pub(crate) fn new(ring: Ring) -> Self {
        EventQueue {
            ring,
            consumed: 0,
            overflow: 0,
        }
    }

    /// Where it lies.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Takes events out, at most a queue's worth, and gives them to `report`, equal ones in a row as one.
    ///
    /// A device can make events as fast as we take them out, hence the bound. The SMMU interrupts when the queue
    /// becomes non-empty, so it is left either empty or with `more` set.
    pub(crate) fn drain<B: Bus, M: TableMemory>(
        &mut self,
        bus: &B,
        memory: &mut M,
        stream_bits: u8,
        report: &mut impl FnMut(&Event),
    ) -> Drained {
        let registers = Registers(bus);
        let mut folded: Option<Event> = None;
        let mut events = 0;
        let mut lost = false;
        let more = loop {
            let producer = registers.eventq_prod().extract();
            let produced = self.ring.position(producer.read(POINTER::INDEX));
            let overflow = producer.read(POINTER::OVERFLOW);
            let overflowed = overflow != self.overflow;
            if produced == self.consumed && !overflowed {
                break false;
            }
            if events >= self.ring.entries() {
                break true;
            }
            while self.consumed != produced && events < self.ring.entries() {
                let event = self.read(memory, stream_bits);
                self.consumed = self.ring.next(self.consumed);
                events += 1;
                match &mut folded {
                    Some(last) if last.is_like(&event) => last.count += 1,
                    _ => {
                        if let Some(done) = folded.replace(event) {
                            report(&done);
                        }
                    }
                }
            }
            lost |= overflowed;
            self.overflow = overflow;
            // One write frees the room and acknowledges the loss (IHI 0070 7.4).
            registers
                .eventq_cons()
                .write(POINTER::INDEX.val(self.consumed) + POINTER::OVERFLOW.val(overflow));
        };
        if let Some(last) = folded {
            report(&last);
        }
        if lost {
            report(&Event::LOST);
        }
        Drained { events, more }
    }

    /// The event at the consumer position.
    fn read(&self, memory: &mut impl TableMemory, stream_bits: u8) -> Event {
        let address = self.ring.address(self.consumed);
        memory.receive(address, EVENT_BYTES as usize);
        let word = |index: u64| memory.read(address + 8 * index);
        parse(&[word(0), word(1), word(2), word(3)], stream_bits)
    }
}
