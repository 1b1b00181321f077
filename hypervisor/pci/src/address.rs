//! Where a function sits: bus, device, function, and the segment before them.

use core::fmt;
use core::str::FromStr;

/// Bus, device and function number in the form of a requester ID: bus in bits 15:8, device in 7:3, function in 2:0
/// (PCIe 2.2.6.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf(u16);

impl Bdf {
    /// The function `function` (0..=7) of device `device` (0..=31) on `bus`, or `None` when a number is too large.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Bdf> {
        if device < 32 && function < 8 {
            Some(Bdf((bus as u16) << 8 | (device as u16) << 3 | function as u16))
        } else {
            None
        }
    }

    /// The function that emits `requester_id`.
    pub const fn from_requester_id(requester_id: u16) -> Bdf {
        Bdf(requester_id)
    }

    /// The requester ID that this function puts on its transactions.
    pub const fn requester_id(self) -> u16 {
        self.0
    }

    /// Bus number.
    pub const fn bus(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Device number, 0..=31.
    pub const fn device(self) -> u8 {
        self.0.to_be_bytes()[1] >> 3
    }

    /// Function number, 0..=7.
    pub const fn function(self) -> u8 {
        self.0.to_be_bytes()[1] & 7
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A function's full address: the segment (one per host bridge) and the [`Bdf`] in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Segment, also called domain.
    pub segment: u16,
    /// Bus, device and function in that segment.
    pub bdf: Bdf,
}

/// A text is not of the form `ssss:bb:dd.f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PCI address of the form ssss:bb:dd.f in hexadecimal digits")]
pub struct BadAddress;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{}", self.segment, self.bdf)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        let mut fields = text.splitn(3, ':');
        let segment = hex(fields.next(), 4)?;
        let bus = hex(fields.next(), 2)?;
        let (device, function) = fields
            .next()
            .and_then(|last| last.split_once('.'))
            .ok_or(BadAddress)?;
        let byte = |number: u16| u8::try_from(number).map_err(|_| BadAddress);
        let bdf = Bdf::new(
            byte(bus)?,
            byte(hex(Some(device), 2)?)?,
            byte(hex(Some(function), 1)?)?,
        );
        Ok(Address {
            segment,
            bdf: bdf.ok_or(BadAddress)?,
        })
    }
}

/// A number of exactly `digits` hexadecimal digits.
fn hex(text: Option<&str>, digits: usize) -> Result<u16, BadAddress> {
    let text = text.filter(|text| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.and_then(|text| u16::from_str_radix(text, 16).ok())
        .ok_or(BadAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_come_back() {
        let bdf = Bdf::new(0x12, 0x1f, 7).unwrap();
        assert_eq!((bdf.bus(), bdf.device(), bdf.function()), (0x12, 0x1f, 7));
        assert_eq!(bdf.requester_id(), 0x12ff);
        assert_eq!(Bdf::new(0, 32, 0), None);
        assert_eq!(Bdf::new(0, 0, 8), None);
    }

    #[test]
    fn an_address_reads_as_it_is_written() {
        let address: Address = "0001:02:1d.3".parse().unwrap();
        assert_eq!(
            address,
            Address {
                segment: 1,
                bdf: Bdf::new(2, 0x1d, 3).unwrap()
            }
        );
        assert_eq!(address.to_string(), "0001:02:1d.3");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "00:01.0",
            "0000:00:20.0",
            "0000:00:01.8",
            "0000:00:01",
            "0000:0:1.0",
            "0000:00:+1.0",
        ] {
            assert_eq!(text.parse::<Address>(), Err(BadAddress), "{text}");
        }
    }
}
