//! Event codes and layouts, the event queue, interrupts.

use super::rig::*;
use crate::v3::{Config, DmaOutcome, Event, Fault, Line, Overflow};
use crate::{Rule, v3::Smmu};
use mmio::{Bus, TableMemory};

const IPA: u64 = 0x4000_0000;

#[test]
fn a_translation_fault_is_laid_out_as_measured() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    rig.faults(IPA + 0x345);
    let words = rig.smmu.queued_events()[0].words;
    assert_eq!(words, [0x10_0000_0010, 0x0288_0000_0000, IPA + 0x345, IPA]);
    rig.blocked(IPA, true, Event::F_TRANSLATION);
    assert_eq!(
        rig.smmu.queued_events()[1].words[1],
        0x0280_0000_0000,
        "RnW is clear for a write"
    );
}

#[test]
fn disabled_with_gbpa_as_reset_is_wide_open() {
    let rig = Rig::disabled(Config::qemu10());
    assert_eq!(rig.dma(IPA, true), DmaOutcome::Bypassed { pa: IPA });
    rig.shut();
    assert_eq!(rig.read(GBPA), 0x0010_1000);
    assert_eq!(rig.dma(IPA, true), DmaOutcome::Aborted { event: None });
    assert_eq!(rig.smmu.queued_events(), []);
}

#[test]
fn an_invalid_entry_records_bad_ste_and_an_abort_entry_nothing() {
    let rig = Rig::new(Config::qemu10());
    rig.blocked(IPA, false, Event::C_BAD_STE);
    assert!(rig.smmu.take_irq(Line::EventQueue));
    assert_eq!(rig.smmu.queued_events()[0].words, [0x10_0000_0004, 0, 0, 0]);
    rig.replace_entry(STREAM, ABORT);
    assert_eq!(rig.dma(IPA, false), DmaOutcome::Aborted { event: None });
}

#[test]
fn a_stream_outside_the_table_records_bad_streamid_if_asked_to() {
    let rig = Rig::new(Config::qemu10());
    assert_eq!(
        rig.smmu.dma(0x400, IPA, false).event_kind(),
        Some(Event::C_BAD_STREAMID)
    );
    // Level-1 descriptor 1 has Span 0.
    assert_eq!(
        rig.smmu.dma(0x123, IPA, false).event_kind(),
        Some(Event::C_BAD_STREAMID)
    );
    rig.set_cr0(0xc);
    rig.write(CR2, 0);
    rig.set_cr0(0xd);
    assert_eq!(
        rig.smmu.dma(0x400, IPA, false),
        DmaOutcome::Aborted { event: None }
    );
}

#[test]
fn faults_of_the_walk_have_their_codes() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_page(IPA, 0x5000_0000, RO);
    tree.map_page(IPA + PAGE, 0x5000_0000, RW & !(1 << 10));
    tree.map_page(IPA + 2 * PAGE, 1 << 44, RW);
    tree.map_page(IPA + 3 * PAGE, 0x5000_0000, RW & !(1 << 6));
    tree.map_page(IPA + 4 * PAGE, 1 << 48, RW);
    rig.blocked(IPA, true, Event::F_PERMISSION);
    rig.blocked(IPA + PAGE, false, Event::F_ACCESS);
    rig.blocked(IPA + 2 * PAGE, false, Event::F_ADDR_SIZE);
    rig.blocked(IPA + 3 * PAGE, false, Event::F_PERMISSION);
    rig.blocked(IPA + 4 * PAGE, false, Event::F_ADDR_SIZE);
    assert_eq!(
        rig.dma(IPA + 3 * PAGE, true).translated(),
        Some(0x5000_0000),
        "write-only"
    );
    assert!(rig.smmu.queued_events().iter().all(Event::is_stage2));
}

#[test]
fn the_access_flag_is_ignored_when_s2affd_says_so() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.tree();
    tree.map_page(IPA, 0x5000_0000, RW & !(1 << 10));
    let mut words = stage2_entry(tree.root, VMID);
    words[2] |= 1 << 53;
    rig.replace_entry(STREAM, words);
    assert_eq!(rig.reaches(IPA), 0x5000_0000);
}

