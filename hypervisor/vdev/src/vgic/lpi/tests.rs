//! LPIs in the virtual GIC, one behaviour at a time.

use super::*;
use crate::vgic::tests::Log;
use crate::vgic::{REDISTRIBUTOR_SIZE, Source};

const CTLR: u64 = 0;
const PROPBASER: u64 = 0x70;
const PENDBASER: u64 = 0x78;
const FIRST: u32 = LPI_FIRST;
const ENABLED: u8 = 0xa1;

/// Two vCPUs that take LPIs, of which the first three are enabled.
fn running() -> (Vgic, Log) {
    let (mut gic, mut log) = (Vgic::with_lpis(&[0, 1], 63, 100), Log::default());
    gic.own(40, Source::Virtual).unwrap();
    gic.write_distributor(CTLR, 4, 2, &mut log);
    gic.write_redistributor(PROPBASER, 8, 0x4000_0000 | 13, &mut log);
    for vcpu in 0..2 {
        gic.write_redistributor(vcpu * REDISTRIBUTOR_SIZE, 4, 1, &mut log);
    }
    for intid in FIRST..FIRST + 3 {
        gic.configure_lpi(intid, ENABLED, &mut log);
    }
    log = Log::default();
    (gic, log)
}

fn flush(gic: &mut Vgic, vcpu: usize) -> Vec<ListRegister> {
    let mut list = [ListRegister::EMPTY; 4];
    let flushed = gic.flush(vcpu, &mut list);
    list[..flushed.used].to_vec()
}

fn acknowledged(entry: ListRegister) -> ListRegister {
    ListRegister(entry.0 & !(1 << 62) | 1 << 63)
}

#[test]
fn a_gic_without_lpis_shows_none() {
    let (mut gic, mut log) = (Vgic::new(&[0], 63), Log::default());
    let typer = gic.read_distributor(4, 4);
    assert_eq!(
        (typer >> 17 & 1, typer >> 19 & 0x1f, typer >> 11 & 0x1f),
        (0, 9, 0)
    );
    assert_eq!(gic.read_redistributor(8, 8) & 1, 0);
    for offset in [CTLR, PROPBASER, PENDBASER] {
        gic.write_redistributor(offset, if offset == CTLR { 4 } else { 8 }, u64::MAX, &mut log);
        assert_eq!(gic.read_redistributor(offset, 8), 0);
        assert_eq!(gic.read_redistributor(offset, 4), 0);
    }
    gic.write_distributor(CTLR, 4, 2, &mut log);
    gic.configure_lpi(FIRST, ENABLED, &mut log);
    gic.raise_lpi(0, FIRST, &mut log);
    assert_eq!(gic.configuration_table(), None);
    assert!(!gic.has_work(0) && log.kicks.is_empty());
}

#[test]
fn registers_tell_of_lpis() {
    let gic = Vgic::with_lpis(&[0, 1], 63, 100);
    let typer = gic.read_distributor(4, 4);
    assert_eq!((typer >> 17 & 1, typer >> 19 & 0x1f), (1, 13), "14 bits");
    assert_eq!(2 << (typer >> 11 & 0x1f), 128, "so many LPIs");
    assert_eq!(gic.lpis(), FIRST..FIRST + 128);
    assert_eq!(gic.read_redistributor(8, 8) & 0xb, 1, "physical LPIs only");
    assert_eq!(gic.read_redistributor(12, 4), 0, "the affinity is untouched");
    assert_eq!(gic.read_redistributor(CTLR, 4), 0);
    for (wanted, count) in [(0, 64), (64, 64), (65, 128), (u32::MAX, MOST_LPIS)] {
        assert_eq!(Vgic::with_lpis(&[0], 63, wanted).lpis().len(), count as usize);
    }
}

