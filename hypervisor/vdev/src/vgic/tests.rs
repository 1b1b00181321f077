//! The virtual GIC, one behaviour at a time.

use super::*;

/// What the GIC asked for.
#[derive(Default)]
pub(super) struct Log {
    pub(super) kicks: Vec<usize>,
    pub(super) deactivated: Vec<(usize, u32)>,
    pub(super) routed: Vec<(u32, usize)>,
}

impl Outside for Log {
    fn kick(&mut self, vcpu: usize) {
        self.kicks.push(vcpu);
    }
    fn deactivate(&mut self, vcpu: usize, physical: u32) {
        self.deactivated.push((vcpu, physical));
    }
    fn route(&mut self, physical: u32, vcpu: usize) {
        self.routed.push((physical, vcpu));
    }
}

const UART: u32 = 33;
const DEVICE: u32 = 36;
const TIMER: u32 = 27;
/// An SPI that is not the guest's.
const FOREIGN: u32 = 40;

const CTLR: u64 = 0;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const SGI_FRAME: u64 = 0x1_0000;

pub(super) fn gic() -> Vgic {
    let mut gic = Vgic::new(&[0, 0x100], 63);
    gic.own(UART, Source::Virtual).unwrap();
    gic.own(DEVICE, Source::Hardware(36)).unwrap();
    gic.own(TIMER, Source::Hardware(27)).unwrap();
    gic
}

/// A GIC as a guest sets it up: everything on.
fn running() -> (Vgic, Log) {
    let (mut gic, mut log) = (gic(), Log::default());
    gic.write_distributor(CTLR, 4, 0x12, &mut log);
    gic.write_distributor(ISENABLER + 4, 4, u64::MAX, &mut log);
    for vcpu in 0..2 {
        gic.write_redistributor(
            vcpu * REDISTRIBUTOR_SIZE + SGI_FRAME + ISENABLER,
            4,
            u64::MAX,
            &mut log,
        );
    }
    log = Log::default();
    (gic, log)
}

fn flush(gic: &mut Vgic, vcpu: usize) -> Vec<ListRegister> {
    let mut list = [ListRegister(u64::MAX); 4];
    let flushed = gic.flush(vcpu, &mut list);
    assert!(
        list[flushed.used..]
            .iter()
            .all(|entry| *entry == ListRegister::EMPTY)
    );
    list[..flushed.used].to_vec()
}

/// The guest acknowledges: pending becomes active.
fn acknowledged(entry: ListRegister) -> ListRegister {
    ListRegister(entry.0 & !(1 << 62) | 1 << 63)
}

/// The guest ends it.
fn ended(entry: ListRegister) -> ListRegister {
    ListRegister(entry.0 & !(3 << 62))
}

#[test]
fn identification_says_gicv3() {
    let gic = gic();
    assert_eq!(gic.read_distributor(0xffe8, 4) >> 4 & 0xf, 3);
    assert_eq!(gic.read_redistributor(0xffe8, 4) >> 4 & 0xf, 3);
    assert_eq!(gic.read_distributor(0x4, 4) & 0x1f, 1, "64 interrupts");
    assert_eq!(gic.read_distributor(0x4, 4) >> 19 & 0x1f, 9, "10 bits of number");
    assert_eq!(gic.read_distributor(CTLR, 4), 0x50);
    assert_eq!(gic.read_redistributor(8, 8), 0);
    assert_eq!(
        gic.read_redistributor(REDISTRIBUTOR_SIZE + 8, 8),
        0x100 << 32 | 1 << 8 | 1 << 4
    );
    assert_eq!(gic.read_redistributor(REDISTRIBUTOR_SIZE + 12, 4), 0x100);
    assert_eq!(gic.read_redistributor(2 * REDISTRIBUTOR_SIZE + 8, 8), 0);
    assert_eq!(gic.read_distributor(DISTRIBUTOR_SIZE + 4, 4), 0);
}

