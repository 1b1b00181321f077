//! Compares what a run tells with its story.

use crate::attacks::{Catalogue, Outcome, Reports};
use crate::faults::FaultReports;
use crate::story::Story;

/// How many lines of one kind of violation are kept.
const KEPT: usize = 5;

/// Watches one run.
#[derive(Debug)]
pub struct Watcher<'s> {
    story: &'s Story,
    /// For each expectation: where it was met, counted in lines from 1.
    met: Vec<Option<usize>>,
    /// For each expectation: where its line came before what it has to come after.
    too_early: Vec<Option<usize>>,
    violations: Vec<String>,
    summary: Vec<(usize, Option<String>)>,
    reports: Reports,
    faults: FaultReports,
    lines: usize,
}

/// What came of a run.
#[derive(Debug)]
pub struct Verdict {
    /// How many expectations were met.
    pub met: usize,
    /// How many there were, attacks and their faults included.
    pub expected: usize,
    /// What was missing or must not have been, one line each, for people.
    pub problems: Vec<String>,
    /// What the story's summary says.
    pub summary: Vec<String>,
    /// The attacks that were reported.
    pub reports: Reports,
}

impl Verdict {
    /// Whether the story was told, all of it, and nothing that must not be.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

impl<'s> Watcher<'s> {
    pub(crate) fn new(story: &'s Story) -> Self {
        Watcher {
            story,
            met: vec![None; story.expectations.len()],
            too_early: vec![None; story.expectations.len()],
            violations: Vec::new(),
            summary: vec![(0, None); story.summary.len()],
            reports: Reports::default(),
            faults: FaultReports::default(),
            lines: 0,
        }
    }

    /// Takes the next line of the console.
    pub fn line(&mut self, line: &str) {
        self.lines += 1;
        for index in 0..self.story.expectations.len() {
            self.expectation(index, line);
        }
        for never in &self.story.nevers {
            if self.violations.len() < KEPT && never.line.is_match(line) {
                self.violations
                    .push(format!("line {}: {}: {line}", self.lines, never.says));
            }
        }
        for (summary, (count, value)) in self.story.summary.iter().zip(&mut self.summary) {
            if let Some(found) = summary.line.captures(line) {
                *count += 1;
                *value = found.get(1).map(|value| value.as_str().to_string());
            }
        }
        self.reports.note(line);
        self.faults.note(line);
    }

    /// Whether every expectation is met. Attacks and lines that must not come are only judged in the end.
    pub fn is_complete(&self) -> bool {
        self.met.iter().all(Option::is_some)
    }

    fn expectation(&mut self, index: usize, line: &str) {
        let (Some(expectation), Some(None)) = (self.story.expectations.get(index), self.met.get(index))
        else {
            return;
        };
        if !expectation.pattern.line.is_match(line) {
            return;
        }
        let ready = expectation
            .after
            .iter()
            .all(|earlier| matches!(self.met.get(*earlier), Some(Some(_))));
        let place = if ready { &mut self.met } else { &mut self.too_early };
        if let Some(place) = place.get_mut(index) {
            *place = Some(self.lines);
        }
    }

    /// Why a line was not counted that came as line `at` of the console: what has to come first came later, or never.
    fn not_in_turn(&self, at: usize, after: &[usize]) -> String {
        let is_met = |index: &&usize| matches!(self.met.get(**index), Some(Some(_)));
        let missing = after.iter().find(|index| !is_met(index));
        match missing.and_then(|index| self.story.expectations.get(*index)) {
            None => format!("came too early, in line {at}"),
            Some(earlier) => format!(
                "seen in line {at} without what has to come first, \"{}\"",
                earlier.pattern.says
            ),
        }
    }

    /// Judges the run. `catalogue` is the list of attacks that the story's `attacks` refer to.
    pub fn finish(self, catalogue: &Catalogue) -> Verdict {
        let mut problems = self.violations.clone();
        let mut met = 0;
        let mut expected = 0;
        let seen = self.met.iter().zip(&self.too_early);
        for (expectation, (met_at, too_early)) in self.story.expectations.iter().zip(seen) {
            expected += 1;
            if met_at.is_some() {
                met += 1;
                continue;
            }
            let pattern = &expectation.pattern;
            let what = match too_early {
                Some(line) => self.not_in_turn(*line, &expectation.after),
                None => "not seen".to_string(),
            };
            problems.push(format!("{what}: {} ({})", pattern.says, pattern.line));
        }
        if let Some(attacks) = &self.story.attacks {
            // A misspelt name would make the list shorter, and nobody would notice.
            for name in catalogue.unknown(attacks) {
                problems.push(format!("no attack {name} of this story is on the list"));
            }
            for (attack, phase) in catalogue.tries(attacks) {
                expected += 1;
                match self.reports.outcome(&attack.name, phase) {
                    Some(outcome) if outcome == attacks.verdict => met += 1,
                    Some(outcome) => problems.push(format!(
                        "attack {} ({}) {phase} the driver: {}, should be {}",
                        attack.name,
                        attack.says,
                        outcome.word(),
                        attacks.verdict.word()
                    )),
                    None => problems.push(format!(
                        "attack {} {phase} the driver was not reported",
                        attack.name
                    )),
                }
            }
            if !attacks.streams.is_empty() {
                let (reported, accesses, wrong) = self.faults.judge(&attacks.streams);
                met += reported;
                expected += accesses;
                problems.extend(wrong);
            }
            // An attack that the list does not know may not slip through either.
            for (name, phase, outcome) in self.reports.iter() {
                let known = catalogue
                    .tries(attacks)
                    .any(|(attack, p)| attack.name == name && p == phase);
                if !known && attacks.verdict == Outcome::Blocked && outcome == Outcome::Succeeded {
                    problems.push(format!(
                        "attack {name} {phase}, which is not on the list, succeeded"
                    ));
                }
            }
        }
        let summary = self.story.summary.iter().zip(&self.summary);
        let summary = summary
            .filter(|(_, (count, _))| *count > 0)
            .map(|(pattern, (count, value))| {
                pattern
                    .says
                    .replace("{count}", &count.to_string())
                    .replace("{1}", value.as_deref().unwrap_or_default())
            });
        Verdict {
            met,
            expected,
            problems,
            summary: summary.collect(),
            reports: self.reports,
        }
    }
}
