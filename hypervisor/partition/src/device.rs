//! How a device is named.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::error::Problem;

/// Which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceName {
    /// A PCI function.
    Pci(PciName),
    /// A platform device: the path of its node.
    Path(String),
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Pci(name) => name.fmt(f),
            DeviceName::Path(path) => path.fmt(f),
        }
    }
}

/// A PCI function by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct PciName {
    /// Segment (domain).
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl PciName {
    /// Bus, device and function as they travel in a transaction (PCI Express Base 2.2.6.2).
    pub fn requester_id(&self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device) << 3 | u16::from(self.function)
    }
}

impl fmt::Display for PciName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PciName {
            segment,
            bus,
            device,
            function,
        } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// Reads `0000:00:01.0`, with all digits written.
impl FromStr for PciName {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let parse = || {
            let (segment, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let name = PciName {
                segment: hexadecimal(segment, 4)?,
                bus: u8::try_from(hexadecimal(bus, 2)?).ok()?,
                device: u8::try_from(hexadecimal(device, 2)?).ok()?,
                function: u8::try_from(hexadecimal(function, 1)?).ok()?,
            };
            (name.device < 32 && name.function < 8).then_some(name)
        };
        parse().ok_or(Problem::PciName)
    }
}

/// Exactly `digits` hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u16> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain {
        u16::from_str_radix(text, 16).ok()
    } else {
        None
    }
}