#[test]
fn a_virtual_edge_goes_through_its_states() {
    let (mut gic, mut log) = running();
    gic.write_distributor(ICFGR + 8, 4, 2 << 2, &mut log);
    gic.raise(0, UART, &mut log);
    assert_eq!(log.kicks, [0]);
    assert_eq!(gic.read_distributor(ISPENDR + 4, 4), 1 << 1);

    let list = flush(&mut gic, 0);
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].intid(), list[0].physical()), (UART, None));
    assert!(list[0].is_pending() && !list[0].is_active());
    assert_eq!(
        gic.read_distributor(ISPENDR + 4, 4),
        1 << 1,
        "pending while the list register holds it"
    );

    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    assert_eq!(gic.read_distributor(ISPENDR + 4, 4), 0);
    assert_eq!(gic.read_distributor(ISACTIVER + 4, 4), 1 << 1);

    gic.raise(0, UART, &mut log);
    let list = flush(&mut gic, 0);
    assert!(
        list[0].is_pending() && list[0].is_active(),
        "an edge while active"
    );
    gic.sync(0, &[ended(acknowledged(list[0]))], 0, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
}

#[test]
fn a_line_is_looked_at_again_when_the_guest_ended_the_interrupt() {
    let (mut gic, mut log) = running();
    gic.set_line(0, UART, true, &mut log);
    let list = flush(&mut gic, 0);
    assert_ne!(list[0].0 & 1 << 41, 0, "asks for notice of the end");
    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    let list = flush(&mut gic, 0);
    assert!(!list[0].is_pending() && list[0].is_active());
    gic.sync(0, &[ended(list[0])], 0, &mut log);
    let list = flush(&mut gic, 0);
    assert!(list[0].is_pending(), "the line is still high");
    gic.set_line(0, UART, false, &mut log);
    gic.sync(0, &[list[0]], 0, &mut log);
    assert_eq!(flush(&mut gic, 0), [], "the line fell before the guest looked");
}

#[test]
fn passed_through_interrupts_are_linked() {
    let (mut gic, mut log) = running();
    gic.raise(1, TIMER, &mut log);
    gic.raise(0, DEVICE, &mut log);
    let (first, second) = (flush(&mut gic, 0), flush(&mut gic, 1));
    assert_eq!((first[0].intid(), first[0].physical()), (DEVICE, Some(36)));
    assert_eq!((second[0].intid(), second[0].physical()), (TIMER, Some(27)));
    // The guest's end deactivated it in hardware; nothing is left to do.
    gic.sync(0, &[ended(first[0])], 0, &mut log);
    assert_eq!(log.deactivated, []);
    assert_eq!(flush(&mut gic, 0), []);
    assert_eq!(gic.virtual_of(36), Some(DEVICE));
    assert_eq!(gic.virtual_of(37), None);
    assert_eq!(gic.physical().collect::<Vec<_>>(), [27, 36]);
}

#[test]
fn clearing_a_passed_through_interrupt_deactivates_it() {
    let (mut gic, mut log) = running();
    gic.raise(0, DEVICE, &mut log);
    gic.write_distributor(ICPENDR + 4, 4, 1 << 4, &mut log);
    assert_eq!(log.deactivated, [(0, 36)]);
    assert_eq!(flush(&mut gic, 0), []);

    // While vCPU 0 runs with it, vCPU 1 clears it.
    gic.raise(0, DEVICE, &mut log);
    let list = flush(&mut gic, 0);
    log = Log::default();
    gic.write_distributor(ICPENDR + 4, 4, 1 << 4, &mut log);
    assert_eq!((log.kicks.as_slice(), log.deactivated.len()), ([0].as_slice(), 0));
    gic.sync(0, &list, 0, &mut log);
    assert_eq!(log.deactivated, [(0, 36)]);

    gic.raise(1, TIMER, &mut log);
    let list = flush(&mut gic, 1);
    gic.sync(1, &[acknowledged(list[0])], 0, &mut log);
    gic.write_redistributor(REDISTRIBUTOR_SIZE + SGI_FRAME + ICACTIVER, 4, 1 << 27, &mut log);
    assert_eq!(log.deactivated.last(), Some(&(1, 27)));
}

