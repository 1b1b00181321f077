//! What boards are, can do and refuse.

use std::collections::BTreeSet;

use super::*;
use crate::flags;
use crate::usage::Wrong;

#[test]
fn virt_is_described_with_and_without_its_smmu() {
    let board = Board::load(&Project::find().unwrap(), "virt").unwrap();
    assert_eq!(board.describe(true), "qemu virt · 4 CPUs · SMMUv3 · 3 × edu");
    assert_eq!(board.describe(false), "qemu virt · 4 CPUs · no SMMU · 3 × edu");
    assert!(
        board
            .arguments(true)
            .contains(&"virt,virtualization=on,gic-version=3,iommu=smmuv3".to_string())
    );
    assert!(
        board
            .arguments(false)
            .contains(&"virt,virtualization=on,gic-version=3,iommu=none".to_string())
    );
}

#[test]
fn the_bench_is_described_with_what_its_firmware_emulates() {
    let board = Board::load(&Project::find().unwrap(), "virt-smmuv2").unwrap();
    assert_eq!(
        board.describe(true),
        "qemu virt, bench mmu-500 · 4 CPUs · SMMUv2 · 3 × edu · mmu-500 emulated by our own model (tests/bench/README.md)"
    );
    assert_eq!(
        board.describe(false),
        "qemu virt, bench mmu-500 · 4 CPUs · no SMMU · 3 × edu"
    );
    assert_eq!(board.load_address, system_tests::firmware::CORE);
    let machine = "virt,secure=on,virtualization=on,gic-version=3".to_string();
    assert!(board.arguments(true).contains(&machine));
}

#[test]
fn a_machine_is_extended_unless_its_firmware_has_limits() {
    let project = Project::find().unwrap();
    let disk = || vec!["nvme,drive=disk0".to_string()];
    let mut board = Board::load(&project, "virt").unwrap();
    board.extend(256, 6, vec!["-drive".to_string()], disk()).unwrap();
    assert_eq!(
        board.describe(true),
        "qemu virt · 6 CPUs · SMMUv3 · 3 × edu · 1 × nvme"
    );
    let arguments = board.arguments(true).join(" ");
    for part in ["-smp 6", "-m 1280M", "-drive", "-device nvme,drive=disk0"] {
        assert!(arguments.contains(part), "{part:?} is not in {arguments}");
    }
    let mut board = Board::load(&project, "virt-smmuv2").unwrap();
    assert!(board.extend(256, 5, Vec::new(), Vec::new()).is_err());
    assert!(board.extend(256, 1, Vec::new(), disk()).is_err());
    board.extend(256, 1, Vec::new(), Vec::new()).unwrap();
    assert_eq!(board.cpus, 4);
}

#[test]
fn stories_name_the_boards_smmu() {
    let board = Board::load(&Project::find().unwrap(), "virt").unwrap();
    assert_eq!(
        board.name_smmu("smmu +@SMMU@: live, by @DRIVER@").unwrap(),
        "smmu +/smmuv3@9050000: live, by smmu-v3"
    );
}

#[test]
fn boards_differ_in_their_names_and_refer_to_scenarios_of_theirs() {
    let project = Project::find().unwrap();
    let scenarios = crate::scenario::all(&project).unwrap();
    let mut seen = BTreeSet::new();
    for name in names(&project).unwrap() {
        let board = Board::load(&project, &name).unwrap();
        for wanted in &board.scenarios {
            let named = scenarios.iter().find(|named| named.name == *wanted).unwrap();
            assert_eq!(named.scenario.board, name, "{wanted}");
        }
        assert!(seen.insert(board.name.clone()), "{}", board.name);
    }
    assert!(seen.len() >= 6);
}

/// What is said of a command line of `cargo xtask run` on a board; nothing if it fits.
fn said(name: &str, line: &str) -> String {
    let words = ["run", "--board", name]
        .into_iter()
        .chain(line.split_whitespace());
    let flags = flags::Xtask::from_vec(words.map(Into::into).collect()).unwrap();
    let flags::XtaskCmd::Run(run) = flags.subcommand else {
        unreachable!()
    };
    let board = Board::load(&Project::find().unwrap(), name).unwrap();
    let fits = board.fits(&run).map_err(|error| error.to_string());
    fits.err().unwrap_or_default()
}

#[test]
fn what_does_not_fit_a_board_is_refused_with_what_to_type() {
    let refused = said("virt-smmuv2-two", "");
    assert!(refused.contains("type `cargo xtask test --filter bench-two-smmus`, or "));
    assert!(refused.ends_with(", or add --partition FILE"));
    assert!(said("virt-smmuv2-and-v3", "--never-load").contains("bench-v2-attacks-v3`, or `cargo"));
    assert!(said("virt-smmuv2-two", "--partition x --binding both").contains("leave it out"));
    assert_eq!(said("virt-smmuv2-two", "--no-iommu"), "");
    assert_eq!(said("virt-smmuv2-two", "--partition x"), "");
    assert_eq!(said("virt-smmuv2-pair", "--binding both"), "");
}

