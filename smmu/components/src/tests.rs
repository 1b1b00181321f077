//! The glue over a core that is played by the test, and a driver that remembers what it was asked.
#![expect(
    unsafe_code,
    reason = "the tests call the component as the core does, through C pointers"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a test makes several such calls in a row"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and sizes of the test itself"
)]

use crate::*;
use core::ptr;
use driver_abi::{
    ABI_VERSION, Context, DriverOps, FaultKind, HostServices, Instance, LogLevel, MAX_STREAMS, MappedMemory,
    SmmuInfo, access,
};
use mmio::{Block, Bus, Clock, TableMemory};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Blocks that the core gave out, and what it was told. One test at a time uses it.
static CORE: Mutex<Option<Core>> = Mutex::new(None);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Default)]
struct Core {
    blocks: BTreeMap<u64, Layout>,
    cleaned: Vec<(u64, u64)>,
    faults: Vec<(Instance, FaultRecord)>,
    lines: Vec<String>,
}

fn core<T>(look: impl FnOnce(&mut Core) -> T) -> T {
    look(CORE.lock().unwrap().get_or_insert_default())
}

const CONTEXT: Context = Context(0x5_0000_0001);

unsafe extern "C" fn allocate(context: Context, size: u64, align: u64, out: *mut MappedMemory) -> Status {
    assert_eq!(context, CONTEXT);
    if size > 1 << 20 {
        return Status::NO_MEMORY;
    }
    let layout = Layout::from_size_align(size as usize, align as usize).unwrap();
    // SAFETY: the size is not zero; `out` is the glue's local variable.
    let address = unsafe {
        let address = alloc_zeroed(layout).expose_provenance() as u64;
        *out = MappedMemory { address, size };
        address
    };
    core(|core| core.blocks.insert(address, layout));
    Status::OK
}

unsafe extern "C" fn free(_: Context, address: u64) -> Status {
    let Some(layout) = core(|core| core.blocks.remove(&address)) else {
        return Status::INVALID;
    };
    // SAFETY: `allocate` made this block with this layout.
    unsafe { dealloc(ptr::with_exposed_provenance_mut(address as usize), layout) };
    Status::OK
}

unsafe extern "C" fn clean(_: Context, address: u64, size: u64) -> Status {
    core(|core| core.cleaned.push((address, size)));
    Status::OK
}

unsafe extern "C" fn map_mmio(_: Context, address: u64, size: u64, out: *mut u64) -> Status {
    if size != 0x10 {
        return Status::INVALID;
    }
    // SAFETY: the glue's local variable.
    unsafe { *out = address };
    Status::OK
}

unsafe extern "C" fn now_us(_: Context) -> u64 {
    4711
}

unsafe extern "C" fn log(_: Context, level: LogLevel, text: *const u8, size: u64) -> Status {
    // SAFETY: the glue passes a live slice.
    let text = unsafe { core::slice::from_raw_parts(text, size as usize) };
    core(|core| {
        core.lines
            .push(format!("{} {}", level.0, str::from_utf8(text).unwrap()))
    });
    Status::OK
}

unsafe extern "C" fn report_fault(_: Context, instance: Instance, fault: *const FaultRecord) -> Status {
    // SAFETY: the glue passes a live record.
    core(|core| core.faults.push((instance, unsafe { *fault })));
    Status::OK
}

unsafe extern "C" fn host_panic(_: Context, _: *const u8, _: u64) -> ! {
    panic!("the component panicked");
}

static SERVICES: HostServices = HostServices {
    abi_version: ABI_VERSION,
    size: 80,
    context: CONTEXT,
    allocate,
    free,
    clean,
    map_mmio,
    now_us,
    log,
    report_fault,
    panic: host_panic,
};

static COMPONENT: Component<Fake> = Component::new();