#[test]
fn what_is_not_owned_is_raz_wi() {
    let (mut gic, mut log) = running();
    let bit = 1 << (FOREIGN - 32);
    for offset in [ISENABLER, ISPENDR, ISACTIVER] {
        gic.write_distributor(offset + 4, 4, u64::MAX, &mut log);
        assert_eq!(
            gic.read_distributor(offset + 4, 4),
            0b1_0010,
            "only those that are owned"
        );
        assert_eq!(gic.read_distributor(offset + 4, 4) & bit, 0);
    }
    gic.write_distributor(IPRIORITYR + u64::from(FOREIGN), 1, 0x50, &mut log);
    assert_eq!(gic.read_distributor(IPRIORITYR + u64::from(FOREIGN), 1), 0);
    gic.write_distributor(0x6000 + 8 * u64::from(FOREIGN), 8, 0x100, &mut log);
    assert_eq!(gic.read_distributor(0x6000 + 8 * u64::from(FOREIGN), 8), 0);
    assert_eq!(log.routed, []);
    gic.raise(0, FOREIGN, &mut log);
    assert!(flush(&mut gic, 0).iter().all(|entry| entry.intid() != FOREIGN));
    // The distributor shows nothing of private interrupts, and a redistributor nothing of SPIs.
    assert_eq!(gic.read_distributor(ISENABLER, 4), 0);
    assert_eq!(gic.read_redistributor(SGI_FRAME + ISENABLER + 4, 4), 0);
}

#[test]
fn enabling_and_disabling() {
    let (mut gic, mut log) = (gic(), Log::default());
    gic.raise(0, DEVICE, &mut log);
    assert_eq!((flush(&mut gic, 0).len(), log.kicks.len()), (0, 0), "not enabled");
    gic.write_distributor(ISENABLER + 4, 4, 1 << 4, &mut log);
    assert_eq!(flush(&mut gic, 0), [], "group not enabled");
    log = Log::default();
    gic.write_distributor(CTLR, 4, 2, &mut log);
    assert_eq!(log.kicks, [0]);
    assert_eq!(flush(&mut gic, 0).len(), 1);
    assert_eq!(gic.read_distributor(ICENABLER + 4, 4), 1 << 4);
}

#[test]
fn priorities_decide_and_the_rest_waits() {
    let mut gic = Vgic::new(&[0], 63);
    let mut log = Log::default();
    gic.write_distributor(CTLR, 4, 2, &mut log);
    gic.write_redistributor(SGI_FRAME + ISENABLER, 4, 0xffff, &mut log);
    for sgi in 0..6u32 {
        let priority = 0xf8 - u64::from(sgi) * 8;
        gic.write_redistributor(SGI_FRAME + IPRIORITYR + u64::from(sgi), 1, priority | 7, &mut log);
        assert_eq!(
            gic.read_redistributor(SGI_FRAME + IPRIORITYR + u64::from(sgi), 1),
            priority
        );
        gic.raise(0, sgi, &mut log);
    }
    let mut list = [ListRegister::EMPTY; 4];
    let flushed = gic.flush(0, &mut list);
    assert_eq!(
        flushed,
        Flushed {
            used: 4,
            pending_left: true,
            active_left: false
        }
    );
    assert_eq!(list.map(ListRegister::intid), [5, 4, 3, 2]);
    gic.sync(0, &list.map(ended), 0, &mut log);
    let flushed = gic.flush(0, &mut list);
    assert_eq!(
        flushed,
        Flushed {
            used: 2,
            pending_left: false,
            active_left: false
        }
    );
    assert_eq!(list.map(ListRegister::intid), [1, 0, 0, 0]);
}

#[test]
fn active_interrupts_without_room_are_ended_by_count() {
    let mut gic = Vgic::new(&[0], 63);
    let mut log = Log::default();
    gic.own(UART, Source::Virtual).unwrap();
    gic.own(DEVICE, Source::Hardware(50)).unwrap();
    gic.write_distributor(ISACTIVER + 4, 4, u64::MAX, &mut log);
    gic.write_distributor(IPRIORITYR + u64::from(UART), 1, 0x80, &mut log);
    let mut list = [ListRegister::EMPTY; 1];
    assert_eq!(
        gic.flush(0, &mut list),
        Flushed {
            used: 1,
            pending_left: false,
            active_left: true
        }
    );
    assert_eq!(list[0].intid(), DEVICE);
    gic.sync(0, &list, 1, &mut log);
    // The highest priority goes first, and is deactivated outside because no list register was linked.
    assert_eq!(log.deactivated, [(0, 50)]);
    assert_eq!(gic.flush(0, &mut list).used, 1);
    assert_eq!(list[0].intid(), UART);
}