#[test]
fn a_board_that_does_not_exist_is_named() {
    let project = Project::find().unwrap();
    let error = Board::load(&project, "toaster").unwrap_err();
    assert!(error.is::<Wrong>());
    let said = error.to_string();
    assert!(
        said.starts_with("there is no board \"toaster\"\nboards:\n  "),
        "{said}"
    );
    assert!(Board::load(&project, "../xtask/Cargo").is_err());
}

#[test]
fn a_board_without_an_smmu_is_described_and_started_as_it_is() {
    let board = Board::load(&Project::find().unwrap(), "rpi4").unwrap();
    for iommu in [true, false] {
        assert_eq!(board.describe(iommu), "Raspberry Pi 4 · 4 CPUs · no SMMU");
        let arguments = board.arguments(iommu).join(" ");
        assert!(
            arguments.starts_with("-machine raspi4b -smp 4 -m 2G -display none"),
            "{arguments}"
        );
        assert!(!arguments.contains("-cpu"), "{arguments}");
        assert!(
            arguments.contains("-serial null -serial stdio"),
            "the tree's stdout-path is the second one: {arguments}"
        );
        assert_eq!(board.machine(iommu).1, "no SMMU");
    }
    assert!(!board.has_smmu());
    assert_eq!(board.described_by(Binding::Both), None);
}

#[test]
fn a_story_about_an_smmu_is_none_of_a_board_without() {
    let board = Board::load(&Project::find().unwrap(), "rpi4").unwrap();
    assert_eq!(board.name_smmu("line = 'end'").unwrap(), "line = 'end'");
    let error = board.name_smmu("smmu +@SMMU@: live").unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is about an SMMU, and Raspberry Pi 4 has none"
    );
}

#[test]
fn what_needs_an_smmu_or_pci_is_refused_where_there_is_none() {
    let instead = "and Raspberry Pi 4 has none: type `cargo xtask run --board rpi4`";
    for flag in ["--no-iommu", "--never-load", "--binding legacy"] {
        assert!(said("rpi4", flag).contains(instead), "{}", said("rpi4", flag));
    }
    for flag in ["--disk nvme:x", "--device 0000:00:01.0"] {
        let refused = said("rpi4", &format!("--guest linux {flag}"));
        assert!(
            refused.starts_with("QEMU emulates no PCI on Raspberry Pi 4"),
            "{refused}"
        );
    }
    for line in ["", "--guest linux", "--partition x", "--no-control"] {
        assert_eq!(said("rpi4", line), "", "{line}");
    }
}

#[test]
fn a_machine_that_qemu_fixes_is_not_extended() {
    let mut board = Board::load(&Project::find().unwrap(), "rpi4").unwrap();
    let before = board.arguments(false);
    board.extend(768, 4, Vec::new(), Vec::new()).unwrap();
    assert_eq!(board.arguments(false), before);
    let mut said = |memory_mib, cpus| {
        let extended = board.extend(memory_mib, cpus, Vec::new(), Vec::new());
        extended.unwrap_err().to_string()
    };
    assert!(said(770, 1).contains("of which one guest can have 768M at most: it cannot have 770M"));
    assert!(said(256, 5).contains("has always 4 CPUs: a guest cannot have 5"));
}

#[test]
fn a_board_that_contradicts_itself_is_refused() {
    let text = Project::find().unwrap().read_text("boards/rpi4.toml").unwrap();
    assert!(Board::from_toml(&text).is_ok());
    let refused = |text: &str| Board::from_toml(text).unwrap_err().to_string();
    let smmu = "\n[smmu]\nnode = \"/iommu@1\"\ndriver = \"smmu-v2\"\n";
    assert!(refused(&(text.clone() + smmu)).contains("`iommu`"));
    let begin = text.find("[run]").unwrap();
    let end = text.find("[qemu]").unwrap();
    let (before, after) = (&text[..begin], &text[end..]);
    let shown = refused(&format!("{before}{after}"));
    assert!(shown.contains("say in [run] what it shows here"), "{shown}");
}

#[test]
fn what_a_board_shows_is_there() {
    let project = Project::find().unwrap();
    for name in names(&project).unwrap() {
        let board = Board::load(&project, &name).unwrap();
        let shown = board.shown();
        let control = shown.control.clone();
        let control = control.map(|control| (control.story, control.partition));
        for (story, partition) in [(shown.story, shown.partition)].into_iter().chain(control) {
            crate::scenario::story(&project, &board, &story).unwrap();
            crate::bundle::partition_member(&project, &partition).unwrap();
        }
    }
}
