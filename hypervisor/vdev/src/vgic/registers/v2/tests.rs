//! The registers of a GICv2, and SGIs with their senders.

use super::super::super::tests::Log;
use super::super::super::{ListRegister, Source, Vgic};

const UART: u32 = 33;
const DEVICE: u32 = 36;
const TIMER: u32 = 27;

const CTLR: u64 = 0;
const ISENABLER: u64 = 0x100;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const IPRIORITYR: u64 = 0x400;
const ITARGETSR: u64 = 0x800;
const ICFGR: u64 = 0xc00;
const SGIR: u64 = 0xf00;
const CPENDSGIR: u64 = 0xf10;
const SPENDSGIR: u64 = 0xf20;

/// Three vCPUs, everything on.
fn running() -> (Vgic, Log) {
    let mut gic = Vgic::new(&[0, 1, 2], 63);
    gic.own(UART, Source::Virtual).unwrap();
    gic.own(DEVICE, Source::Hardware(36)).unwrap();
    gic.own(TIMER, Source::Hardware(27)).unwrap();
    let mut log = Log::default();
    gic.write_distributor_v2(0, CTLR, 4, 1, &mut log);
    gic.write_distributor_v2(0, ISENABLER + 4, 4, u64::MAX, &mut log);
    for vcpu in 0..3 {
        gic.write_distributor_v2(vcpu, ISENABLER, 4, u64::MAX, &mut log);
    }
    (gic, Log::default())
}

fn flush(gic: &mut Vgic, vcpu: usize) -> Vec<ListRegister> {
    let mut list = [ListRegister::EMPTY; 4];
    let flushed = gic.flush(vcpu, &mut list);
    // As hardware has them in between.
    let list = list.map(|entry| ListRegister::from_v2(entry.to_v2()));
    list[..flushed.used].to_vec()
}

fn acknowledged(entry: ListRegister) -> ListRegister {
    ListRegister(entry.0 & !(1 << 62) | 1 << 63)
}

fn ended(entry: ListRegister) -> ListRegister {
    ListRegister(entry.0 & !(3 << 62))
}

/// What the guest reads in `GICC_IAR`.
fn iar(entry: ListRegister) -> (u32, u32) {
    (entry.intid(), entry.to_v2() >> 10 & 7)
}

fn has_end_notice(entry: ListRegister) -> bool {
    entry.0 & 1 << 41 != 0
}

#[test]
fn identification_says_gicv2() {
    let (gic, _) = running();
    assert_eq!(gic.read_distributor_v2(0, 0xfe8, 4) >> 4 & 0xf, 2);
    assert_eq!(
        gic.read_distributor_v2(0, 4, 4),
        2 << 5 | 1,
        "3 CPUs, 64 interrupts"
    );
    assert_eq!(gic.read_distributor_v2(0, CTLR, 4), 1);
    assert_eq!(gic.read_distributor_v2(0, 0x80, 4), 0, "all in group 0");
    assert_eq!(gic.read_distributor_v2(0, 0x6108, 8), 0, "no affinity routing");
    assert_eq!(gic.read_distributor_v2(0, 0x1_0004, 4), 0, "beyond the frame");
}

#[test]
fn private_interrupts_are_those_of_who_accesses() {
    let (mut gic, mut log) = running();
    gic.write_distributor_v2(1, 0x180, 4, 1 << TIMER, &mut log);
    let enabled = |gic: &Vgic, vcpu| gic.read_distributor_v2(vcpu, ISENABLER, 4);
    assert_eq!(enabled(&gic, 0), 1 << TIMER | 0xffff);
    assert_eq!(enabled(&gic, 1), 0xffff);
    gic.write_distributor_v2(2, IPRIORITYR + u64::from(TIMER), 1, 0xa0, &mut log);
    assert_eq!(gic.read_distributor_v2(2, IPRIORITYR + 24, 4), 0xa000_0000);
    assert_eq!(gic.read_distributor_v2(1, IPRIORITYR + 24, 4), 0);
    assert_eq!(
        gic.read_distributor_v2(0, ICFGR, 4),
        0xaaaa_aaaa,
        "SGIs are edges"
    );
    gic.raise(1, TIMER, &mut log);
    assert_eq!(flush(&mut gic, 1), [], "off there");
    assert_eq!(gic.read_distributor_v2(1, ISPENDR, 4), 1 << TIMER);
    assert_eq!(gic.read_distributor_v2(0, ISPENDR, 4), 0);
    gic.write_distributor_v2(1, ICPENDR, 4, 1 << TIMER, &mut log);
    assert_eq!(log.deactivated, [(1, 27)]);
}

