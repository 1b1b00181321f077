//! What the core keeps for a component: whose memory is whose, and what it was told.

use crate::arch::mmu::{self, Kind};
use crate::arch::{cpu, timer};
use crate::memory::{Frames, allocate_frames};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arrayvec::ArrayString;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use driver_abi::{Context, FaultKind, FaultRecord, Instance, LogLevel, SmmuInfo, Status};
use spin::Mutex;

/// How many fault records are kept until the core looks; more are counted.
const FAULT_LIMIT: usize = 256;
/// How many lines one call may print.
const LINE_LIMIT: u32 = 16;
/// How many bytes of a line are printed.
const LINE_SIZE: usize = 200;

/// A mapped range of the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

/// One component, as its services see it.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    context: Context,
    /// The image's segments and the stack, in any order.
    memory: Vec<Mapped>,
    /// Table memory that each SMMU may take, in bytes.
    table_memory: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Register frames that may be mapped now.
    windows: Vec<Range<u64>>,
    /// SMMUs that the component drives, the one being probed included.
    smmus: usize,
    tables: Vec<Frames>,
    faults: Vec<(Instance, FaultRecord)>,
    /// Faults that found no place.
    lost: u32,
    /// Lines printed in this call.
    lines: u32,
    /// The last warning or error among them.
    warning: Option<Line>,
    panic: Option<Line>,
}

impl Host {
    /// A component whose image and stack are `memory`.
    pub(super) fn new(name: String, memory: Vec<Mapped>, table_memory: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let context = Context(NEXT.fetch_add(1, Ordering::Relaxed));
        Host {
            name,
            context,
            memory,
            table_memory,
            state: Mutex::new(State::default()),
        }
    }

    /// What the component passes to its services.
    pub(super) fn context(&self) -> Context {
        self.context
    }

    /// Before a call: it may print again.
    pub(super) fn begin_call(&self) {
        let mut state = self.state.lock();
        state.lines = 0;
        state.warning = None;
    }

    /// Before a probe: the SMMU's registers may be mapped, and it may have table memory.
    pub(super) fn begin_probe(&self, info: &SmmuInfo) {
        let mut state = self.state.lock();
        let window = |base: u64| base..base.saturating_add(info.size);
        state.windows = [info.base, info.second_base]
            .into_iter()
            .filter(|&base| base != 0)
            .map(window)
            .collect();
        state.smmus += 1;
    }

    /// After a probe: nothing more is mapped.
    pub(super) fn end_probe(&self, successful: bool) {
        let mut state = self.state.lock();
        state.windows = Vec::new();
        if !successful {
            state.smmus = state.smmus.saturating_sub(1);
        }
    }

    /// After a release: the SMMU needs no table memory any more.
    pub(super) fn end_release(&self) {
        let mut state = self.state.lock();
        state.smmus = state.smmus.saturating_sub(1);
    }

    /// Whether `size` bytes at `address` are the component's to read, or to write.
    pub(super) fn owns(&self, address: usize, size: usize, write: bool) -> bool {
        let Some(end) = address.checked_add(size) else {
            return false;
        };
        let within = |range: &Range<usize>| range.start <= address && end <= range.end;
        let mapped = |part: &Mapped| within(&part.range) && (part.kind == Kind::Data || !write);
        self.memory.iter().any(mapped)
            || self
                .state
                .lock()
                .tables
                .iter()
                .any(|block| within(&block.range()))
    }

    /// Allocates table memory.
    pub(super) fn allocate(&self, size: u64, align: u64) -> Result<Range<usize>, Status> {
        let (size, align) = (usize::try_from(size), usize::try_from(align));
        let (Ok(size), Ok(align)) = (size, align) else {
            return Err(Status::INVALID);
        };
        if size == 0 || !align.is_power_of_two() {
            return Err(Status::INVALID);
        }
        let mut state = self.state.lock();
        let used: usize = state.tables.iter().map(Frames::size).sum();
        let limit = self.table_memory.saturating_mul(state.smmus);
        let wanted = size
            .checked_next_multiple_of(mmu::PAGE)
            .ok_or(Status::NO_MEMORY)?;
        if used.saturating_add(wanted) > limit {
            return Err(Status::NO_MEMORY);
        }
        state.tables.try_reserve(1).map_err(|_| Status::NO_MEMORY)?;
        let frames = allocate_frames(size, align).map_err(|_| Status::NO_MEMORY)?;
        let range = frames.range();
        // An SMMU that does not look into our caches sees the zeroes too.
        cpu::clean_invalidate_to_coherency(range.clone());
        state.tables.push(frames);
        Ok(range)
    }

    /// Takes table memory back.
    pub(super) fn free(&self, address: u64) -> Result<(), Status> {
        let mut state = self.state.lock();
        let place = state
            .tables
            .iter()
            .position(|block| block.start() as u64 == address);
        place
            .map(|place| drop(state.tables.swap_remove(place)))
            .ok_or(Status::INVALID)
    }

