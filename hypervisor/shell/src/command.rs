//! What a line asks for.

use alloc::string::{String, ToString};

/// What can be asked, a line each.
pub const HELP: [&str; 5] = [
    "topology      which device emits which stream on which SMMU, and what is wrong in the device tree",
    "devices       every device that a guest was given, and where it stands",
    "why DEVICE    how a device got there: a PCI address as 0000:00:03.0, or a path",
    "help          this",
    "Ctrl-A c      gives the console to the next guest, and behind the last one back to this prompt",
];

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An empty line.
    Nothing,
    /// What can be asked.
    Help,
    /// The stream graph.
    Topology,
    /// The devices of guests.
    Devices,
    /// The story of one device.
    Why(String),
    /// `why` without a device.
    WhyWhat,
    /// Something else.
    Unknown(String),
}

impl Command {
    /// Reads a line. Only printable ASCII gets here, so that it can be printed again.
    pub fn parse(line: &str) -> Command {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => Command::Nothing,
            (Some("help" | "?"), None, _) => Command::Help,
            (Some("topology"), None, _) => Command::Topology,
            (Some("devices"), None, _) => Command::Devices,
            (Some("why"), Some(device), None) => Command::Why(device.to_string()),
            (Some("why"), None, _) => Command::WhyWhat,
            _ => Command::Unknown(line.trim().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands() {
        let why = |device: &str| Command::Why(device.into());
        let unknown = |text: &str| Command::Unknown(text.into());
        for (line, command) in [
            ("", Command::Nothing),
            ("   ", Command::Nothing),
            ("help", Command::Help),
            (" topology ", Command::Topology),
            ("devices", Command::Devices),
            ("why 0000:00:03.0", why("0000:00:03.0")),
            ("why  /soc/usb@1000", why("/soc/usb@1000")),
            ("why", Command::WhyWhat),
            ("why a b", unknown("why a b")),
            ("topology now", unknown("topology now")),
            (" reboot", unknown("reboot")),
        ] {
            assert_eq!(Command::parse(line), command, "{line:?}");
        }
    }
}
