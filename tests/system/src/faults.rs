//! What the core reports of blocked DMA, compared with what mallory's devices did.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;

/// Attacks of this phase are made with devices that are live: each access of theirs has to be reported.
const LIVE: &str = "after";
/// Who attacks.
const ATTACKER: &str = "mallory";
/// What came before a device was live: its address may be one that is the guest's own.
const NOT_ATTACHED: &str = "stream not attached";
/// No more problems than this are told.
const KEPT: usize = 5;

/// An access of a device to where it must not reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    device: String,
    direction: String,
    address: u64,
}

/// A fault that the core reports.
#[derive(Debug, Clone)]
struct Report {
    guest: String,
    device: String,
    stream: u64,
    /// Direction and IPA, if they are known.
    access: Option<Access>,
    kind: String,
    events: u64,
    line: String,
}

/// The accesses that mallory announces, and the faults that the core reports.
#[derive(Debug, Clone, Default)]
pub struct FaultReports {
    /// Accesses since an attack's outcome was told.
    recent: Vec<Access>,
    /// Accesses of live devices, with their number.
    live: BTreeMap<Access, u64>,
    /// All accesses.
    tried: BTreeSet<Access>,
    reports: Vec<Report>,
}

impl FaultReports {
    /// Notes a line of the console.
    pub fn note(&mut self, line: &str) {
        if let Some(access) = announced(line) {
            self.tried.insert(access.clone());
            self.recent.push(access);
        } else if let Some(phase) = told(line) {
            for access in std::mem::take(&mut self.recent) {
                if phase == LIVE {
                    *self.live.entry(access).or_default() += 1;
                }
            }
        } else if let Some(report) = reported(line) {
            self.reports.push(report);
        }
    }

    /// Compares both; `streams` has the stream of each attacking device. How many accesses were reported as they should,
    /// how many there were, and what is wrong.
    pub fn judge(&self, streams: &BTreeMap<String, u64>) -> (usize, usize, Vec<String>) {
        let mut problems: Vec<String> = self
            .reports
            .iter()
            .filter_map(|report| {
                let wrong = self.wrong(report, streams)?;
                Some(format!(
                    "a fault is reported that is not what mallory did: {wrong}: {}",
                    report.line
                ))
            })
            .collect();
        for device in streams.keys() {
            if !self.live.keys().any(|access| access.device == *device) {
                problems.push(format!(
                    "mallory announced no access of {device} while it was live"
                ));
            }
        }
        let mut met = 0;
        for (access, times) in &self.live {
            let events = self.events(access);
            if events >= *times {
                met += 1;
            } else {
                let Access {
                    device,
                    direction,
                    address,
                } = access;
                problems.push(format!(
                    "{device}: {direction} at {address:#x} was tried {times} times, and reported for {events}"
                ));
            }
        }
        problems.truncate(KEPT);
        (met, self.live.len(), problems)
    }

    /// The events that are reported for an access of a live device.
    fn events(&self, access: &Access) -> u64 {
        let of_it = |report: &&Report| report.kind != NOT_ATTACHED && report.access.as_ref() == Some(access);
        self.reports
            .iter()
            .filter(of_it)
            .map(|report| report.events)
            .sum()
    }

    /// What is wrong with a report, if anything is.
    fn wrong(&self, report: &Report, streams: &BTreeMap<String, u64>) -> Option<&'static str> {
        if report.guest != ATTACKER {
            return Some("guest");
        }
        match streams.get(&report.device) {
            None => return Some("device"),
            Some(stream) if *stream != report.stream => return Some("stream"),
            Some(_) => {}
        }
        if report.kind == NOT_ATTACHED {
            return None;
        }
        let is_known = report
            .access
            .as_ref()
            .is_some_and(|access| self.tried.contains(access));
        (!is_known).then_some("direction or address")
    }
}

/// `[mallory] dma 00:03.0: write at 0x50100000`.
fn announced(line: &str) -> Option<Access> {
    let pattern = Regex::new(r"^\[mallory *\] dma (\S+): (read|write) at 0x([0-9a-f]+)$").ok()?;
    let found = pattern.captures(line)?;
    Some(Access {
        device: found.get(1)?.as_str().to_string(),
        direction: found.get(2)?.as_str().to_string(),
        address: number(found.get(3)?.as_str())?,
    })
}

/// The phase in `[mallory] attack NAME PHASE: …`.
fn told(line: &str) -> Option<String> {
    let pattern = Regex::new(r"^\[mallory *\] attack \S+ ([a-z]+): ").ok()?;
    Some(pattern.captures(line)?.get(1)?.as_str().to_string())
}