    /// Writes table memory back from the caches.
    pub(super) fn clean(&self, address: u64, size: u64) -> Result<(), Status> {
        let (start, size) = (usize::try_from(address), usize::try_from(size));
        let (Ok(start), Ok(size)) = (start, size) else {
            return Err(Status::INVALID);
        };
        let end = start.checked_add(size).ok_or(Status::INVALID)?;
        let within = |block: &Frames| block.range().start <= start && end <= block.range().end;
        if !self.state.lock().tables.iter().any(within) {
            return Err(Status::INVALID);
        }
        cpu::clean_invalidate_to_coherency(start..end);
        Ok(())
    }

    /// Maps registers of the SMMU that is being probed; returns their address.
    pub(super) fn map_registers(&self, address: u64, size: u64) -> Result<u64, Status> {
        let end = address.checked_add(size).ok_or(Status::INVALID)?;
        let state = self.state.lock();
        let allowed = |window: &Range<u64>| window.start <= address && end <= window.end && address < end;
        if !state.windows.iter().any(allowed) {
            return Err(Status::INVALID);
        }
        let region = mmu::map_device(address, size).map_err(|error| {
            log::error!(target: "component", "{}: {error}", self.name);
            Status::NO_MEMORY
        })?;
        Ok(region.base() as u64)
    }

    /// Prints a line of the component's.
    pub(super) fn print(&self, level: LogLevel, text: &[u8]) -> Result<(), Status> {
        let text = printable(text);
        {
            let mut state = self.state.lock();
            state.lines += 1;
            if state.lines > LINE_LIMIT {
                return Err(Status::BUSY);
            }
            if matches!(level, LogLevel::ERROR | LogLevel::WARN) {
                state.warning = Some(text);
            }
        }
        match level {
            LogLevel::ERROR => log::error!(target: "component", "{}: {text}", self.name),
            LogLevel::WARN => log::warn!(target: "component", "{}: {text}", self.name),
            _ => log::info!(target: "component", "{}: {text}", self.name),
        }
        Ok(())
    }

    /// Keeps a fault until the core looks.
    pub(super) fn keep_fault(&self, instance: Instance, fault: FaultRecord) {
        let mut state = self.state.lock();
        if state.faults.len() < FAULT_LIMIT && state.faults.try_reserve(1).is_ok() {
            state.faults.push((instance, fault));
        } else {
            state.lost = state.lost.saturating_add(fault.count.max(1));
        }
    }

    /// The faults since the last call of this; those that found no place are one record at the end.
    pub(super) fn take_faults(&self) -> Vec<(Instance, FaultRecord)> {
        let mut state = self.state.lock();
        let mut faults = core::mem::take(&mut state.faults);
        let count = core::mem::take(&mut state.lost);
        if let (1.., Some(&(instance, _))) = (count, faults.last()) {
            let kind = FaultKind::OVERFLOW;
            faults.push((
                instance,
                FaultRecord {
                    stream: 0,
                    kind,
                    ipa: 0,
                    access: 0,
                    code: 0,
                    count,
                    reserved: 0,
                },
            ));
        }
        faults
    }

    /// The last warning of the call that just ended; empty if there was none.
    pub(super) fn take_warning(&self) -> Arc<str> {
        let text = self.state.lock().warning.take().unwrap_or_default();
        Arc::from(text.as_str())
    }

    /// Keeps a panic message.
    pub(super) fn keep_panic(&self, text: &[u8]) {
        self.state.lock().panic = Some(printable(text));
    }

    /// The panic message of the call that just ended.
    pub(super) fn take_panic(&self) -> Arc<str> {
        let text = self.state.lock().panic.take().unwrap_or_default();
        Arc::from(text.as_str())
    }

    /// Microseconds since the core started.
    pub(super) fn now_us() -> u64 {
        timer::now_us()
    }
}

impl Drop for Host {
    /// Table memory that was not given back may still be read by an SMMU: it is lost rather than reused.
    fn drop(&mut self) {
        let tables = core::mem::take(&mut self.state.get_mut().tables);
        if !tables.is_empty() {
            let size: usize = tables.iter().map(Frames::size).sum();
            log::warn!(target: "component", "{}: {} KiB of table memory stay with its SMMUs", self.name, size >> 10);
        }
        core::mem::forget(tables);
    }
}

/// A component's text on one line of the console.
type Line = ArrayString<LINE_SIZE>;

fn printable(text: &[u8]) -> Line {
    let mut line = Line::new();
    for &byte in text {
        let shown = if matches!(byte, b' '..=b'~') {
            char::from(byte)
        } else {
            '?'
        };
        if line.try_push(shown).is_err() {
            break;
        }
    }
    line
}
