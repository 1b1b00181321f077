//! What a line asks for.

use alloc::format;
use alloc::string::{String, ToString};

/// What can be asked, a line each.
pub const HELP: [&str; 7] = [
    "topology      which device emits which stream on which SMMU, and what is wrong in the device tree",
    "devices       every device that a guest was given, and where it stands",
    "smmus         every SMMU: which driver it has or why none, and how many streams are attached",
    "why DEVICE    how a device got there: a PCI address as 0000:00:03.0, or a path",
    "load          loads the drivers of the SMMUs now, if loading is not sealed",
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
    /// The SMMUs.
    Smmus,
    /// The story of one device.
    Why(String),
    /// The SMMUs' drivers are to be loaded now.
    Load,
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
            (Some("load"), None, _) => Command::Load,
            (Some("smmus"), None, _) => Command::Smmus,
            (Some("why"), Some(device), None) => Command::Why(with_segment(device)),
            (Some("why"), None, _) => Command::WhyWhat,
            _ => Command::Unknown(line.trim().to_string()),
        }
    }
}

/// A PCI address without segment is one of segment 0.
fn with_segment(device: &str) -> String {
    let is_hex = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_place = |place: &str| {
        place
            .split_once('.')
            .is_some_and(|(slot, function)| is_hex(slot) && function.len() == 1)
    };
    match device.split_once(':') {
        Some((bus, place)) if is_hex(bus) && is_place(place) => format!("0000:{device}").to_ascii_lowercase(),
        _ => device.to_string(),
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
            ("load", Command::Load),
            ("why 0000:00:03.0", why("0000:00:03.0")),
            ("why 00:03.0", why("0000:00:03.0")),
            ("why 0A:1f.7", why("0000:0a:1f.7")),
            ("why 1:00:03.0", why("1:00:03.0")),
            ("why /a:b.c", why("/a:b.c")),
            ("smmus", Command::Smmus),
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