#[test]
fn without_s2r_a_fault_is_silent() {
    let rig = Rig::new(Config::qemu10());
    let tree = rig.tree();
    let mut words = stage2_entry(tree.root, VMID);
    words[2] &= !(1 << 58);
    rig.replace_entry(STREAM, words);
    assert_eq!(rig.dma(IPA, false), DmaOutcome::Aborted { event: None });
}

#[test]
fn a_root_outside_memory_is_a_walk_abort() {
    let rig = Rig::new(Config::qemu10());
    rig.replace_entry(STREAM, stage2_entry(0x1000_0000, VMID));
    rig.blocked(IPA, false, Event::F_WALK_EABT);
    assert_eq!(rig.smmu.queued_events()[0].page(), 0x1000_0008);
}

#[test]
fn a_stream_table_outside_memory_is_a_fetch_fault() {
    let rig = Rig::disabled(Config::linear_only());
    rig.shut();
    rig.enable_queues();
    rig.commands(&[CFGI_ALL, TLBI_ALL]);
    rig.smmu.write64(STRTAB_BASE, 0x1000_0000);
    rig.set_cr0(0xd);
    rig.smmu.violations().expect(Rule::NotAllocated);
    rig.blocked(IPA, false, Event::F_STE_FETCH);
    assert_eq!(
        rig.smmu.queued_events()[0].page(),
        0x1000_0000 + 64 * u64::from(STREAM)
    );
}

#[test]
fn an_address_beyond_the_output_size_is_an_address_size_fault() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    rig.blocked(1 << 44, false, Event::F_ADDR_SIZE);
    rig.faults(1 << 39);
}

#[test]
fn an_access_across_the_end_of_a_page_is_two_accesses() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_page(IPA, 0x5000_0000, RW);
    for word in 0..64 {
        let ipa = IPA + PAGE - 128 + word * 4;
        if ipa < IPA + PAGE {
            rig.reaches(ipa);
        } else if rig.smmu.queued_events().len() < 16 {
            rig.faults(ipa);
        }
    }
    assert_eq!(
        rig.smmu.queued_events().len(),
        16,
        "one event per blocked access, until the queue is full"
    );
}

fn consume_all(rig: &Rig) {
    let prod = rig.read(EVENTQ_PROD);
    rig.write(EVENTQ_CONS, prod);
}

#[test]
fn a_full_queue_flags_the_overflow_once_until_it_is_acknowledged() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    for _ in 0..16 {
        rig.faults(IPA);
    }
    assert_eq!(rig.read(EVENTQ_PROD), 0x10);
    rig.faults(IPA);
    rig.faults(IPA);
    assert_eq!(rig.read(EVENTQ_PROD), 0x8000_0010);
    // Room, but no acknowledgement: events are taken, a further overflow is not told apart.
    rig.write(EVENTQ_CONS, 0x0000_0010);
    rig.faults(IPA);
    assert_eq!(rig.read(EVENTQ_PROD), 0x8000_0011);
    consume_all(&rig);
    assert_eq!(rig.read(EVENTQ_CONS), 0x8000_0011);
    for _ in 0..17 {
        rig.faults(IPA);
    }
    assert_eq!(rig.read(EVENTQ_PROD) >> 31, 0, "toggled again");
    assert_eq!(rig.read(GERROR), 0);
}

#[test]
fn a_full_queue_may_be_a_queue_abort_as_in_qemu() {
    let rig = Rig::new(Config {
        overflow: Overflow::QueueAbort,
        ..Config::qemu10()
    });
    let _tree = rig.attached();
    for _ in 0..17 {
        rig.faults(IPA);
    }
    assert_eq!((rig.read(EVENTQ_PROD), rig.read(GERROR)), (0x10, 4));
    assert!(rig.smmu.take_irq(Line::GlobalError));
    consume_all(&rig);
    rig.write(GERRORN, 4);
    rig.faults(IPA);
    assert_eq!(rig.read(EVENTQ_PROD), 0x11);
}