#[test]
fn sgis_reach_whom_they_name() {
    let (mut gic, mut log) = running();
    let pending =
        |gic: &Vgic, vcpu| gic.read_redistributor(vcpu * REDISTRIBUTOR_SIZE + SGI_FRAME + ISPENDR, 4);
    // INTID 5 to affinity 0.0.1.0.
    gic.send_sgi(0, 5 << 24 | 1 << 16 | 1, &mut log);
    assert_eq!((pending(&gic, 0), pending(&gic, 1)), (0, 1 << 5));
    assert_eq!(log.kicks, [1]);
    // INTID 6 to all but the sender.
    gic.send_sgi(1, 1 << 40 | 6 << 24, &mut log);
    assert_eq!((pending(&gic, 0), pending(&gic, 1)), (1 << 6, 1 << 5));
    // To nobody who is there: another range, another cluster.
    gic.send_sgi(0, 1 << 44 | 7 << 24 | 1 << 16 | 1, &mut log);
    gic.send_sgi(0, 7 << 24 | 2 << 16 | 1, &mut log);
    assert_eq!((pending(&gic, 0), pending(&gic, 1)), (1 << 6, 1 << 5));
}

#[test]
fn an_sgi_that_comes_while_it_is_handled_is_not_lost() {
    let (mut gic, mut log) = running();
    gic.raise(1, 3, &mut log);
    let list = flush(&mut gic, 1);
    log = Log::default();
    gic.send_sgi(0, 3 << 24 | 1 << 16 | 1, &mut log);
    assert_eq!(log.kicks, [1], "vCPU 1 runs with it in a list register");
    gic.sync(1, &[acknowledged(list[0])], 0, &mut log);
    let list = flush(&mut gic, 1);
    assert!(list[0].is_pending() && list[0].is_active());
}

