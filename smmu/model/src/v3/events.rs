//! Event records, the event queue and interrupt lines (IHI 0070 7).

use super::config::Overflow;
use super::control::QueueShape;
use super::registers::{OVERFLOW_FLAG, cr0, gerror, irq_ctrl, queue_index_mask};
use super::state::State;
use crate::Rule;
use crate::bits::{bit, field, low16, low32, mask};

/// An event record as it lies in the queue (7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The raw words.
    pub words: [u64; 4],
}

impl Event {
    /// Stream ID outside the table.
    pub const C_BAD_STREAMID: u8 = 0x02;
    /// A stream table entry or descriptor could not be read.
    pub const F_STE_FETCH: u8 = 0x03;
    /// A stream table entry is invalid or illegal.
    pub const C_BAD_STE: u8 = 0x04;
    /// A translation table could not be read.
    pub const F_WALK_EABT: u8 = 0x0b;
    /// Not mapped.
    pub const F_TRANSLATION: u8 = 0x10;
    /// An address is too large.
    pub const F_ADDR_SIZE: u8 = 0x11;
    /// The access flag is clear.
    pub const F_ACCESS: u8 = 0x12;
    /// Mapped, without that right.
    pub const F_PERMISSION: u8 = 0x13;

    /// An event about configuration: it has no address.
    pub(super) fn configuration(kind: u8, stream: u32) -> Self {
        Event {
            words: [u64::from(kind) | u64::from(stream) << 32, 0, 0, 0],
        }
    }

    /// F_STE_FETCH, with what could not be read.
    pub(super) fn fetch(stream: u32, address: u64) -> Self {
        let mut event = Event::configuration(Event::F_STE_FETCH, stream);
        let [.., word3] = &mut event.words;
        *word3 = address & mask(51, 3);
        event
    }

    /// A fault of the translation of an input address; `CLASS` is IN, the input address itself.
    pub(super) fn translation(
        kind: u8,
        stream: u32,
        address: u64,
        write: bool,
        stage2: bool,
        word3: u64,
    ) -> Self {
        let word1 = u64::from(!write) << 35 | u64::from(stage2) << 39 | 2 << 40;
        Event {
            words: [u64::from(kind) | u64::from(stream) << 32, word1, address, word3],
        }
    }

    /// The same as a stalled transaction's event.
    pub(super) fn stalled(mut self, tag: u16) -> Self {
        let [_, word1, ..] = &mut self.words;
        *word1 |= 1 << 31 | u64::from(tag);
        self
    }

    /// The event number.
    pub fn kind(&self) -> u8 {
        let [word0, ..] = self.words;
        word0.to_le_bytes()[0]
    }

    /// The stream ID.
    pub fn stream(&self) -> u32 {
        let [word0, ..] = self.words;
        low32(word0 >> 32)
    }

    /// Whether the transaction was a write; meaningful for faults with an address.
    pub fn is_write(&self) -> bool {
        let [_, word1, ..] = self.words;
        !bit(word1, 35)
    }

    /// Whether stage 2 found the fault.
    pub fn is_stage2(&self) -> bool {
        let [_, word1, ..] = self.words;
        bit(word1, 39)
    }

    /// The tag of a stalled transaction.
    pub fn stall_tag(&self) -> Option<u16> {
        let [_, word1, ..] = self.words;
        bit(word1, 31).then(|| low16(word1))
    }

    /// The input address; meaningful for faults with an address.
    pub fn address(&self) -> u64 {
        let [_, _, word2, _] = self.words;
        word2
    }

    /// The IPA's page, or the address that could not be read.
    pub fn page(&self) -> u64 {
        let [.., word3] = self.words;
        word3
    }
}

/// An interrupt line of the SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// The event queue went from empty to not empty.
    EventQueue,
    /// A CMD_SYNC that asked for an interrupt completed.
    CommandSync,
    /// GERROR has a new error.
    GlobalError,
}

/// Edges that fired and were not taken.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    pending: std::collections::BTreeSet<Line>,
}

impl Interrupts {
    pub(super) fn take(&mut self, line: Line) -> bool {
        self.pending.remove(&line)
    }

    pub(super) fn fire(&mut self, line: Line) {
        self.pending.insert(line);
    }
}

