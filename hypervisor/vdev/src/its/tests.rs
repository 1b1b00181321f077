//! The virtual ITS, one behaviour at a time.

use super::*;
use crate::vgic::{LPI_FIRST, ListRegister, REDISTRIBUTOR_SIZE};

pub(super) const CTLR: u64 = 0x0;
pub(super) const TYPER: u64 = 0x8;
pub(super) const CBASER: u64 = 0x80;
pub(super) const CWRITER: u64 = 0x88;
pub(super) const CREADR: u64 = 0x90;
pub(super) const BASER: u64 = 0x100;

/// Guest memory: the command queue, one page, and the configuration table.
pub(super) const QUEUE: u64 = 0x4000_0000;
pub(super) const TABLE: u64 = 0x4001_0000;
/// A disk with 8 messages at 00:01.0, and another one with 4 at 00:02.0.
pub(super) const DEVICES: [(u32, u32); 2] = [(0x08, 8), (0x10, 4)];
const DISK: u32 = 0x08;
const FIRST: u32 = LPI_FIRST;

/// RAM from [`QUEUE`] on; how often it was read.
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) reads: usize,
}

impl GuestMemory for Memory {
    fn read(&mut self, ipa: u64, into: &mut [u8]) -> Result<(), NotRam> {
        self.reads += 1;
        let start = usize::try_from(ipa.checked_sub(QUEUE).ok_or(NotRam)?).map_err(|_| NotRam)?;
        let bytes = self.bytes.get(start..start + into.len()).ok_or(NotRam)?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Kicks(pub(super) Vec<usize>);

impl Outside for Kicks {
    fn kick(&mut self, vcpu: usize) {
        self.0.push(vcpu);
    }
    fn deactivate(&mut self, _: usize, _: u32) {
        panic!("LPIs have nothing physical");
    }
    fn route(&mut self, _: u32, _: usize) {
        panic!("LPIs have nothing physical");
    }
}

pub(super) struct Guest {
    pub(super) its: Its,
    pub(super) gic: Vgic,
    pub(super) memory: Memory,
    pub(super) kicks: Kicks,
    /// Where the guest puts its next command.
    pub(super) next: u64,
}

impl Guest {
    /// Nothing is set up yet.
    pub(super) fn new() -> Guest {
        let bytes = vec![0; 0x2_0000];
        Guest {
            its: Its::new(&DEVICES),
            gic: Vgic::with_lpis(&[0, 1], 63, Its::lpis(&DEVICES)),
            memory: Memory { bytes, reads: 0 },
            kicks: Kicks::default(),
            next: 0,
        }
    }

    /// As Linux sets it up, on both CPUs, and with 8 events of the disk that are enabled.
    pub(super) fn running() -> Guest {
        let mut guest = Guest::new();
        guest.gic.write_distributor(0, 4, 2, &mut guest.kicks);
        guest.write(CBASER, 8, 1 << 63 | QUEUE);
        guest.write(CTLR, 4, 1);
        for vcpu in 0..2 {
            guest.start_redistributor(vcpu);
            guest.send(&[mapc(vcpu as u64, Some(vcpu as u64)), sync(vcpu as u64)]);
        }
        guest.memory.bytes[0x1_0000..0x1_4000].fill(0xa1);
        guest.send(&[mapd(DISK, Some(5))]);
        for event in 0..8 {
            guest.send(&[mapti(DISK, event, FIRST + event, 0), sync(0)]);
        }
        guest
    }

    pub(super) fn start_redistributor(&mut self, vcpu: usize) {
        let base = REDISTRIBUTOR_SIZE * vcpu as u64;
        let (gic, kicks) = (&mut self.gic, &mut self.kicks);
        gic.write_redistributor(base + 0x70, 8, TABLE | 1 << 10 | 7 << 7 | 13, kicks);
        gic.write_redistributor(base + 0x78, 8, 1 << 62 | 0x4002_0000 | 1 << 10, kicks);
        gic.write_redistributor(base, 4, 1, kicks);
    }

    pub(super) fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.its.write(
            offset,
            size,
            value,
            &mut self.gic,
            &mut self.memory,
            &mut self.kicks,
        );
    }

    /// Puts commands into the ring and tells of them.
    pub(super) fn send(&mut self, commands: &[[u64; 4]]) {
        for command in commands {
            let bytes: Vec<u8> = command.iter().flat_map(|word| word.to_le_bytes()).collect();
            let at = usize::try_from(self.next).unwrap();
            self.memory.bytes[at..at + 32].copy_from_slice(&bytes);
            self.next = (self.next + 32) % 0x1000;
        }
        self.write(CWRITER, 8, self.next);
    }

    pub(super) fn signal(&mut self, device: u32, event: u32) {
        self.its.signal(device, event, &mut self.gic, &mut self.kicks);
    }

    /// Enters and leaves a vCPU, which acknowledges and ends everything that it is given.
    pub(super) fn take(&mut self, vcpu: usize) -> Vec<u32> {
        let mut list = [ListRegister::EMPTY; 4];
        let mut taken = Vec::new();
        while self.gic.flush(vcpu, &mut list).used > 0 {
            let pending = list.iter().filter(|entry| entry.is_pending());
            taken.extend(pending.map(|entry| entry.intid()));
            let ended = list.map(|entry| ListRegister(entry.0 & !(3 << 62)));
            self.gic.sync(vcpu, &ended, 0, &mut self.kicks);
        }
        taken
    }
}

pub(super) fn mapd(device: u32, event_bits: Option<u64>) -> [u64; 4] {
    let valid = event_bits.map_or(0, |_| 1 << 63);
    let size = event_bits.map_or(0, |bits| bits - 1);
    [u64::from(device) << 32 | 0x08, size, valid | 0x4003_0000, 0]
}

pub(super) fn mapc(collection: u64, redistributor: Option<u64>) -> [u64; 4] {
    let target = redistributor.map_or(0, |number| 1 << 63 | number << 16);
    [0x09, 0, target | collection, 0]
}

pub(super) fn mapti(device: u32, event: u32, intid: u32, collection: u64) -> [u64; 4] {
    let second = u64::from(intid) << 32 | u64::from(event);
    [u64::from(device) << 32 | 0x0a, second, collection, 0]
}

/// MOVI, and with collection zero DISCARD, INV, INT, CLEAR.
pub(super) fn about(opcode: u64, device: u32, event: u32, collection: u64) -> [u64; 4] {
    [u64::from(device) << 32 | opcode, event.into(), collection, 0]
}

pub(super) fn movall(from: u64, to: u64) -> [u64; 4] {
    [0x0e, 0, from << 16, to << 16]
}

pub(super) fn invall(collection: u64) -> [u64; 4] {
    [0x0d, 0, collection, 0]
}

fn sync(redistributor: u64) -> [u64; 4] {
    [0x05, 0, redistributor << 16, 0]
}

const MOVI: u64 = 0x01;
const INT: u64 = 0x03;
const CLEAR: u64 = 0x04;
const INV: u64 = 0x0c;
const DISCARD: u64 = 0x0f;

/// What Linux' `irq-gic-v3-its.c` does, from probing to freeing an interrupt, and what it checks.
#[test]
fn linux_gets_its_interrupts() {
    let mut guest = Guest::new();
    // Probing.
    assert_eq!(guest.its.read(0xffe8, 4) & 0xf0, 0x30);
    assert_eq!(guest.its.read(CTLR, 4), 1 << 31, "off and quiescent");
    let typer = guest.its.read(TYPER, 8);
    assert_eq!(typer & 0xf, 1, "physical LPIs");
    assert_eq!((typer >> 13 & 0x1f) + 1, 16, "device ID bits");
    assert_eq!((typer >> 8 & 0x1f) + 1, 16, "event ID bits");
    assert_eq!(typer >> 18 & 3, 0, "redistributors have numbers");
    assert!(typer >> 24 & 0xff > 64 && typer >> 36 == 0, "collections");
    for baser in 0..8 {
        guest.write(BASER + 8 * baser, 8, 0);
        assert_eq!(guest.its.read(BASER + 8 * baser, 8), 0, "no table is wanted");
    }
    let cbaser = 1 << 63 | 7 << 59 | QUEUE | 1 << 10 | 0xf;
    guest.write(CBASER, 8, cbaser);
    assert_eq!(guest.its.read(CBASER, 8), cbaser);
    guest.write(CWRITER, 8, 0);
    guest.write(CTLR, 4, 1);
    assert_eq!(guest.its.read(CTLR, 4), 1 | 1 << 31);

    // Each CPU: tables that keep their attributes, LPIs on, a collection.
    guest.gic.write_distributor(0, 4, 2, &mut guest.kicks);
    for vcpu in 0..2u64 {
        let base = REDISTRIBUTOR_SIZE * vcpu;
        assert_eq!(guest.gic.read_redistributor(base + 8, 8) & 1, 1);
        assert_eq!(guest.gic.read_redistributor(base, 4) & 1, 0);
        guest.start_redistributor(usize::try_from(vcpu).unwrap());
        assert_eq!(guest.gic.read_redistributor(base + 0x70, 8) & 0xc00, 1 << 10);
        assert_eq!(guest.gic.read_redistributor(base + 0x78, 8) & 0xc00, 1 << 10);
        let number = guest.gic.read_redistributor(base + 8, 8) >> 8 & 0xffff;
        guest.send(&[mapc(vcpu, Some(number)), sync(number)]);
        guest.send(&[invall(vcpu), sync(number)]);
        assert_eq!(guest.its.read(CREADR, 8), guest.next, "all done at once");
    }

    // A driver asks for interrupts: the table has them off, at priority 0xa0.
    guest.memory.bytes[0x1_0000..0x1_4000].fill(0xa2);
    let event = 3;
    let intid = FIRST + 32 + event;
    guest.send(&[mapd(DISK, Some(5))]);
    guest.send(&[mapti(DISK, event, intid, 0), sync(0)]);
    assert_eq!(guest.its.translate(DISK, event), Some(Target { vcpu: 0, intid }));
    guest.signal(DISK, event);
    assert_eq!(guest.take(0), [], "masked");
    guest.memory.bytes[0x1_0000 + 32 + 3] |= 1;
    guest.send(&[about(INV, DISK, event, 0), sync(0)]);
    assert_eq!(guest.take(0), [intid], "unmasked, and not lost");
    guest.signal(DISK, event);
    guest.signal(DISK, event);
    assert_eq!(guest.take(0), [intid]);

    // It goes to the other CPU.
    guest.send(&[about(MOVI, DISK, event, 1), sync(0)]);
    guest.kicks.0.clear();
    guest.signal(DISK, event);
    assert_eq!(guest.kicks.0, [1]);
    assert_eq!((guest.take(0), guest.take(1)), (vec![], vec![intid]));

    // It is freed.
    guest.signal(DISK, event);
    guest.memory.bytes[0x1_0000 + 32 + 3] &= !1;
    guest.send(&[about(INV, DISK, event, 0), sync(1)]);
    guest.send(&[about(DISCARD, DISK, event, 0), sync(1)]);
    guest.send(&[mapd(DISK, None)]);
    guest.signal(DISK, event);
    assert_eq!((guest.take(0), guest.take(1)), (vec![], vec![]));
    assert_eq!(guest.its.translate(DISK, event), None);
    assert_eq!(guest.its.read(CREADR, 8), guest.next);
}

#[test]
fn wrong_commands_change_nothing() {
    let mut guest = Guest::running();
    let wrong = [
        ("nobody's device", mapd(0x18, Some(5))),
        ("more events than the ITS has", mapd(DISK, Some(17))),
        ("the device is not mapped", mapti(0x10, 0, FIRST + 9, 0)),
        ("an event beyond the device's", mapti(DISK, 8, FIRST + 9, 0)),
        ("an event beyond all", mapti(DISK, u32::MAX, FIRST + 9, 0)),
        ("no LPI", mapti(DISK, 0, 27, 0)),
        ("an LPI beyond the last", mapti(DISK, 0, guest.gic.lpis().end, 0)),
        ("a collection beyond the last", mapti(DISK, 0, FIRST + 9, 65)),
        ("a redistributor that is not there", mapc(0, Some(2))),
        ("one far beyond", mapc(0, Some(0x7_ffff_ffff))),
        ("a collection beyond the last", mapc(65, Some(1))),
        ("an unmapped collection", about(MOVI, DISK, 0, 9)),
        ("MOVI of an unmapped event", about(MOVI, 0x10, 0, 1)),
        ("MOVALL from nowhere", movall(2, 1)),
        ("MOVALL to nowhere", movall(0, 2)),
        ("MAPI with an event that is no LPI", about(0x0b, DISK, 0, 1)),
        ("INT of an unmapped event", about(INT, 0x10, 0, 0)),
        ("CLEAR", about(CLEAR, 0x10, 0, 0)),
        ("INV", about(INV, DISK, 99, 0)),
        ("DISCARD", about(DISCARD, DISK, 99, 0)),
        ("INVALL", invall(9)),
        ("VMAPTI", [0x2a, 0, 0, 0]),
        ("no command", [0xff, u64::MAX, u64::MAX, u64::MAX]),
    ];
    for (what, command) in wrong {
        guest.send(&[command]);
        assert_eq!(guest.its.read(CREADR, 8), guest.next, "{what}: goes on");
        for event in 0..8 {
            let target = Some(Target {
                vcpu: 0,
                intid: FIRST + event,
            });
            assert_eq!(guest.its.translate(DISK, event), target, "{what}");
        }
        assert_eq!(guest.its.translate(0x10, 0), None, "{what}");
        assert_eq!(guest.its.translate(0x18, 0), None, "{what}");
        guest.signal(DISK, 0);
        assert_eq!((guest.take(0), guest.take(1)), (vec![FIRST], vec![]), "{what}");
    }
}

#[test]
fn events_are_those_of_mapd_too() {
    let mut guest = Guest::running();
    guest.send(&[
        mapd(DISK, Some(1)),
        mapti(DISK, 1, FIRST, 0),
        mapti(DISK, 2, FIRST, 0),
    ]);
    assert!(guest.its.translate(DISK, 1).is_some());
    assert_eq!(guest.its.translate(DISK, 2), None);
    assert_eq!(
        guest.its.translate(DISK, 0),
        None,
        "mapped anew, it has no events"
    );
}

#[test]
fn int_and_clear_are_what_they_say() {
    let mut guest = Guest::running();
    guest.send(&[
        about(INT, DISK, 1, 0),
        about(INT, DISK, 2, 0),
        about(CLEAR, DISK, 1, 0),
    ]);
    assert_eq!(guest.take(0), [FIRST + 2]);
    guest.send(&[mapd(0x10, Some(14)), about(0x0b, 0x10, 3, 0)]);
    assert_eq!(
        guest.its.translate(0x10, 3),
        None,
        "MAPI: event 3 is no LPI's number"
    );
}

#[test]
fn mapping_an_event_again_forgets_the_old_lpi() {
    let mut guest = Guest::running();
    guest.signal(DISK, 0);
    guest.send(&[mapti(DISK, 0, FIRST + 20, 1)]);
    assert_eq!(guest.take(0), []);
    guest.signal(DISK, 0);
    assert_eq!((guest.take(0), guest.take(1)), (vec![], vec![FIRST + 20]));
}

#[test]
fn collections_and_redistributors_move_their_lpis() {
    let mut guest = Guest::running();
    guest.signal(DISK, 0);
    guest.send(&[mapc(0, Some(1))]);
    guest.signal(DISK, 1);
    assert_eq!((guest.take(0), guest.take(1)), (vec![], vec![FIRST, FIRST + 1]));
    guest.signal(DISK, 0);
    guest.send(&[movall(1, 0)]);
    assert_eq!((guest.take(0), guest.take(1)), (vec![FIRST], vec![]));
    guest.signal(DISK, 0);
    assert_eq!(guest.take(1), [FIRST], "its collection is still there");
    guest.send(&[mapc(0, None)]);
    guest.signal(DISK, 0);
    assert_eq!((guest.take(0), guest.take(1)), (vec![], vec![]));
}

#[test]
fn invall_is_about_one_collection() {
    let mut guest = Guest::running();
    guest.send(&[about(MOVI, DISK, 1, 1)]);
    guest.memory.bytes[0x1_0000..0x1_0008].fill(0xa0);
    guest.send(&[invall(1)]);
    guest.signal(DISK, 0);
    guest.signal(DISK, 1);
    assert_eq!((guest.take(0), guest.take(1)), (vec![FIRST], vec![]));
    guest.memory.reads = 0;
    guest.send(&[invall(0)]);
    assert_eq!(guest.memory.reads, 1 + guest.gic.lpis().len() / 64);
    guest.signal(DISK, 0);
    assert_eq!(guest.take(0), []);
}

#[test]
fn a_queue_outside_of_ram_stalls_until_the_guest_retries() {
    let mut guest = Guest::running();
    guest.write(CTLR, 4, 0);
    guest.write(CBASER, 8, 1 << 63 | 0x1000);
    guest.write(CTLR, 4, 1);
    guest.write(CWRITER, 8, 0x40);
    assert_eq!(guest.its.read(CREADR, 8), 1, "stalled");
    assert!(!guest.its.has_work());
    let reads = guest.memory.reads;
    guest.write(CWRITER, 8, 0x60);
    assert_eq!((guest.its.read(CREADR, 8), guest.memory.reads), (1, reads));
    guest.write(CWRITER, 8, 0x61);
    assert_eq!(guest.memory.reads, reads + 1, "tried once more");
    assert_eq!(guest.its.read(CWRITER, 8), 0x60, "`Retry` is not kept");
    guest.write(CTLR, 4, 0);
    guest.write(CBASER, 8, 1 << 63 | QUEUE);
    assert_eq!(guest.its.read(CREADR, 8), 0, "a new queue is not stalled");
}

#[test]
fn a_write_does_a_bounded_number_of_commands() {
    let mut guest = Guest::running();
    let start = guest.next;
    guest.memory.reads = 0;
    let commands: Vec<_> = (0..100).map(|_| about(INT, DISK, 0, 0)).collect();
    guest.send(&commands);
    let at = |commands: u64| (start + 32 * commands) % 0x1000;
    assert_eq!(guest.its.read(CREADR, 8), at(BUDGET.into()));
    assert_eq!(guest.memory.reads, BUDGET as usize);
    assert!(guest.its.has_work());
    assert_eq!(guest.its.read(CTLR, 4), 1, "not quiescent");
    guest.its.run(&mut guest.gic, &mut guest.memory, &mut guest.kicks);
    assert_eq!(guest.its.read(CREADR, 8), at(100));
    assert!(!guest.its.has_work());

    let start = guest.next;
    guest.send(&[invall(0); 10]);
    let done = (guest.its.read(CREADR, 8) + 0x1000 - start) % 0x1000 / 32;
    assert!((1..10).contains(&done), "long ones count for more: {done}");
}

#[test]
fn the_queue_is_a_ring() {
    let mut guest = Guest::running();
    for round in 0..300 {
        guest.send(&[about(INT, DISK, round % 8, 0), sync(0)]);
        assert_eq!(guest.take(0), [FIRST + round % 8]);
    }
    guest.write(CWRITER, 8, 0x2000);
    assert_eq!(
        guest.its.read(CWRITER, 8),
        guest.next,
        "beyond its end is ignored"
    );
}

#[test]
fn registers_are_read_and_written_by_halves() {
    let mut guest = Guest::new();
    guest.write(CBASER, 4, QUEUE | 0xfff);
    guest.write(CBASER + 4, 4, 0xffff_ffff);
    assert_eq!(guest.its.read(CBASER, 8), 0xb8ef_ffff_4000_0cff);
    assert_eq!(guest.its.read(CBASER + 4, 4), 0xb8ef_ffff);
    guest.write(CWRITER, 4, 0x40);
    guest.write(CWRITER + 4, 4, 0xffff_ffff);
    assert_eq!(guest.its.read(CWRITER, 8), 0x40);
    assert_eq!(
        guest.its.read(TYPER, 4) | guest.its.read(TYPER + 4, 4) << 32,
        guest.its.read(TYPER, 8)
    );
    guest.write(CREADR, 8, 0x80);
    assert_eq!(guest.its.read(CREADR, 8), 0, "read only");
    for (offset, size) in [
        (CBASER, 1),
        (CBASER, 2),
        (CBASER + 1, 4),
        (CBASER + 4, 8),
        (CONTROL_SIZE + 0x40, 4),
    ] {
        guest.write(offset, size, u64::MAX);
        assert_eq!(guest.its.read(offset, size), 0);
    }
    assert_eq!(guest.its.read(CBASER, 8), 0xb8ef_ffff_4000_0cff);
    guest.write(CTLR, 4, 1);
    guest.write(CBASER, 8, 0);
    assert_ne!(guest.its.read(CBASER, 8), 0, "not while it is on");
}

#[test]
fn off_it_does_nothing() {
    let mut guest = Guest::running();
    guest.write(CTLR, 4, 0);
    assert_eq!(guest.its.translate(DISK, 0), None);
    guest.send(&[about(INT, DISK, 0, 0)]);
    assert_eq!(guest.take(0), []);
    guest.write(CTLR, 4, 1);
    assert_eq!(guest.take(0), [FIRST], "the command waited");
}

#[test]
fn there_are_lpis_for_what_linux_takes() {
    assert_eq!(Its::lpis(&[]), 0);
    assert_eq!(Its::lpis(&DEVICES), 64);
    assert_eq!(Its::lpis(&[(1, 33), (2, 65)]), 64 + 128);
    assert_eq!(Its::lpis(&[(1, u32::MAX), (2, u32::MAX)]), 2 * MOST_LPIS);
}