#[test]
fn table_registers_keep_what_is_theirs_until_lpis_are_on() {
    let (mut gic, mut log) = (Vgic::with_lpis(&[0, 1], 63, 64), Log::default());
    let second = REDISTRIBUTOR_SIZE;
    gic.write_redistributor(PROPBASER, 8, u64::MAX, &mut log);
    assert_eq!(gic.read_redistributor(PROPBASER, 8), 0x070f_ffff_ffff_ff9f);
    gic.write_redistributor(PENDBASER, 8, u64::MAX, &mut log);
    assert_eq!(gic.read_redistributor(PENDBASER, 8), 0x070f_ffff_ffff_0f80);
    gic.write_redistributor(second + PROPBASER, 4, 0x8000_000d, &mut log);
    gic.write_redistributor(second + PROPBASER + 4, 4, 1, &mut log);
    assert_eq!(
        gic.read_redistributor(PROPBASER, 8),
        0x1_8000_000d,
        "one for both"
    );
    assert_eq!(gic.read_redistributor(PROPBASER + 4, 4), 1);
    let table = gic.configuration_table().unwrap();
    assert_eq!(
        (table.end, table.address_of(FIRST + 3)),
        (FIRST + 64, 0x1_8000_0003)
    );

    gic.write_redistributor(CTLR, 4, 1, &mut log);
    gic.write_redistributor(CTLR, 4, 0, &mut log);
    assert_eq!(gic.read_redistributor(CTLR, 4), 1, "on for good");
    assert_eq!(gic.read_redistributor(second + CTLR, 4), 0, "but only there");
    gic.write_redistributor(second + PROPBASER, 8, 0, &mut log);
    gic.write_redistributor(PENDBASER, 8, 0, &mut log);
    gic.write_redistributor(second + PENDBASER, 8, 0x10_0000, &mut log);
    assert_eq!(gic.read_redistributor(PROPBASER, 8), 0x1_8000_000d);
    assert_ne!(gic.read_redistributor(PENDBASER, 8), 0);
    assert_eq!(gic.read_redistributor(second + PENDBASER, 8), 0x10_0000);
}

#[test]
fn a_table_for_too_few_bits_holds_no_lpi() {
    let (mut gic, mut log) = (Vgic::with_lpis(&[0], 63, 64), Log::default());
    assert_eq!(gic.configuration_table(), None);
    gic.write_redistributor(PROPBASER, 8, 0x4000_0000 | 12, &mut log);
    assert_eq!(gic.configuration_table(), None);
    gic.write_redistributor(PROPBASER, 8, 0x4000_0000 | 0x1f, &mut log);
    assert_eq!(gic.configuration_table().unwrap().end, FIRST + 64);
}

#[test]
fn an_lpi_comes_once_and_has_no_active_state() {
    let (mut gic, mut log) = running();
    gic.raise_lpi(1, FIRST + 2, &mut log);
    assert_eq!(log.kicks, [1]);
    assert_eq!(flush(&mut gic, 0), []);
    let list = flush(&mut gic, 1);
    let entry = list[0];
    assert_eq!((entry.intid(), entry.physical()), (FIRST + 2, None));
    assert_eq!(
        entry.0 >> 48 & 0xff,
        0xa0,
        "the entry's priority, without its enable bit"
    );
    assert!(entry.is_pending() && !entry.is_active());

    // Out and in before it was acknowledged.
    gic.sync(1, &list, 0, &mut log);
    assert_eq!(flush(&mut gic, 1), list);
    // Acknowledged: the list register is free, and the next one may come.
    gic.sync(1, &[acknowledged(entry)], 0, &mut log);
    assert!(!gic.has_work(1));
    assert_eq!(flush(&mut gic, 1), []);
    gic.raise_lpi(1, FIRST + 2, &mut log);
    assert_eq!(flush(&mut gic, 1), list);
    assert_eq!(log.deactivated, []);
}

#[test]
fn one_that_comes_while_a_list_register_has_it_is_not_lost() {
    let (mut gic, mut log) = running();
    gic.raise_lpi(0, FIRST, &mut log);
    let list = flush(&mut gic, 0);
    log = Log::default();
    gic.raise_lpi(0, FIRST, &mut log);
    assert_eq!(log.kicks, [0], "it runs and may have acknowledged the first one");
    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    assert_eq!(flush(&mut gic, 0), list);
    // Not acknowledged yet: the two are one.
    gic.raise_lpi(0, FIRST, &mut log);
    gic.sync(0, &list, 0, &mut log);
    assert_eq!(flush(&mut gic, 0), list);
    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
}