#[test]
fn an_interrupt_is_an_edge_from_empty_to_not_empty() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    rig.faults(IPA);
    rig.faults(IPA);
    assert!(rig.smmu.take_irq(Line::EventQueue));
    assert!(!rig.smmu.take_irq(Line::EventQueue));
    rig.write(EVENTQ_CONS, 1);
    rig.faults(IPA);
    assert!(!rig.smmu.take_irq(Line::EventQueue), "the queue was never empty");
    consume_all(&rig);
    rig.faults(IPA);
    assert!(rig.smmu.take_irq(Line::EventQueue));
}

#[test]
fn an_interrupt_that_is_not_enabled_is_lost() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    rig.write(IRQ_CTRL, 0);
    rig.clock.advance(5);
    rig.faults(IPA);
    rig.write(IRQ_CTRL, 5);
    rig.clock.advance(5);
    assert!(!rig.smmu.take_irq(Line::EventQueue));
}

#[test]
fn indices_of_the_event_queue_are_checked() {
    let tried = |value: u32| {
        let rig = Rig::new(Config::qemu10());
        let _tree = rig.attached();
        rig.faults(IPA);
        rig.write(EVENTQ_CONS, value);
        rig.smmu
            .violations()
            .take()
            .iter()
            .map(|violation| violation.rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(tried(1), []);
    assert_eq!(tried(2), [Rule::QueueIndex], "past PROD");
    assert_eq!(
        tried(0x8000_0001),
        [Rule::QueueIndex],
        "no overflow to acknowledge"
    );
    assert_eq!(tried(0x40), [Rule::QueueIndex], "wider than the queue");
}

#[test]
fn a_write_abort_of_the_event_queue_is_a_global_error() {
    let rig = Rig::new(Config::qemu10());
    rig.smmu.inject(Fault::EventQueueAbort);
    rig.blocked(IPA, false, Event::C_BAD_STE);
    assert_eq!(rig.read(GERROR), 4);
    assert!(rig.smmu.take_irq(Line::GlobalError));
    rig.write(GERRORN, 4);
    assert_eq!(rig.smmu.queued_events(), []);
}

fn stalled(rig: &Rig) -> u16 {
    match rig.dma(IPA, true) {
        DmaOutcome::Stalled { event } => event.stall_tag().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stalled_access_goes_on_or_ends_as_resume_says() {
    let rig = Rig::new(Config::stall_optional());
    let mut tree = rig.tree();
    let mut words = stage2_entry(tree.root, VMID);
    words[2] |= 1 << 57;
    rig.replace_entry(STREAM, words);
    let (first, second, third) = (stalled(&rig), stalled(&rig), stalled(&rig));
    assert_eq!(rig.smmu.take_resumed(first), None);
    tree.map_page(IPA, 0x5000_0000, RW);
    let stream = u64::from(STREAM) << 32;
    rig.commands(&[
        [0x44 | stream | 1 << 12, first.into()],
        [0x44 | stream | 2 << 12, second.into()],
    ]);
    assert_eq!(
        rig.smmu
            .take_resumed(first)
            .and_then(|outcome| outcome.translated()),
        Some(0x5000_0000)
    );
    assert_eq!(
        rig.smmu.take_resumed(second),
        Some(DmaOutcome::Aborted { event: None })
    );
    rig.commands(&[[0x45 | stream, 0]]);
    assert_eq!(
        rig.smmu.take_resumed(third),
        Some(DmaOutcome::Aborted { event: None })
    );
}

#[test]
fn an_event_over_an_unpublished_write_is_reported() {
    let rig = Rig::new(Config::non_coherent());
    rig.memory.clone().write(rig.event_queue.address, 1);
    rig.blocked(IPA, false, Event::C_BAD_STE);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn two_smmus_share_a_memory_and_a_clock() {
    let rig = Rig::new(Config::qemu10());
    let other = Smmu::new(Config::qemu10(), &rig.memory, &rig.clock);
    other.write32(GBPA, 1 << 31 | 1 << 20);
    rig.clock.advance(5);
    assert_eq!(other.dma(STREAM, IPA, true), DmaOutcome::Aborted { event: None });
    rig.blocked(IPA, true, Event::C_BAD_STE);
}