thread_local! {
    /// What the driver was asked.
    static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A driver that refuses stream 0xbad.
#[derive(Debug)]
struct Fake {
    parts: Parts,
    table: Block,
}

impl SmmuDriver for Fake {
    fn component() -> &'static Component<Self> {
        &COMPONENT
    }
    fn probe(mut parts: Parts, info: &SmmuInfo) -> Result<(Self, ProbeReport), Status> {
        let table = parts.memory.allocate(64, 64).map_err(|_| Status::NO_MEMORY)?;
        parts
            .memory
            .write(table.address + 8, parts.registers.read32(0).into());
        let report = ProbeReport {
            instance: Instances::<Self>::NONE,
            features: 0,
            stream_bits: info.max_stream,
            output_bits: 44,
            vmid_bits: 16,
            groups: 0,
            banks: 0,
        };
        Ok((Fake { parts, table }, report))
    }
    fn attach(&mut self, streams: &[Stream], _: &Domain) -> Result<(), Status> {
        if streams.iter().any(|stream| stream.id == 0xbad) {
            Err(Status::STREAM_RANGE)
        } else {
            Ok(())
        }
    }
    fn detach(&mut self, streams: &[Stream]) -> Result<(), Status> {
        let ids: Vec<_> = streams
            .iter()
            .map(|stream| format!(" {:#x}", stream.id))
            .collect();
        ASKED.with_borrow_mut(|asked| asked.push(format!("detach{}", ids.concat())));
        Ok(())
    }
    fn invalidate(&mut self, range: &IpaRange) -> Result<(), Status> {
        ASKED.with_borrow_mut(|asked| asked.push(format!("invalidate {:#x}", range.ipa)));
        Ok(())
    }
    fn interrupt(&mut self, line: InterruptLine, report: &mut dyn FnMut(FaultRecord)) -> Result<(), Status> {
        let kind = FaultKind::TRANSLATION;
        report(FaultRecord {
            stream: 8,
            kind,
            ipa: 0,
            access: access::WRITE,
            code: 0,
            count: 1,
            reserved: 0,
        });
        if line == InterruptLine::COMBINED {
            Err(Status::AGAIN)
        } else {
            Ok(())
        }
    }
    fn quiesce(&mut self) -> Result<(), Status> {
        Err(Status::TIMEOUT)
    }
    fn release(mut self) -> Result<(), (Self, Status)> {
        if self.parts.memory.read(self.table.address + 8) == 0xdead {
            return Err((self, Status::DEVICE_ERROR));
        }
        self.parts.memory.free(self.table);
        Ok(())
    }
}

/// Calls the entry point.
fn start(services: *const HostServices, ops: &mut DriverOps) -> Status {
    // SAFETY: null, or a live structure of the caller's.
    unsafe { enter::<Fake>(services, ops) }
}

/// The operations after the entry point was called.
fn ops() -> (MutexGuard<'static, ()>, DriverOps) {
    let guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut ops = DriverOps::EMPTY;
    assert_eq!(start(&raw const SERVICES, &mut ops), Status::OK);
    (guard, ops)
}

fn info(registers: &[u64; 2]) -> SmmuInfo {
    SmmuInfo {
        base: registers.as_ptr().expose_provenance() as u64,
        size: 0x10,
        second_base: 0,
        max_stream: 12,
        coherent: 0,
        quirks: 0,
        reserved: 0,
    }
}

fn probe(ops: &DriverOps, info: &SmmuInfo) -> Result<Instance, Status> {
    let mut report = ProbeReport::EMPTY;
    // SAFETY: both pointers are to live structures.
    let status = unsafe { (ops.probe.unwrap())(info, &raw mut report) };
    if status.is_ok() {
        Ok(report.instance)
    } else {
        Err(status)
    }
}

fn streams(ids: impl IntoIterator<Item = u32>) -> Vec<Stream> {
    ids.into_iter().map(|id| Stream { id, mask: 0 }).collect()
}

static DOMAIN: Domain = Domain {
    root: 0x4000_0000,
    vmid: 1,
    ipa_bits: 40,
    pa_bits: 40,
    start_level: 1,
    reserved: [0; 3],
};

#[test]
fn a_core_of_another_version_is_refused() {
    let mut ops = DriverOps::EMPTY;
    for other in [
        HostServices {
            abi_version: ABI_VERSION - 1,
            ..SERVICES
        },
        HostServices {
            abi_version: ABI_VERSION + 1,
            ..SERVICES
        },
        HostServices { size: 72, ..SERVICES },
    ] {
        assert_eq!(start(&raw const other, &mut ops), Status::UNSUPPORTED);
    }
    assert_eq!(start(ptr::null(), &mut ops), Status::INVALID);
    assert!(ops.probe.is_none());
}