#[test]
fn spis_follow_their_route() {
    let (mut gic, mut log) = running();
    let route = 0x6000 + 8 * u64::from(DEVICE);
    gic.write_distributor(route, 8, 0x100, &mut log);
    assert_eq!(log.routed, [(36, 1)]);
    assert_eq!(gic.read_distributor(route, 8), 0x100);
    assert_eq!(
        (gic.read_distributor(route, 4), gic.read_distributor(route + 4, 4)),
        (0x100, 0)
    );
    gic.raise(0, DEVICE, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    let list = flush(&mut gic, 1);
    // While vCPU 1 handles it, it is routed back: it stays with who acknowledged it.
    gic.write_distributor(route, 4, 0, &mut log);
    gic.sync(1, &[acknowledged(list[0])], 0, &mut log);
    assert_eq!(flush(&mut gic, 0), []);
    let list = flush(&mut gic, 1);
    assert!(list[0].is_active());
    gic.sync(1, &[ended(list[0])], 0, &mut log);
    gic.raise(0, DEVICE, &mut log);
    assert_eq!(flush(&mut gic, 0).len(), 1);
    // A route to nobody changes nothing.
    gic.write_distributor(route, 8, 0x7_0000, &mut log);
    assert_eq!(gic.read_distributor(route, 8), 0);
}

#[test]
fn a_vcpu_that_is_turned_on_starts_clean() {
    let (mut gic, mut log) = running();
    gic.raise(1, TIMER, &mut log);
    gic.raise(1, 3, &mut log);
    gic.reset_vcpu(1, &mut log);
    assert_eq!(log.deactivated, [(1, 27)]);
    assert_eq!(flush(&mut gic, 1), []);
    assert_eq!(
        gic.read_redistributor(REDISTRIBUTOR_SIZE + SGI_FRAME + ISENABLER, 4),
        0
    );
    assert_eq!(
        gic.read_redistributor(SGI_FRAME + ISENABLER, 4),
        1 << 27 | 0xffff,
        "the other one's are as before"
    );
}

#[test]
fn active_state_that_another_vcpu_clears_goes_when_it_comes_back() {
    let (mut gic, mut log) = running();
    gic.raise(0, DEVICE, &mut log);
    let list = flush(&mut gic, 0);
    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    let list = flush(&mut gic, 0);
    log = Log::default();
    gic.write_distributor(ICACTIVER + 4, 4, 1 << 4, &mut log);
    assert_eq!(
        (log.kicks.as_slice(), log.deactivated.len()),
        ([0].as_slice(), 0),
        "vCPU 0 still has it"
    );
    gic.sync(0, &list, 0, &mut log);
    assert_eq!(log.deactivated, [(0, 36)]);
    assert_eq!(flush(&mut gic, 0), []);
}

#[test]
fn a_linked_interrupt_is_never_pending_and_active() {
    let (mut gic, mut log) = running();
    gic.write_distributor(ICFGR + 8, 4, 2 << 8, &mut log);
    gic.raise(0, DEVICE, &mut log);
    let list = flush(&mut gic, 0);
    gic.sync(0, &[acknowledged(list[0])], 0, &mut log);
    gic.write_distributor(ISPENDR + 4, 4, 1 << 4, &mut log);
    let list = flush(&mut gic, 0);
    assert!(list[0].is_active() && !list[0].is_pending());
    gic.sync(0, &[ended(list[0])], 0, &mut log);
    assert!(flush(&mut gic, 0)[0].is_pending(), "and not lost");
}

#[test]
fn an_edge_triggered_line_counts_its_rise_only() {
    let (mut gic, mut log) = running();
    gic.write_distributor(ICFGR + 8, 4, 2 << 2, &mut log);
    gic.set_line(0, UART, true, &mut log);
    let list = flush(&mut gic, 0);
    gic.sync(0, &[ended(acknowledged(list[0]))], 0, &mut log);
    gic.set_line(0, UART, true, &mut log);
    assert_eq!(flush(&mut gic, 0), [], "still high is no edge");
    gic.set_line(0, UART, false, &mut log);
    gic.set_line(0, UART, true, &mut log);
    assert_eq!(flush(&mut gic, 0).len(), 1);
}

#[test]
fn frames_are_apart_and_sgis_stay_edge_triggered() {
    let (mut gic, mut log) = (gic(), Log::default());
    gic.write_distributor(ISENABLER, 4, u64::MAX, &mut log);
    assert_eq!(gic.read_redistributor(SGI_FRAME + ISENABLER, 4), 0);
    gic.write_redistributor(SGI_FRAME + ISENABLER + 4, 4, u64::MAX, &mut log);
    assert_eq!(gic.read_distributor(ISENABLER + 4, 4), 0);
    gic.write_redistributor(SGI_FRAME + ICFGR, 4, 0, &mut log);
    assert_eq!(gic.read_redistributor(SGI_FRAME + ICFGR, 4), 0xaaaa_aaaa);
    gic.write_redistributor(SGI_FRAME + ICFGR + 4, 4, u64::MAX, &mut log);
    assert_eq!(
        gic.read_redistributor(SGI_FRAME + ICFGR + 4, 4),
        2 << 22,
        "the timer alone is there"
    );
}

#[test]
fn what_comes_before_it_is_owned_is_forgotten() {
    let mut gic = Vgic::new(&[0], 63);
    let mut log = Log::default();
    gic.raise(0, UART, &mut log);
    gic.write_distributor(ISPENDR + 4, 4, u64::MAX, &mut log);
    gic.own(UART, Source::Virtual).unwrap();
    assert_eq!(gic.read_distributor(ISPENDR + 4, 4), 0);
}

#[test]
fn numbers_are_owned_once() {
    let mut gic = gic();
    assert_eq!(gic.own(UART, Source::Virtual), Err(Error::Taken { intid: UART }));
    assert_eq!(gic.own(37, Source::Hardware(36)), Err(Error::Taken { intid: 37 }));
    assert_eq!(
        gic.own(3, Source::Virtual),
        Err(Error::NotOwnable { intid: 3, end: 64 })
    );
    assert_eq!(
        gic.own(64, Source::Virtual),
        Err(Error::NotOwnable { intid: 64, end: 64 })
    );
    assert_eq!(
        gic.own(38, Source::Hardware(27)),
        Err(Error::NotPhysical { physical: 27 })
    );
    assert_eq!(
        gic.own(38, Source::Hardware(1020)),
        Err(Error::NotPhysical { physical: 1020 })
    );
    assert_eq!(Vgic::new(&[0], 5000).end(), 1020);
    assert_eq!(Vgic::new(&[], 0).end(), 32);
}
