//! Finding every function: depth first, firmware's bus numbers where they make sense, our own where not.

use crate::config::{change_command, command, offset};
use crate::function::{Bridge, Class, Fabric, Function, Pin, Port};
use crate::{Bdf, ConfigSpace, acs, bar, capability, quiet};
use alloc::vec::Vec;

/// The buses that a host bridge owns, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusRange {
    /// The root bus.
    pub first: u8,
    /// The highest bus.
    pub last: u8,
}

/// Bridges below bridges are followed so far; what is deeper stays closed.
const MOST_DEPTH: usize = 16;

/// Walks all buses of a host bridge.
///
/// On return bus mastering and interrupts of both kinds are off for every function, as are virtual functions, ATS and
/// expansion ROMs; what has access control services sends traffic between peers upwards; and every bridge has bus
/// numbers that make sense or has nothing reachable behind it. BARs are as they were found;
/// [`assign`](crate::assign()) looks at those.
pub fn enumerate(config: &impl ConfigSpace, buses: BusRange) -> Fabric {
    let mut walk = Walk {
        config,
        fabric: Fabric::default(),
    };
    let roots = walk.find_roots(buses);
    for (position, root) in roots.iter().enumerate() {
        // Numbers up to the next root bus may be handed out under this one.
        let limit = roots.get(position + 1).map_or(buses.last, |next| next - 1);
        walk.bus(Above::Root, *root, limit, 0);
    }
    walk.fabric.roots = roots;
    walk.fabric
}

/// What a bus hangs on.
#[derive(Clone, Copy)]
enum Above<'a> {
    Root,
    Bridge {
        bdf: Bdf,
        port: Port,
        requester_ids: &'a [u16],
    },
}

impl Above<'_> {
    /// How many device numbers are worth asking: a link has one device, and some ports answer for all 32 with it.
    fn devices(&self) -> u8 {
        match self {
            Above::Bridge {
                port: Port::Root | Port::Downstream,
                ..
            } => 1,
            _ => 32,
        }
    }
}

struct Walk<'c, C: ConfigSpace> {
    config: &'c C,
    fabric: Fabric,
}