#[test]
fn operations_reach_the_driver_of_their_handle() {
    let (_guard, ops) = ops();
    let registers = [0x1234, 0];
    let instance = probe(&ops, &info(&registers)).unwrap();
    let (good, bad) = (streams([8, 9, 0xa]), streams([8, 0xbad]));
    let domain = DOMAIN;
    let range = IpaRange {
        ipa: 0x4000,
        size: 0x1000,
        vmid: 1,
        reserved: [0; 6],
    };
    // SAFETY: all pointers are to live structures, or null.
    unsafe {
        assert_eq!(
            (ops.attach.unwrap())(instance, good.as_ptr(), 3, &raw const domain),
            Status::OK
        );
        assert_eq!(
            (ops.attach.unwrap())(instance, bad.as_ptr(), 2, &raw const domain),
            Status::STREAM_RANGE
        );
        assert_eq!(
            (ops.attach.unwrap())(instance, good.as_ptr(), 3, ptr::null()),
            Status::INVALID
        );
        assert_eq!((ops.detach.unwrap())(instance, good.as_ptr(), 2), Status::OK);
        assert_eq!((ops.invalidate.unwrap())(instance, &raw const range), Status::OK);
        assert_eq!(
            (ops.interrupt.unwrap())(instance, InterruptLine::EVENT_QUEUE),
            Status::OK
        );
        assert_eq!(
            (ops.interrupt.unwrap())(instance, InterruptLine::COMBINED),
            Status::AGAIN
        );
        assert_eq!((ops.quiesce.unwrap())(instance), Status::TIMEOUT);
        assert_eq!((ops.release.unwrap())(instance), Status::OK);
        assert_eq!(
            (ops.detach.unwrap())(instance, good.as_ptr(), 3),
            Status::STALE_HANDLE
        );
        assert_eq!((ops.release.unwrap())(instance), Status::STALE_HANDLE);
    }
    assert_eq!(ASKED.take(), ["detach 0x8 0x9", "invalidate 0x4000"]);
    let faults = core(|core| core::mem::take(&mut core.faults));
    assert_eq!(
        faults
            .iter()
            .map(|(handle, fault)| (*handle, fault.stream))
            .collect::<Vec<_>>(),
        [(instance, 8); 2]
    );
}

#[test]
fn lists_of_streams_have_a_pointer_and_as_many_as_a_call_takes() {
    let (_guard, ops) = ops();
    let registers = [0x1234, 0];
    let instance = probe(&ops, &info(&registers)).unwrap();
    // One more than a call takes, and room behind it for a pointer that is not aligned.
    let all = streams(0..=MAX_STREAMS as u32 + 1);
    let most = MAX_STREAMS as u32;
    let odd = all.as_ptr().wrapping_byte_add(1);
    let bad = [
        (ptr::null(), 1),
        (all.as_ptr(), 0),
        (ptr::null(), 0),
        (all.as_ptr(), most + 1),
        (all.as_ptr(), u32::MAX),
        (odd, 1),
    ];
    // SAFETY: the streams and the domain are live, and what is not to be followed is refused.
    unsafe {
        let (attach, detach) = (ops.attach.unwrap(), ops.detach.unwrap());
        for (first, count) in bad {
            assert_eq!(
                attach(instance, first, count, &raw const DOMAIN),
                Status::INVALID,
                "{count}"
            );
            assert_eq!(detach(instance, first, count), Status::INVALID, "{count}");
        }
        assert_eq!(ASKED.take(), Vec::<String>::new());
        assert_eq!(
            attach(instance, all.as_ptr(), most, &raw const DOMAIN),
            Status::OK
        );
        assert_eq!(detach(instance, all.as_ptr(), most), Status::OK);
        assert_eq!((ops.release.unwrap())(instance), Status::OK);
    }
    assert_eq!(ASKED.take().len(), 1);
}