#[test]
fn lpis_wait_for_all_switches() {
    let (mut gic, mut log) = (Vgic::with_lpis(&[0], 63, 64), Log::default());
    gic.configure_lpi(FIRST, ENABLED, &mut log);
    gic.raise_lpi(0, FIRST, &mut log);
    gic.write_redistributor(CTLR, 4, 1, &mut log);
    assert!(!gic.has_work(0), "what came before is lost");
    gic.raise_lpi(0, FIRST, &mut log);
    assert!(!gic.has_work(0), "group 1 is off");
    log = Log::default();
    gic.write_distributor(CTLR, 4, 2, &mut log);
    assert_eq!(log.kicks, [0]);
    gic.configure_lpi(FIRST, ENABLED & !1, &mut log);
    assert!(!gic.has_work(0), "the LPI is off");
    gic.configure_lpi(FIRST, ENABLED, &mut log);
    assert_eq!(flush(&mut gic, 0).len(), 1, "and was not forgotten");
}

#[test]
fn priority_decides_also_between_kinds() {
    let (mut gic, mut log) = running();
    gic.write_distributor(0x104, 4, u64::MAX, &mut log);
    gic.write_distributor(0x400 + 40, 1, 0x80, &mut log);
    gic.configure_lpi(FIRST, 0x41, &mut log);
    for intid in [FIRST, FIRST + 1, FIRST + 2] {
        gic.raise_lpi(0, intid, &mut log);
    }
    gic.raise(0, 40, &mut log);
    let mut list = [ListRegister::EMPTY; 2];
    let flushed = gic.flush(0, &mut list);
    assert_eq!(list.map(ListRegister::intid), [FIRST, 40]);
    assert!(flushed.pending_left && !flushed.active_left);
}

#[test]
fn a_pending_lpi_moves() {
    let (mut gic, mut log) = running();
    gic.raise_lpi(0, FIRST, &mut log);
    gic.move_lpi(FIRST, 1, &mut log);
    assert_eq!(log.kicks, [0, 1]);
    assert_eq!(flush(&mut gic, 0), []);
    // Back, out of a list register.
    let list = flush(&mut gic, 1);
    log = Log::default();
    gic.move_lpi(FIRST, 0, &mut log);
    assert_eq!(log.kicks, [1], "who has it is to give it back");
    gic.sync(1, &list, 0, &mut log);
    assert_eq!(log.kicks, [1, 0]);
    assert_eq!(flush(&mut gic, 0), list);

    gic.sync(0, &list, 0, &mut log);
    gic.raise_lpi(0, FIRST + 1, &mut log);
    gic.raise_lpi(1, FIRST + 2, &mut log);
    gic.move_lpis(0, 1, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    assert_eq!(flush(&mut gic, 1).len(), 3);
}

#[test]
fn what_is_cleared_does_not_come() {
    let (mut gic, mut log) = running();
    gic.raise_lpi(0, FIRST, &mut log);
    gic.clear_lpi(FIRST, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    gic.raise_lpi(0, FIRST, &mut log);
    let list = flush(&mut gic, 0);
    log = Log::default();
    gic.clear_lpi(FIRST, &mut log);
    assert_eq!(log.kicks, [0]);
    gic.sync(0, &list, 0, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    // Cleared, and then once more.
    gic.raise_lpi(0, FIRST, &mut log);
    let list = flush(&mut gic, 0);
    gic.clear_lpi(FIRST, &mut log);
    gic.raise_lpi(0, FIRST, &mut log);
    gic.sync(0, &list, 0, &mut log);
    assert_eq!(flush(&mut gic, 0).len(), 1);
}

#[test]
fn a_vcpu_that_comes_back_finds_its_lpis() {
    let (mut gic, mut log) = running();
    gic.raise_lpi(1, FIRST, &mut log);
    gic.reset_vcpu(1, &mut log);
    assert_eq!(gic.read_redistributor(REDISTRIBUTOR_SIZE, 4), 1);
    assert_eq!(flush(&mut gic, 1).len(), 1);
}
