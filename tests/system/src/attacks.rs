//! The attacks, as mallory reports them.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Deserialize;

/// What a story expects of the attacks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attacks {
    /// How each of them has to end.
    pub verdict: Outcome,
    /// Those of the list that are tried, where that is not all of them.
    pub only: Option<Vec<String>>,
    /// The phases in which they are tried, where that is not all of them.
    pub phases: Option<Vec<String>>,
    /// What a phase is called in this story, where that is another name.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// The stream of each device that attacks. If there are any, every access of a live device has to be reported as a
    /// fault, and no other fault may be.
    #[serde(default)]
    pub streams: BTreeMap<String, u64>,
}

/// How an attack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing was read or written.
    Blocked,
    /// Something was.
    Succeeded,
}

impl Outcome {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Blocked => "blocked",
            Outcome::Succeeded => "succeeded",
        }
    }
}

/// One attack of the list in `tests/stories/attacks.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// Its name in mallory's lines.
    pub name: String,
    /// What it tries, for people.
    pub says: String,
    /// When it is tried.
    pub phases: Vec<String>,
}

/// The list of all attacks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The attacks, in the order of the table.
    pub attack: Vec<Attack>,
}

impl Catalogue {
    /// Reads the list.
    ///
    /// # Errors
    /// The text has another form.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Every attack in every phase, with the phases' names of `attacks`.
    pub fn tries<'a>(&'a self, attacks: &'a Attacks) -> impl Iterator<Item = (&'a Attack, &'a str)> {
        let is_one = |wanted: &Option<Vec<String>>, name: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(name))
        };
        let tried = self
            .attack
            .iter()
            .filter(move |attack| is_one(&attacks.only, &attack.name));
        tried.flat_map(move |attack| {
            attack
                .phases
                .iter()
                .filter(move |phase| is_one(&attacks.phases, phase))
                .map(move |phase| (attack, attacks.rename.get(phase).unwrap_or(phase).as_str()))
        })
    }

    /// The names in `only` that nothing is tried for: the list has no such attack, or not in these phases.
    pub fn unknown<'a>(&'a self, attacks: &'a Attacks) -> impl Iterator<Item = &'a str> {
        let is_tried = |name: &str| self.tries(attacks).any(|(attack, _)| attack.name == name);
        let names = attacks.only.iter().flatten().map(String::as_str);
        names.filter(move |name| !is_tried(name))
    }
}

/// What was reported: attack and phase to outcome.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    outcomes: BTreeMap<(String, String), Outcome>,
}

impl Reports {
    /// Notes a line, if it reports an attack. What succeeded once has succeeded.
    pub fn note(&mut self, line: &str) {
        let Some((name, phase, outcome)) = parse(line) else {
            return;
        };
        let entry = self.outcomes.entry((name, phase)).or_insert(outcome);
        if outcome == Outcome::Succeeded {
            *entry = outcome;
        }
    }

    /// How the attack ended in this phase, if it was reported.
    pub fn outcome(&self, name: &str, phase: &str) -> Option<Outcome> {
        self.outcomes.get(&(name.to_string(), phase.to_string())).copied()
    }

    /// How many ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.values().filter(|&&found| found == outcome).count()
    }

    /// How many were reported.
    pub fn total(&self) -> usize {
        self.outcomes.len()
    }

    /// Every reported attack and phase with its outcome.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Outcome)> {
        self.outcomes
            .iter()
            .map(|((name, phase), outcome)| (name.as_str(), phase.as_str(), *outcome))
    }
}

/// `[mallory] attack NAME PHASE: blocked` or `… SUCCEEDED (detail)`.
fn parse(line: &str) -> Option<(String, String, Outcome)> {
    let pattern = Regex::new(r"^\[mallory *\] attack ([a-z0-9-]+) ([a-z]+): (blocked|SUCCEEDED)\b").ok()?;
    let found = pattern.captures(line)?;
    let part = |index| found.get(index).map(|part| part.as_str().to_string());
    let outcome = match part(3)?.as_str() {
        "blocked" => Outcome::Blocked,
        _ => Outcome::Succeeded,
    };
    Some((part(1)?, part(2)?, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_from_mallorys_lines_only() {
        let mut reports = Reports::default();
        reports.note("[mallory] attack write-alice before: blocked");
        reports.note("[mallory] attack read-core after: SUCCEEDED (magic found)");
        reports.note("[alice  ] attack read-alice after: SUCCEEDED");
        reports.note("[mallory] attack read-alice after: maybe");
        reports.note("[mallory] 2 attacks, 1 blocked, 1 succeeded");
        assert_eq!(reports.outcome("write-alice", "before"), Some(Outcome::Blocked));
        assert_eq!(reports.outcome("read-core", "after"), Some(Outcome::Succeeded));
        assert_eq!(reports.outcome("read-alice", "after"), None);
        assert_eq!((reports.total(), reports.count(Outcome::Blocked)), (2, 1));
    }

    #[test]
    fn what_succeeded_once_has_succeeded() {
        let mut reports = Reports::default();
        for verdict in ["blocked", "SUCCEEDED", "blocked"] {
            reports.note(&format!("[mallory] attack write-alice during: {verdict}"));
        }
        assert_eq!(reports.outcome("write-alice", "during"), Some(Outcome::Succeeded));
    }

    #[test]
    fn the_list_of_attacks_names_each_try_once() {
        let catalogue = Catalogue::from_toml(include_str!("../../stories/attacks.toml")).unwrap();
        let attacks = Attacks {
            verdict: Outcome::Blocked,
            only: None,
            phases: None,
            rename: BTreeMap::from([("after".to_string(), "never".to_string())]),
            streams: BTreeMap::new(),
        };
        let tries: Vec<_> = catalogue
            .tries(&attacks)
            .map(|(attack, phase)| (attack.name.as_str(), phase))
            .collect();
        assert!(tries.contains(&("write-alice", "before")));
        assert!(tries.contains(&("write-core", "never")));
        assert!(!tries.iter().any(|(_, phase)| *phase == "after"));
        let mut unique = tries.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), tries.len());
    }

    #[test]
    fn a_story_may_have_some_of_them_in_some_phases() {
        let catalogue = Catalogue::from_toml(include_str!("../../stories/attacks.toml")).unwrap();
        let text = "verdict = \"succeeded\"\nonly = [\"read-alice\", \"read-core\"]\nphases = [\"after\"]";
        let attacks: Attacks = toml::from_str(text).unwrap();
        let tries = catalogue.tries(&attacks);
        let tries: Vec<_> = tries
            .map(|(attack, phase)| (attack.name.as_str(), phase))
            .collect();
        assert_eq!(tries, [("read-alice", "after"), ("read-core", "after")]);
    }

    #[test]
    fn a_name_that_nothing_is_tried_for_is_found() {
        let catalogue = Catalogue::from_toml(include_str!("../../stories/attacks.toml")).unwrap();
        let text =
            "verdict = \"blocked\"\nonly = [\"write-core\", \"fly\", \"write-alice\"]\nphases = [\"before\"]";
        let attacks: Attacks = toml::from_str(text).unwrap();
        let unknown: Vec<_> = catalogue.unknown(&attacks).collect();
        assert_eq!(
            unknown,
            ["write-core", "fly"],
            "write-core is tried after the driver came"
        );
    }
}