#[test]
fn each_vcpu_reads_its_own_bit_in_target_lists() {
    let (gic, _) = running();
    for vcpu in 0..3 {
        let own = 1 << vcpu;
        assert_eq!(gic.read_distributor_v2(vcpu, ITARGETSR, 4), own * 0x0101_0101);
        assert_eq!(gic.read_distributor_v2(vcpu, ITARGETSR + 27, 1), own);
        assert_eq!(
            gic.read_distributor_v2(vcpu, ITARGETSR + 28, 4),
            0,
            "nobody's PPIs"
        );
        assert_eq!(gic.read_distributor_v2(vcpu, ITARGETSR + u64::from(DEVICE), 1), 1);
    }
}

#[test]
fn spis_go_to_the_first_of_their_list() {
    let (mut gic, mut log) = running();
    let device = ITARGETSR + u64::from(DEVICE);
    gic.write_distributor_v2(2, device, 1, 0b110, &mut log);
    assert_eq!(log.routed, [(36, 1)]);
    assert_eq!(gic.read_distributor_v2(0, device, 4), 0b10);
    gic.raise(0, DEVICE, &mut log);
    assert_eq!((flush(&mut gic, 0).len(), flush(&mut gic, 1).len()), (0, 1));
    // To nobody, or to vCPUs that are not there: as before. Private ones and strangers are not routed.
    gic.write_distributor_v2(0, device, 1, 0, &mut log);
    gic.write_distributor_v2(0, device, 1, 0xf8, &mut log);
    gic.write_distributor_v2(0, ITARGETSR + 24, 4, 0x0404_0404, &mut log);
    gic.write_distributor_v2(0, ITARGETSR + 40, 4, 0x0404_0404, &mut log);
    assert_eq!(log.routed, [(36, 1)]);
    assert_eq!(gic.read_distributor_v2(0, device, 1), 0b10);
    assert_eq!(gic.read_distributor_v2(0, ITARGETSR + 40, 4), 0);
}

#[test]
fn sgis_reach_whom_they_name_and_say_who_sent_them() {
    let (mut gic, mut log) = running();
    gic.write_distributor_v2(2, SGIR, 4, 0b011 << 16 | 5, &mut log);
    assert_eq!(log.kicks, [0, 1]);
    assert_eq!(gic.read_distributor_v2(0, ISPENDR, 4), 1 << 5);
    assert_eq!(gic.read_distributor_v2(0, SPENDSGIR + 5, 1), 1 << 2);
    let list = flush(&mut gic, 0);
    assert_eq!(
        (list.len(), iar(list[0]), has_end_notice(list[0])),
        (1, (5, 2), false)
    );
    // All others, and oneself.
    gic.write_distributor_v2(1, SGIR, 4, 1 << 24 | 6, &mut log);
    let pending = |gic: &Vgic, vcpu| gic.read_distributor_v2(vcpu, SPENDSGIR + 4, 4);
    assert_eq!((pending(&gic, 1), pending(&gic, 2)), (0x400, 0x2_0000));
    gic.write_distributor_v2(1, SGIR, 4, 2 << 24 | 7, &mut log);
    assert_eq!(pending(&gic, 1), 0x0200_0400);
    // The reserved filter, and CPUs that are not there.
    gic.write_distributor_v2(1, SGIR, 4, 3 << 24 | 0xff << 16 | 8, &mut log);
    gic.write_distributor_v2(1, SGIR, 4, 0xf8 << 16 | 8, &mut log);
    assert!((0..3).all(|vcpu| gic.read_distributor_v2(vcpu, ISPENDR, 4) & 1 << 8 == 0));
    assert_eq!(gic.read_distributor_v2(0, SGIR, 4), 0);
}

