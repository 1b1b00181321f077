//! The matcher: order, interleaving, what must not be seen.

use super::*;
use crate::Verdict;
use crate::attacks::Catalogue;

const STORY: &str = r#"
    title = "a story"
    include = ["common"]
    attacks = { verdict = "blocked" }
    [[expect]]
    name = "pending"
    line = 'device (\S+) pending$'
    says = "the device waits"
    [[expect]]
    name = "driver"
    line = '^\[ *[0-9.]+\] component loaded'
    says = "the driver arrives"
    [[expect]]
    name = "live"
    line = 'device \S+ live after ([0-9.]+) s'
    says = "the device goes live"
    after = ["pending", "driver"]
    [[summary]]
    line = 'live after ([0-9.]+) s'
    says = "{count} devices deferred {1} s"
"#;
const COMMON: &str = r#"
    title = "what no run may show"
    [[never]]
    line = '^PANIC'
    says = "the core panicked"
"#;
const ATTACKS: &str = r#"
    [[attack]]
    name = "write-alice"
    says = "write alice's memory"
    phases = ["before", "after"]
"#;
const GOOD: [&str; 6] = [
    "[  0.001] device 00:01.0 pending",
    "[mallory] attack write-alice before: blocked",
    "[  2.000] component loaded",
    "[  2.001] device 00:01.0 live after 2.000 s",
    "[  2.002] device 00:02.0 live after 2.001 s",
    "[mallory] attack write-alice after: blocked",
];

fn read(name: &str) -> std::io::Result<String> {
    match name {
        "story" => Ok(STORY.to_string()),
        "common" => Ok(COMMON.to_string()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    }
}

fn tell(lines: &[&str]) -> Verdict {
    let story = Story::load("story", &read).unwrap();
    let mut watcher = story.watch();
    for line in lines {
        watcher.line(line);
    }
    watcher.finish(&Catalogue::from_toml(ATTACKS).unwrap())
}

#[track_caller]
fn spoiled(lines: &[&str], problem: &str) {
    let verdict = tell(lines);
    assert!(
        verdict.problems.iter().any(|found| found.contains(problem)),
        "{:?} does not contain {problem:?}",
        verdict.problems
    );
}

#[test]
fn a_story_that_is_told_is_good() {
    let verdict = tell(&GOOD);
    assert!(verdict.is_good(), "{:?}", verdict.problems);
    assert_eq!((verdict.met, verdict.expected), (5, 5));
    assert_eq!(verdict.summary, ["2 devices deferred 2.001 s"]);
}

#[test]
fn lines_without_an_order_may_be_interleaved() {
    assert!(tell(&[GOOD[5], GOOD[2], GOOD[0], GOOD[3], GOOD[1]]).is_good());
}

#[test]
fn a_line_that_is_missing_is_named() {
    for index in [0, 1, 2, 5] {
        let mut lines = GOOD.to_vec();
        lines.remove(index);
        assert!(!tell(&lines).is_good(), "line {index} is not needed");
    }
    spoiled(&GOOD[..3], "not seen: the device goes live");
    spoiled(&GOOD[..5], "attack write-alice after the driver was not reported");
}

#[test]
fn a_line_that_comes_too_early_does_not_count() {
    let lines = [GOOD[0], GOOD[3], GOOD[2], GOOD[1], GOOD[5]];
    spoiled(&lines, "came too early, in line 2: the device goes live");
    // Not early, if what has to come first never came.
    let without =
        "seen in line 2 without what has to come first, \"the driver arrives\": the device goes live";
    spoiled(&[GOOD[0], GOOD[3], GOOD[5]], without);
    // A later line of the same kind does.
    assert!(tell(&[&lines[..], &GOOD[4..5]].concat()).is_good());
}

#[test]
fn what_must_not_be_seen_spoils_the_run() {
    spoiled(
        &[&GOOD[..], &["PANIC at core/src/main.rs:1"]].concat(),
        "line 7: the core panicked: PANIC at",
    );
    spoiled(
        &[
            &GOOD[..],
            &["[mallory] attack write-alice after: SUCCEEDED (64 bytes)"],
        ]
        .concat(),
        "attack write-alice (write alice's memory) after the driver: succeeded, should be blocked",
    );
    spoiled(
        &[&GOOD[..], &["[mallory] attack new-one after: SUCCEEDED"]].concat(),
        "attack new-one after, which is not on the list, succeeded",
    );
}

#[test]
fn a_run_without_a_line_is_no_good_run() {
    assert_eq!(tell(&[]).met, 0);
    assert!(!tell(&[]).is_good());
}

#[test]
fn a_file_that_is_no_story_is_named() {
    let load = |text: &'static str| {
        let read = move |name: &str| match name {
            "bad" => Ok(text.to_string()),
            other => super::tests::read(other),
        };
        Story::load("bad", &read).unwrap_err().to_string()
    };
    assert!(load("title = 1").contains("story bad"));
    let expect = "title = 'x'\n[[expect]]\nname = 'a'\nsays = 's'\n";
    assert!(load("title = 'x'\ninclude = ['absent']").contains("story absent"));
    assert!(load("title = 'x'\ninclude = ['story']").contains("include those directly"));
    assert!(load(Box::leak(format!("{expect}line = '('\n").into())).contains("no regular expression"));
    assert!(load(Box::leak(format!("{expect}line = 'x'\nafter = ['b']\n").into())).contains("\"b\""));
    let twice = format!("{expect}line = 'x'\n[[expect]]\nname = 'a'\nsays = 's'\nline = 'y'\n");
    assert!(load(Box::leak(twice.into())).contains("two expectations are called \"a\""));
}

#[test]
fn the_projects_own_stories_are_stories() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../stories");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}.toml"));
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name != "attacks" {
            let story = Story::load(name, &read).unwrap_or_else(|error| panic!("{error}"));
            assert!(!story.title.is_empty());
            count += 1;
        }
    }
    assert!(count >= 4, "{count} stories found");
}

#[test]
fn a_scenario_forbids_more_than_its_story() {
    let mut story = Story::load("story", &read).unwrap();
    let line = |line: &str| LabelledLine {
        line: line.to_string(),
        says: "the map is still there".to_string(),
    };
    story.forbid("scenario", vec![line("iommu-map")]).unwrap();
    let mut watcher = story.watch();
    for seen in GOOD.into_iter().chain(["[  2.003] read from iommu-map"]) {
        watcher.line(seen);
    }
    let verdict = watcher.finish(&Catalogue::from_toml(ATTACKS).unwrap());
    assert_eq!(verdict.problems.len(), 1, "{:?}", verdict.problems);
    assert!(verdict.problems[0].contains("the map is still there"));
    assert!(story.forbid("scenario", vec![line("(")]).is_err());
}

#[test]
fn an_attack_that_is_not_on_the_list_cannot_be_wanted() {
    let text = STORY.replace(r#"verdict = "blocked""#, r#"verdict = "blocked", only = ["fly"]"#);
    let read = |name: &str| {
        if name == "story" {
            Ok(text.clone())
        } else {
            read(name)
        }
    };
    let story = Story::load("story", &read).unwrap();
    let mut watcher = story.watch();
    GOOD.iter().for_each(|line| watcher.line(line));
    let verdict = watcher.finish(&Catalogue::from_toml(ATTACKS).unwrap());
    assert_eq!(verdict.problems, ["no attack fly of this story is on the list"]);
}