/// `[time] fault warning: GUEST 0000:DEVICE, stream 0x18: write at IPA 0x50100000: not mapped (events: 1)`; the stream with its SMMU
/// where there are several. Lost events have no stream, and are nobody's.
fn reported(line: &str) -> Option<Report> {
    if line.starts_with("[mallory") || !line.contains(" fault ") {
        return None;
    }
    let pattern = concat!(
        r"\] fault +(?:warning: )?(\S+) (\S+), stream 0x([0-9a-f]+)(?: at \S+)?: ",
        r"(?:(read|write) at IPA 0x([0-9a-f]+): )?(.*) \(events: (\d+)"
    );
    let found = Regex::new(pattern).ok()?.captures(line)?;
    let part = |index| found.get(index).map(|part| part.as_str());
    // mallory sees no segments.
    let name = part(2)?;
    let device = name
        .split_once(':')
        .map_or(name, |(_segment, rest)| rest)
        .to_string();
    let access = part(4).zip(part(5)).and_then(|(direction, address)| {
        Some(Access {
            device: device.clone(),
            direction: direction.to_string(),
            address: number(address)?,
        })
    });
    Some(Report {
        guest: part(1)?.to_string(),
        device,
        stream: number(part(3)?)?,
        access,
        kind: part(6)?.to_string(),
        events: part(7)?.parse().ok()?,
        line: line.to_string(),
    })
}

fn number(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: &str = "[  2.525018] fault  warning: mallory 0000:00:03.0, stream 0x18: \
                         read at IPA 0x50100800: not mapped (events: 16)";

    /// A run in which mallory reads once with a live device, and `fault` is what the core says.
    fn judged(fault: &str) -> Vec<String> {
        let mut reports = FaultReports::default();
        for line in [
            "[mallory] dma 00:03.0: write at 0x50100000",
            "[mallory] attack write-alice before: blocked",
            "[mallory] dma 00:03.0: read at 0x50100800",
            fault,
            "[mallory] attack read-alice after: blocked",
        ] {
            reports.note(line);
        }
        let (met, of, problems) = reports.judge(&BTreeMap::from([("00:03.0".to_string(), 0x18)]));
        assert_eq!(of, 1);
        assert_eq!(
            met == of,
            !problems.iter().any(|problem| problem.contains("was tried"))
        );
        problems
    }

    #[test]
    fn what_is_reported_as_it_was_done_is_right() {
        assert_eq!(judged(FAULT), Vec::<String>::new());
    }

    #[test]
    fn where_there_are_several_smmus_a_report_names_one() {
        let fault = FAULT.replace("stream 0x18: ", "stream 0x18 at /iommu@b000000: ");
        assert_eq!(judged(&fault), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_wrong_in_a_report_is_a_problem() {
        for (right, wrong) in [
            ("0x50100800", "0x50100801"),
            ("read at", "write at"),
            ("stream 0x18", "stream 0x10"),
            ("0000:00:03.0", "0000:00:02.0"),
            ("mallory ", "alice "),
            ("not mapped", "stream not attached"),
        ] {
            let fault = FAULT.replace(right, wrong);
            assert_ne!(fault, FAULT);
            assert!(!judged(&fault).is_empty(), "{fault}");
        }
    }

    #[test]
    fn an_access_that_nobody_reports_is_a_problem() {
        assert_eq!(
            judged(""),
            ["00:03.0: read at 0x50100800 was tried 1 times, and reported for 0"]
        );
    }

    #[test]
    fn what_came_before_a_device_was_live_may_be_anywhere() {
        let mut reports = FaultReports::default();
        for line in [
            "[mallory] dma 00:03.0: read at 0x50100800",
            FAULT,
            "[mallory] attack read-alice after: blocked",
            "[  2.1] fault  warning: mallory 0000:00:03.0, stream 0x18: write at IPA 0x4f202000: \
             stream not attached (events: 1; from before the device was live)",
            "[  2.2] fault  warning: /iommu@b000000: \
             faults came faster than they could be recorded (events: 1)",
        ] {
            reports.note(line);
        }
        let (met, of, problems) = reports.judge(&BTreeMap::from([("00:03.0".to_string(), 0x18)]));
        assert_eq!((met, of, problems), (1, 1, vec![]));
    }

    #[test]
    fn a_device_that_announced_nothing_is_a_problem() {
        let streams = BTreeMap::from([("00:02.0".to_string(), 0x10)]);
        assert_eq!(
            FaultReports::default().judge(&streams).2,
            ["mallory announced no access of 00:02.0 while it was live"]
        );
    }
}
