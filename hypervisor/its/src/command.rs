//! Commands (IHI 0069 5.3): 32 bytes each, four doublewords.

/// Bytes of a command.
pub(crate) const SIZE: usize = 32;
/// `V` of MAPD and MAPC: the mapping is made, not removed.
const VALID: u64 = 1 << 63;

/// A command to the ITS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// MAPD: a device has `1 << event_bits` events, which are translated by the table at `table`.
    MapDevice {
        device: u32,
        event_bits: u32,
        table: u64,
    },
    /// MAPD with `V` = 0: it has none.
    UnmapDevice { device: u32 },
    /// MAPC: a collection goes to a redistributor. `target` is its address, or its number in bits 16 and up, as
    /// `GITS_TYPER.PTA` says.
    MapCollection { collection: u16, target: u64 },
    /// MAPTI: an event is an LPI, and belongs to a collection.
    MapEvent {
        device: u32,
        event: u32,
        lpi: u32,
        collection: u16,
    },
    /// SYNC: all commands before it have taken effect at that redistributor when it is done.
    Sync { target: u64 },
}

impl Command {
    pub(crate) fn encode(self) -> [u64; SIZE / 8] {
        let about = |device: u32, opcode: u64| u64::from(device) << 32 | opcode;
        match self {
            Command::MapDevice {
                device,
                event_bits,
                table,
            } => [
                about(device, 0x08),
                u64::from(event_bits.saturating_sub(1) & 0x1f),
                VALID | table,
                0,
            ],
            Command::UnmapDevice { device } => [about(device, 0x08), 0, 0, 0],
            Command::MapCollection { collection, target } => {
                [0x09, 0, VALID | target | u64::from(collection), 0]
            }
            Command::MapEvent {
                device,
                event,
                lpi,
                collection,
            } => [
                about(device, 0x0a),
                u64::from(lpi) << 32 | u64::from(event),
                collection.into(),
                0,
            ],
            Command::Sync { target } => [0x05, 0, target, 0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_form_of_the_manual() {
        let map_device = Command::MapDevice {
            device: 0x1234_5678,
            event_bits: 5,
            table: 0x4_5678_9a00,
        };
        assert_eq!(
            map_device.encode(),
            [0x1234_5678_0000_0008, 4, 0x8000_0004_5678_9a00, 0]
        );
        assert_eq!(
            Command::UnmapDevice { device: 8 }.encode(),
            [0x8_0000_0008, 0, 0, 0]
        );
        let map_collection = Command::MapCollection {
            collection: 3,
            target: 0x80a_0000,
        };
        assert_eq!(map_collection.encode(), [9, 0, 0x8000_0000_080a_0003, 0]);
        let map_event = Command::MapEvent {
            device: 8,
            event: 2,
            lpi: 8194,
            collection: 3,
        };
        assert_eq!(map_event.encode(), [0x8_0000_000a, 0x2002_0000_0002, 3, 0]);
        assert_eq!(Command::Sync { target: 3 << 16 }.encode(), [5, 0, 0x3_0000, 0]);
    }
}
