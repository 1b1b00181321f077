//! What hardware may see of a stream table entry while it changes: at every write and at every tick, over every
//! order in which writes may become visible, it is the old entry, the new one, or abort.

use crate::common::{Machine, ModelDriver, Tables};
use smmu_model::v3::{Config, Fates};
use smmu_v3::{Error, commands::Command};
use std::cell::RefCell;
use std::rc::Rc;

const STREAM: u32 = 0x108;
const ABORT: Fates = Fates {
    abort: true,
    bypass: false,
    translate: false,
};
const TRANSLATE: Fates = Fates {
    abort: false,
    bypass: false,
    translate: true,
};
const EITHER: Fates = Fates {
    abort: true,
    bypass: false,
    translate: true,
};

/// The transitions of a stream, and what each may look like on the way.
#[derive(Debug, Clone, Copy)]
enum Transition {
    Attach,
    AttachInAnOldTable,
    Detach,
    DetachTwice,
    Quiesce,
}

fn prepare(transition: Transition, driver: &mut ModelDriver, tables: &Tables) {
    let domain = tables.domain();
    match transition {
        Transition::Attach => {}
        Transition::AttachInAnOldTable => driver.attach(STREAM + 1, &domain).unwrap(),
        Transition::Detach | Transition::Quiesce => driver.attach(STREAM, &domain).unwrap(),
        Transition::DetachTwice => {
            driver.attach(STREAM, &domain).unwrap();
            driver.detach(STREAM).unwrap();
        }
    }
}

fn act(transition: Transition, driver: &mut ModelDriver, tables: &Tables) -> Result<(), Error> {
    match transition {
        Transition::Attach | Transition::AttachInAnOldTable => driver.attach(STREAM, &tables.domain()),
        Transition::Detach | Transition::DetachTwice => driver.detach(STREAM),
        Transition::Quiesce => driver.quiesce(),
    }
}

/// Runs a transition; gives the fates that the stream went through, without repetitions, and the number of CMD_SYNCs.
fn observe(config: Config, transition: Transition) -> (Vec<Fates>, usize) {
    let machine = Machine::new(config);
    let mut driver = machine.probe(0xfff);
    let mut tables = Tables::new(&machine, 5);
    tables.map(0x1000, 0x6000_0000);
    prepare(transition, &mut driver, &tables);
    let seen = Rc::new(RefCell::new(vec![machine.smmu.fates(STREAM)]));
    let log = seen.clone();
    machine.smmu.on_every_change(move |smmu| {
        let fates = smmu.fates(STREAM);
        if log.borrow().last() != Some(&fates) {
            log.borrow_mut().push(fates);
        }
    });
    let before = machine.smmu.consumed().len();
    act(transition, &mut driver, &tables).unwrap();
    let commands = machine.smmu.consumed().split_off(before);
    let syncs = commands
        .iter()
        .filter(|words| Command::parse(**words) == Ok(Command::Sync))
        .count();
    machine.assert_settled();
    let seen = seen.borrow().clone();
    (seen, syncs)
}

#[test]
fn every_transition_shows_the_old_entry_the_new_one_or_both_and_nothing_else() {
    for (transition, fates, syncs) in [
        // Three syncs: invalid with new words behind it must have arrived before it becomes valid.
        (Transition::Attach, vec![ABORT, EITHER, TRANSLATE], 3),
        (Transition::AttachInAnOldTable, vec![ABORT, EITHER, TRANSLATE], 3),
        // Two syncs: the entry must be gone before the TLB is emptied, or it could fill it again.
        (Transition::Detach, vec![TRANSLATE, EITHER, ABORT], 2),
        (Transition::DetachTwice, vec![ABORT], 2),
        (Transition::Quiesce, vec![TRANSLATE, EITHER, ABORT], 2),
    ] {
        for config in [Config::qemu10(), Config::linear_only(), Config::non_coherent()] {
            assert_eq!(
                observe(config, transition),
                (fates.clone(), syncs),
                "{transition:?}"
            );
        }
    }
}

/// The neighbours in the table never change with the stream.
#[test]
fn a_transition_of_one_stream_is_none_of_another() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xfff);
    let tables = Tables::new(&machine, 5);
    let other = Tables::new(&machine, 6);
    driver.attach(STREAM + 1, &tables.domain()).unwrap();
    machine.smmu.on_every_change(|smmu| {
        assert_eq!(smmu.fates(STREAM + 1), TRANSLATE);
        assert_eq!(smmu.fates(STREAM - 1), ABORT);
    });
    driver.attach(STREAM, &other.domain()).unwrap();
    driver.detach(STREAM).unwrap();
    machine.assert_settled();
}

/// Nothing is ever in bypass or translated while the driver comes and goes.
#[test]
fn probe_and_release_abort_all_the_way() {
    let machine = Machine::new(Config::qemu10());
    machine.smmu.on_every_change(|smmu| {
        for stream in [0, STREAM, 0xffff] {
            assert_eq!(smmu.fates(stream), ABORT);
        }
    });
    let driver = machine.probe(0xffff);
    driver.release().unwrap();
    machine.assert_settled();
}