#[test]
fn a_driver_that_cannot_let_go_keeps_its_handle_and_memory() {
    let (_guard, ops) = ops();
    let registers = [0xdead, 0];
    let instance = probe(&ops, &info(&registers)).unwrap();
    let blocks = core(|core| core.blocks.len());
    // SAFETY: no pointers.
    unsafe {
        assert_eq!((ops.release.unwrap())(instance), Status::DEVICE_ERROR);
        assert_eq!(
            (ops.quiesce.unwrap())(instance),
            Status::TIMEOUT,
            "the handle is still good"
        );
    }
    assert_eq!(core(|core| core.blocks.len()), blocks);
    // Leave a free place for the other tests.
    COMPONENT.on(instance, |driver| {
        let table = driver.table.address;
        driver.parts.memory.write(table + 8, 0);
        Ok(())
    });
    // SAFETY: no pointers.
    assert_eq!(unsafe { (ops.release.unwrap())(instance) }, Status::OK);
}

#[test]
fn registers_that_the_core_does_not_map_end_the_probe() {
    let (_guard, ops) = ops();
    assert_eq!(
        probe(
            &ops,
            &SmmuInfo {
                size: 0x1000,
                ..info(&[0; 2])
            }
        ),
        Err(Status::INVALID)
    );
}

#[test]
fn handles_grow_stale_and_places_are_limited() {
    let mut instances = Instances::new();
    let all: Vec<_> = (0..MAX_INSTANCES)
        .map(|driver| instances.insert(driver).unwrap())
        .collect();
    assert!(instances.is_full());
    assert_eq!(instances.insert(9), Err(Status::BUSY));
    assert_eq!(instances.get_mut(all[2]), Ok(&mut 2));
    assert_eq!(instances.release(all[2], |_| Ok(())), Ok(()));
    assert_eq!(instances.get_mut(all[2]), Err(Status::STALE_HANDLE));
    let again = instances.insert(7).unwrap();
    assert_ne!(again, all[2]);
    assert_eq!(
        instances.get_mut(all[2]),
        Err(Status::STALE_HANDLE),
        "the old handle does not reach the new driver"
    );
    for nonsense in [
        Instance(0),
        Instance(u64::MAX),
        Instance(1 << 32 | MAX_INSTANCES as u64),
    ] {
        assert_eq!(instances.get_mut(nonsense), Err(Status::STALE_HANDLE));
    }
}

#[test]
fn memory_is_what_the_core_gave_and_nothing_else() {
    let (_guard, _) = ops();
    let host = Host::get().unwrap();
    core(|core| core.cleaned.clear());
    let mut memory = HostMemory::new(host, false);
    let block = memory.allocate(20, 4096).unwrap();
    assert!(block.address.is_multiple_of(4096));
    memory.write(block.address + 16, 7);
    assert_eq!(memory.read(block.address + 16), 7);
    for outside in [
        block.address - 8,
        block.address + 24,
        block.address + 4,
        0,
        u64::MAX - 7,
    ] {
        memory.write(outside, 7);
        assert_eq!(memory.read(outside), 0, "{outside:#x}");
    }
    memory.publish(block.address + 16, 8);
    assert_eq!(
        core(|core| core.cleaned.clone()),
        [(block.address, 20), (block.address + 16, 8)]
    );
    memory.free(block);
    assert_eq!(memory.read(block.address + 16), 0);
    assert!(memory.allocate(2 << 20, 8).is_err());
    assert_eq!(HostClock(host).now_us(), 4711);
}

#[test]
fn the_number_of_blocks_is_bounded() {
    let (_guard, _) = ops();
    let mut memory = HostMemory::new(Host::get().unwrap(), true);
    let blocks: Vec<_> = (0..MAX_BLOCKS).map(|_| memory.allocate(8, 8).unwrap()).collect();
    assert!(memory.allocate(8, 8).is_err());
    blocks.into_iter().for_each(|block| memory.free(block));
    assert!(memory.allocate(8, 8).is_ok());
}

#[test]
fn long_lines_are_cut_at_a_character() {
    let (_guard, _) = ops();
    let host = Host::get().unwrap();
    host.log(LogLevel::WARN, format_args!("{}{}", "a".repeat(159), "äb"));
    host.log(LogLevel::INFO, format_args!("x = {}", 5));
    let lines = core(|core| core::mem::take(&mut core.lines));
    assert_eq!(lines, [format!("2 {}", "a".repeat(159)), "3 x = 5".into()]);
}
