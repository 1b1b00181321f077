//! Commands (IHI 0069 5.3): 32 bytes each, four doublewords.

/// Bytes of a command.
pub(super) const SIZE: usize = 32;
/// `V`: the mapping is made, not removed.
const VALID: u64 = 1 << 63;
/// What a command that goes over all LPIs or all events of a device counts for.
const LONG: u32 = 16;

/// A command of the guest. Nothing in it was looked at but its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// The device's events can be mapped, `1 << event_bits` of them; or none any more.
    MapDevice {
        device: u32,
        event_bits: Option<u32>,
    },
    /// A collection goes to a redistributor, or nowhere.
    MapCollection {
        collection: u16,
        redistributor: Option<u64>,
    },
    /// An event is an LPI of a collection.
    MapEvent {
        device: u32,
        event: u32,
        intid: u32,
        collection: u16,
    },
    /// An event, with its LPI, belongs to another collection.
    Move {
        device: u32,
        event: u32,
        collection: u16,
    },
    /// All LPIs of a redistributor go to another one.
    MoveAll {
        from: u64,
        to: u64,
    },
    /// The event is mapped no more, and its LPI not pending.
    Discard {
        device: u32,
        event: u32,
    },
    /// The configuration of an event's LPI is read again.
    Invalidate {
        device: u32,
        event: u32,
    },
    /// That of all LPIs of a collection.
    InvalidateAll {
        collection: u16,
    },
    /// As if the device had signalled the event.
    Signal {
        device: u32,
        event: u32,
    },
    /// The event's LPI is not pending.
    Clear {
        device: u32,
        event: u32,
    },
    /// Wait until all before it is done: always so.
    Sync,
    Unknown,
}

impl Command {
    pub(super) fn decode(raw: &[u8; SIZE]) -> Command {
        let doubleword = |index: usize| {
            let bytes = raw.as_chunks::<8>().0.get(index);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let (first, second, third, fourth) = (doubleword(0), doubleword(1), doubleword(2), doubleword(3));
        let (device, event, intid) = (high(first), low(second), high(second));
        let collection = u16::try_from(third & 0xffff).unwrap_or(0);
        let is_valid = third & VALID != 0;
        match first & 0xff {
            0x01 => Command::Move {
                device,
                event,
                collection,
            },
            0x03 => Command::Signal { device, event },
            0x04 => Command::Clear { device, event },
            0x05 => Command::Sync,
            0x08 => Command::MapDevice {
                device,
                event_bits: is_valid.then_some((event & 0x1f) + 1),
            },
            0x09 => Command::MapCollection {
                collection,
                redistributor: is_valid.then_some(redistributor(third)),
            },
            0x0a => Command::MapEvent {
                device,
                event,
                intid,
                collection,
            },
            // MAPI: the LPI has the event's number. No device has so many events, so that it will be ignored.
            0x0b => Command::MapEvent {
                device,
                event,
                intid: event,
                collection,
            },
            0x0c => Command::Invalidate { device, event },
            0x0d => Command::InvalidateAll { collection },
            0x0e => Command::MoveAll {
                from: redistributor(third),
                to: redistributor(fourth),
            },
            0x0f => Command::Discard { device, event },
            _ => Command::Unknown,
        }
    }

    /// What it takes, of the budget.
    pub(super) fn cost(self) -> u32 {
        match self {
            Command::MapDevice { .. }
            | Command::MapCollection { .. }
            | Command::MoveAll { .. }
            | Command::InvalidateAll { .. } => LONG,
            _ => 1,
        }
    }
}

/// `RDbase`, bits 50:16: a processor number, because `GITS_TYPER.PTA` is zero.
fn redistributor(doubleword: u64) -> u64 {
    doubleword >> 16 & 0x7_ffff_ffff
}

fn low(doubleword: u64) -> u32 {
    u32::try_from(doubleword & 0xffff_ffff).unwrap_or(0)
}

fn high(doubleword: u64) -> u32 {
    low(doubleword >> 32)
}