impl<C: ConfigSpace> Walk<'_, C> {
    /// Root buses: the first, and each other that answers although no bridge leads to it. Bridges with impossible
    /// numbers are closed on the way, so that they answer for no bus while the walk numbers others.
    fn find_roots(&self, buses: BusRange) -> Vec<u8> {
        let mut roots = Vec::new();
        let mut covered_to = None;
        for bus in buses.first..=buses.last {
            let covered = covered_to.is_some_and(|last| bus <= last);
            let answers = self.functions(bus, 32).next().is_some();
            if !covered && (answers || bus == buses.first) {
                roots.push(bus);
                covered_to = Some(self.check_bridges(bus, buses.last, 0));
            }
        }
        roots
    }

    /// Closes the bridges on `bus`, and below them, whose numbers are not above `bus`, at most `limit`, and apart from
    /// each other. Returns the highest bus that is covered.
    fn check_bridges(&self, bus: u8, limit: u8, depth: usize) -> u8 {
        let mut highest = bus;
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for (bdf, _) in self.functions(bus, 32) {
            if !self.is_bridge(bdf) {
                continue;
            }
            let [primary, secondary, subordinate, _] = self.config.read32(bdf, offset::BUSES).to_le_bytes();
            let sound = primary == bus
                && bus < secondary
                && secondary <= subordinate
                && subordinate <= limit
                && depth < MOST_DEPTH
                && !ranges
                    .iter()
                    .any(|(from, to)| secondary <= *to && *from <= subordinate);
            if sound {
                ranges.push((secondary, subordinate));
                self.check_bridges(secondary, subordinate, depth + 1);
                highest = highest.max(subordinate);
            } else {
                self.number(bdf, bus, 0, 0);
            }
        }
        highest
    }

    /// Walks `bus` and all below it; returns the highest bus number in use there.
    fn bus(&mut self, above: Above<'_>, bus: u8, limit: u8, depth: usize) -> u8 {
        let found: Vec<(Bdf, bool)> = self.functions(bus, above.devices()).collect();
        let mut bridges = Vec::new();
        for (bdf, multi_function) in found {
            let function = self.read_function(bdf, multi_function, above);
            if let Some(numbers) = function.bridge {
                bridges.push((self.fabric.functions.len(), numbers));
            }
            self.fabric.functions.push(function);
        }
        let (numbered, closed, mut highest) = self.sort_out(bridges, bus, limit, depth);
        for (position, numbers) in numbered {
            self.below(position, numbers.secondary, numbers.subordinate, depth);
        }
        for position in closed {
            if highest < limit && depth < MOST_DEPTH {
                highest = self.open(position, bus, highest + 1, limit, depth);
            }
        }
        highest
    }

    /// Divides the bridges on `bus` into those that keep their numbers and those that are closed, and returns the
    /// highest number that is taken.
    ///
    /// [`check_bridges`](Self::check_bridges) did not reach what was behind a closed bridge, and a bridge may ignore
    /// what it is told. Only numbers that lead down, apart from each other, are followed: or the walk would not end.
    fn sort_out(
        &mut self,
        mut bridges: Vec<(usize, Bridge)>,
        bus: u8,
        limit: u8,
        depth: usize,
    ) -> (Vec<(usize, Bridge)>, Vec<usize>, u8) {
        bridges.sort_by_key(|(_, numbers)| numbers.secondary);
        let mut highest = bus;
        let (mut numbered, mut closed) = (Vec::new(), Vec::new());
        for (position, numbers) in bridges {
            let Bridge {
                secondary,
                subordinate,
            } = numbers;
            if depth < MOST_DEPTH && highest < secondary && secondary <= subordinate && subordinate <= limit {
                highest = subordinate;
                numbered.push((position, numbers));
            } else {
                self.close(position, bus);
                closed.push(position);
            }
        }
        (numbered, closed, highest)
    }

    /// Lets nothing behind the bridge at `position` be reached.
    fn close(&mut self, position: usize, primary: u8) {
        let Some(function) = self.fabric.functions.get_mut(position) else {
            return;
        };
        function.bridge = Some(Bridge {
            secondary: 0,
            subordinate: 0,
        });
        let bdf = function.bdf;
        self.number(bdf, primary, 0, 0);
    }

    /// Gives the bridge at `position` the numbers from `secondary` on, as many as it turns out to need.
    fn open(&mut self, position: usize, primary: u8, secondary: u8, limit: u8, depth: usize) -> u8 {
        let Some(bdf) = self.fabric.functions.get(position).map(|function| function.bdf) else {
            return primary;
        };
        self.number(bdf, primary, secondary, limit);
        let subordinate = self.below(position, secondary, limit, depth);
        self.number(bdf, primary, secondary, subordinate);
        if let Some(function) = self.fabric.functions.get_mut(position) {
            function.bridge = Some(Bridge {
                secondary,
                subordinate,
            });
        }
        subordinate
    }

    /// Walks the bus behind the bridge at `position`.
    fn below(&mut self, position: usize, secondary: u8, limit: u8, depth: usize) -> u8 {
        let Some(bridge) = self.fabric.functions.get(position) else {
            return secondary;
        };
        let (bdf, port) = (bridge.bdf, bridge.port);
        let requester_ids = bridge.requester_ids.clone();
        // What a bridge between PCI Express and PCI forwards carries its own secondary bus number, device 0; a
        // conventional bridge may use its own ID, which `requester_ids` begins with.
        let mut aliases = Vec::new();
        match port {
            Port::ToPci => {
                aliases.push(u16::from(secondary) << 8);
                aliases.extend(requester_ids.get(1..).unwrap_or_default());
            }
            Port::Conventional | Port::FromPci => aliases.extend(&requester_ids),
            _ => aliases.extend(requester_ids.get(1..).unwrap_or_default()),
        }
        self.bus(
            Above::Bridge {
                bdf,
                port,
                requester_ids: &aliases,
            },
            secondary,
            limit,
            depth + 1,
        )
    }

    /// Functions that answer on `bus`, and whether their device has several.
    fn functions(&self, bus: u8, devices: u8) -> impl Iterator<Item = (Bdf, bool)> {
        let config = self.config;
        (0..devices)
            .filter_map(move |device| Bdf::new(bus, device, 0))
            .flat_map(move |first| {
                let multi_function =
                    answers(config, first) && config.read32(first, offset::HEADER) >> 23 & 1 != 0;
                let count = if multi_function { 8 } else { 1 };
                (0..count)
                    .filter_map(move |function| Bdf::new(bus, first.device(), function))
                    .filter(move |bdf| answers(config, *bdf))
                    .map(move |bdf| (bdf, multi_function))
            })
    }

    fn header_type(&self, bdf: Bdf) -> u8 {
        let [_, _, header, _] = self.config.read32(bdf, offset::HEADER).to_le_bytes();
        header & 0x7f
    }

    fn is_bridge(&self, bdf: Bdf) -> bool {
        self.header_type(bdf) == 1
    }

    fn number(&self, bdf: Bdf, primary: u8, secondary: u8, subordinate: u8) {
        let latency = self.config.read32(bdf, offset::BUSES) & 0xff00_0000;
        let numbers = u32::from_le_bytes([primary, secondary, subordinate, 0]);
        self.config.write32(bdf, offset::BUSES, latency | numbers);
    }

    /// Silences `bdf` and reads what it is.
    fn read_function(&self, bdf: Bdf, multi_function: bool, above: Above<'_>) -> Function {
        let config = self.config;
        let found_mastering = config.read32(bdf, offset::COMMAND) & command::BUS_MASTER != 0;
        change_command(config, bdf, command::BUS_MASTER, command::INTX_DISABLE);

        let header_type = self.header_type(bdf);
        let (vendor, device) = words(config.read32(bdf, offset::ID));
        let [revision, interface, sub, base] = config.read32(bdf, offset::CLASS).to_le_bytes();
        let [_, pin, ..] = config.read32(bdf, offset::INTERRUPT).to_le_bytes();
        let capabilities = capability::walk(config, bdf);
        quiet::quieten(config, bdf, header_type, &capabilities);
        let port = capabilities
            .iter()
            .find(|capability| capability.id == capability::id::PCI_EXPRESS);
        let port = port.map_or(Port::Conventional, |express| {
            let [_, _, flags, _] = config.read32(bdf, express.offset).to_le_bytes();
            Port::from_register(flags >> 4)
        });
        let bar_count = match header_type {
            0 => 6,
            1 => 2,
            _ => 0,
        };
        let (parent, aliases) = match above {
            Above::Root => (None, [].as_slice()),
            Above::Bridge {
                bdf, requester_ids, ..
            } => (Some(bdf), requester_ids),
        };
        let mut requester_ids = Vec::from([bdf.requester_id()]);
        requester_ids.extend(aliases);
        let [_, secondary, subordinate, _] = config.read32(bdf, offset::BUSES).to_le_bytes();
        Function {
            bdf,
            parent,
            vendor,
            device,
            revision,
            class: Class { base, sub, interface },
            subsystem: if header_type == 0 {
                words(config.read32(bdf, offset::SUBSYSTEM))
            } else {
                (0, 0)
            },
            multi_function,
            bridge: (header_type == 1).then_some(Bridge {
                secondary,
                subordinate,
            }),
            port,
            pin: Pin::from_register(pin),
            bars: bar::size_all(config, bdf, bar_count),
            redirects: acs::send_upwards(config, bdf, port, &capabilities),
            capabilities,
            found_mastering,
            requester_ids,
        }
    }
}

/// Low and high 16 bits.
fn words(value: u32) -> (u16, u16) {
    let [a, b, c, d] = value.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

/// Whether anybody is at `bdf`: vendor IDs of all ones and all zeros are nobody's.
pub(crate) fn answers(config: &(impl ConfigSpace + ?Sized), bdf: Bdf) -> bool {
    let (vendor, _) = words(config.read32(bdf, offset::ID));
    vendor != 0xffff && vendor != 0
}