impl State {
    pub(super) fn event_queue(&self) -> QueueShape {
        let base = self.registers.eventq_base;
        QueueShape {
            name: "EVENTQ",
            base: base & mask(51, 5),
            bits: field(base, 4, 0),
            entry_bytes: 32,
        }
    }

    /// Records an event, if the queue takes it (7.2, 7.4).
    pub(super) fn record_event(&mut self, event: Event) {
        if self.registers.cr0ack & cr0::EVENTQEN == 0 {
            return;
        }
        let queue = self.event_queue();
        let index_mask = queue_index_mask(queue.bits);
        let (prod, cons) = (self.registers.eventq_prod, self.registers.eventq_cons);
        let used = queue.used(prod & index_mask, cons & index_mask);
        if used >= queue.entries() {
            self.overflow();
            return;
        }
        let slot = queue.slot(prod & index_mask);
        let written = event
            .words
            .iter()
            .zip(0u64..)
            .all(|(&word, n)| self.memory.device_write(slot + n * 8, word));
        if !written || self.faults.event_queue_abort {
            self.raise(gerror::EVENTQ_ABT_ERR);
            return;
        }
        let next = (prod & index_mask).wrapping_add(1) & index_mask;
        self.registers.eventq_prod = prod & OVERFLOW_FLAG | next;
        if used == 0 && self.registers.irq_ctrlack & irq_ctrl::EVENTQ != 0 {
            self.interrupts.fire(Line::EventQueue);
        }
    }

    /// The queue is full: the event is lost, and the first loss since the last acknowledgement is flagged.
    fn overflow(&mut self) {
        match self.config.overflow {
            Overflow::Flag => {
                if (self.registers.eventq_prod ^ self.registers.eventq_cons) & OVERFLOW_FLAG == 0 {
                    self.registers.eventq_prod ^= OVERFLOW_FLAG;
                }
            }
            Overflow::QueueAbort => self.raise(gerror::EVENTQ_ABT_ERR),
        }
    }

    /// Makes an error active in GERROR, unless it is already (6.3.18).
    pub(super) fn raise(&mut self, error: u32) {
        let active = self.registers.gerror ^ self.registers.gerrorn;
        let new = error & !active;
        self.registers.gerror ^= new;
        if new != 0 && self.registers.irq_ctrlack & irq_ctrl::GERROR != 0 {
            self.interrupts.fire(Line::GlobalError);
        }
    }

    /// EVENTQ_CONS may move up to EVENTQ_PROD, and acknowledge the overflow flag that is there (6.3.31).
    pub(super) fn check_consumed(&self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.31";
        let queue = self.event_queue();
        let index_mask = queue_index_mask(queue.bits);
        let (prod, cons) = (self.registers.eventq_prod, self.registers.eventq_cons);
        if value & !(index_mask | OVERFLOW_FLAG) != 0 {
            self.violation(
                Rule::QueueIndex,
                "EVENTQ_CONS",
                value,
                SECTION,
                "wider than the queue",
            );
        }
        if queue.used(value, cons) > queue.used(prod, cons) {
            let detail = format!("moved past EVENTQ_PROD = {prod:#x}");
            self.violation(Rule::QueueIndex, "EVENTQ_CONS", value, SECTION, detail);
        }
        let changed = (value ^ cons) & OVERFLOW_FLAG != 0;
        if changed && (value ^ prod) & OVERFLOW_FLAG != 0 {
            let detail = "OVACKFLG acknowledges an overflow that did not happen";
            self.violation(Rule::QueueIndex, "EVENTQ_CONS", value, SECTION, detail);
        }
    }

    pub(super) fn queued_events(&self) -> Vec<Event> {
        let queue = self.event_queue();
        let index_mask = queue_index_mask(queue.bits);
        let (prod, mut cons) = (
            self.registers.eventq_prod & index_mask,
            self.registers.eventq_cons & index_mask,
        );
        let mut events = Vec::new();
        while cons != prod && events.len() as u64 <= queue.entries() {
            let slot = queue.slot(cons);
            let words = [0, 8, 16, 24].map(|offset| self.memory.device_read(slot + offset).unwrap_or(0));
            events.push(Event { words });
            cons = cons.wrapping_add(1) & index_mask;
        }
        events
    }
}