#[test]
fn an_sgi_of_two_senders_is_delivered_twice() {
    let (mut gic, mut log) = running();
    for sender in [2, 1] {
        gic.write_distributor_v2(sender, SGIR, 4, 1 << 16 | 3, &mut log);
    }
    let list = flush(&mut gic, 0);
    assert_eq!((list.len(), iar(list[0])), (1, (3, 1)));
    assert!(has_end_notice(list[0]), "the other one waits for that");
    // It was not looked at: both are there again.
    gic.sync(0, &list, 0, &mut log);
    assert_eq!(gic.read_distributor_v2(0, SPENDSGIR + 3, 1), 0b110);
    let list = flush(&mut gic, 0);
    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    // While the first is handled, it comes again.
    gic.write_distributor_v2(1, SGIR, 4, 1 << 16 | 3, &mut log);
    let list = flush(&mut gic, 0);
    assert!(list[0].is_active() && !list[0].is_pending() && has_end_notice(list[0]));
    assert_eq!(iar(list[0]), (3, 1), "still that of the first");
    gic.sync(0, &[ended(list[0])], 0, &mut log);
    for sender in [1, 2] {
        let list = flush(&mut gic, 0);
        assert_eq!(iar(list[0]), (3, sender));
        gic.sync(0, &[ended(acknowledged(list[0]))], 0, &mut log);
    }
    assert_eq!(flush(&mut gic, 0), []);
}

#[test]
fn senders_are_set_and_cleared_one_by_one() {
    let (mut gic, mut log) = running();
    gic.write_distributor_v2(0, SPENDSGIR + 8, 4, 0x0500, &mut log);
    assert_eq!(gic.read_distributor_v2(0, CPENDSGIR + 8, 4), 0x0500);
    assert_eq!(gic.read_distributor_v2(1, CPENDSGIR + 8, 4), 0, "its own");
    gic.write_distributor_v2(0, CPENDSGIR + 9, 1, 1, &mut log);
    let list = flush(&mut gic, 0);
    assert_eq!(iar(list[0]), (9, 2));
    gic.sync(0, &list, 0, &mut log);
    gic.write_distributor_v2(0, CPENDSGIR + 8, 4, u64::MAX, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    // The registers of other interrupts do not make one pending, or not pending.
    gic.write_distributor_v2(0, ISPENDR, 4, 0xffff, &mut log);
    assert_eq!(gic.read_distributor_v2(0, ISPENDR, 4), 0);
    gic.write_distributor_v2(0, SGIR, 4, 2 << 24 | 4, &mut log);
    gic.write_distributor_v2(0, ICPENDR, 4, 0xffff, &mut log);
    assert_eq!(gic.read_distributor_v2(0, ISPENDR, 4), 1 << 4);
    gic.reset_vcpu(0, &mut log);
    assert_eq!(gic.read_distributor_v2(0, ISPENDR, 4), 0);
}

#[test]
fn nothing_comes_while_the_distributor_is_off() {
    let (mut gic, mut log) = running();
    gic.write_distributor_v2(0, CTLR, 4, 0, &mut log);
    gic.set_line(0, UART, true, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    log = Log::default();
    gic.write_distributor_v2(1, CTLR, 4, 1, &mut log);
    assert_eq!(log.kicks, [0]);
    let list = flush(&mut gic, 0);
    assert_eq!(iar(list[0]), (UART, 0));
    assert!(has_end_notice(list[0]));
}

#[test]
fn odd_accesses_read_zero_and_change_nothing() {
    let (mut gic, mut log) = running();
    for (offset, size) in [
        (SGIR, 1),
        (SPENDSGIR, 2),
        (ITARGETSR + 32, 8),
        (CTLR, 1),
        (ITARGETSR + 33, 4),
        (SPENDSGIR + 2, 4),
    ] {
        gic.write_distributor_v2(0, offset, size, 0, &mut log);
        gic.write_distributor_v2(0, offset, size, u64::MAX, &mut log);
        assert_eq!(gic.read_distributor_v2(0, offset, size), 0);
    }
    gic.write_distributor_v2(9, SGIR, 4, 1 << 24 | 1, &mut log);
    gic.write_distributor_v2(0, u64::MAX, 4, 1, &mut log);
    assert_eq!((log.kicks, log.routed), (vec![], vec![]));
    assert!((0..3).all(|vcpu| gic.read_distributor_v2(vcpu, ISPENDR, 4) == 0));
}
