//! Which RAM there is, and which of it is still free for guests.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use spin::Mutex;

/// A problem with handing out RAM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RamError {
    /// Somebody asked for a range of which a part is not RAM, or is taken.
    #[error("{:#x}..{:#x} is not free RAM{}", .0.start, .0.end, Holder(.1))]
    NotFree(Range<u64>, Option<&'static str>),
    /// No free range is large enough.
    #[error("no {size:#x} bytes of free RAM aligned to {align:#x} in one piece")]
    Exhausted {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
    },
    /// A range is empty, or not made of whole pages.
    #[error("{:#x}..{:#x} is not a range of whole 4 KiB pages", .0.start, .0.end)]
    NotPages(Range<u64>),
}

struct Holder<'a>(&'a Option<&'static str>);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ": {name} lies there"),
            None => Ok(()),
        }
    }
}

/// The machine's RAM, and who has which part of it.
#[derive(Debug)]
pub struct Ram {
    all: Vec<Range<u64>>,
    free: Vec<Range<u64>>,
    taken: Vec<(Range<u64>, &'static str)>,
    guests: Vec<Range<u64>>,
}

static RAM: Mutex<Ram> = Mutex::new(Ram {
    all: Vec::new(),
    free: Vec::new(),
    taken: Vec::new(),
    guests: Vec::new(),
});

impl Ram {
    /// RAM made of `ranges`, cut to whole pages; they may touch and overlap.
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut all: Vec<Range<u64>> = Vec::new();
        let mut sorted: Vec<Range<u64>> = ranges
            .into_iter()
            .map(|range| range.start.next_multiple_of(PAGE)..range.end & !(PAGE - 1))
            .collect();
        sorted.retain(|range| range.start < range.end);
        sorted.sort_by_key(|range| range.start);
        for range in sorted {
            match all.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => all.push(range),
            }
        }
        Ram {
            free: all.clone(),
            all,
            taken: Vec::new(),
            guests: Vec::new(),
        }
    }

    /// Whether all of the range is RAM.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        self.all
            .iter()
            .any(|piece| piece.start <= range.start && range.end <= piece.end)
    }

    /// Takes whatever of `range` is still free; what it touches is widened to whole pages.
    pub fn exclude(&mut self, range: Range<u64>, holder: &'static str) {
        let range =
            range.start & !(PAGE - 1)..range.end.checked_next_multiple_of(PAGE).unwrap_or(!(PAGE - 1));
        if range.start >= range.end {
            return;
        }
        let free = core::mem::take(&mut self.free);
        for piece in free {
            for part in [
                piece.start..piece.end.min(range.start),
                piece.start.max(range.end)..piece.end,
            ] {
                if part.start < part.end {
                    self.free.push(part);
                }
            }
        }
        self.taken.push((range, holder));
    }

    /// Takes all of `range`, or nothing.
    fn take(&mut self, range: Range<u64>, holder: &'static str) -> Result<(), RamError> {
        if range.start >= range.end || !(range.start | range.end).is_multiple_of(PAGE) {
            return Err(RamError::NotPages(range));
        }
        if !self
            .free
            .iter()
            .any(|piece| piece.start <= range.start && range.end <= piece.end)
        {
            let holder = self
                .taken
                .iter()
                .find(|(taken, _)| overlap(taken, &range))
                .map(|(_, holder)| *holder);
            return Err(RamError::NotFree(range, holder));
        }
        self.exclude(range, holder);
        Ok(())
    }

    /// Takes the lowest free piece of that size and alignment (a power of two).
    fn allocate(&mut self, size: u64, align: u64, holder: &'static str) -> Result<Range<u64>, RamError> {
        let exhausted = RamError::Exhausted { size, align };
        let align = align.max(PAGE);
        if size == 0 || !align.is_power_of_two() {
            return Err(exhausted);
        }
        let size = size.checked_next_multiple_of(PAGE).ok_or(exhausted.clone())?;
        for piece in &self.free {
            let Some(start) = piece.start.checked_next_multiple_of(align) else {
                continue;
            };
            if let Some(end) = start.checked_add(size).filter(|end| *end <= piece.end) {
                self.exclude(start..end, holder);
                return Ok(start..end);
            }
        }
        Err(exhausted)
    }

    fn usage(&self) -> (u64, u64) {
        let sum = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum();
        (sum(&self.all), sum(&self.free))
    }

    /// Makes this the RAM that the core deals with.
    pub fn install(self) {
        *RAM.lock() = self;
    }
}

const PAGE: u64 = 4096;

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Bytes of RAM, and how many of them are free.
pub fn ram_usage() -> (u64, u64) {
    RAM.lock().usage()
}

/// Whether any byte of the range is RAM.
pub fn is_ram(range: &Range<u64>) -> bool {
    RAM.lock().all.iter().any(|piece| overlap(piece, range))
}

/// Takes the lowest free piece of RAM for the core itself.
pub(super) fn take_for_core(size: u64, align: u64) -> Result<Range<u64>, RamError> {
    RAM.lock().allocate(size, align, "the frame pool")
}

/// Takes RAM for a guest at a given address.
pub fn take_guest(range: Range<u64>) -> Result<(), RamError> {
    let mut ram = RAM.lock();
    ram.take(range.clone(), "a guest")?;
    ram.guests.push(range);
    Ok(())
}

/// Takes RAM for a guest wherever it is free, physically contiguous, aligned to `align` (a power of two).
pub fn allocate_guest(size: u64, align: u64) -> Result<Range<u64>, RamError> {
    let mut ram = RAM.lock();
    let range = ram.allocate(size, align, "a guest")?;
    ram.guests.push(range.clone());
    Ok(range)
}

/// Whether all of the range lies in one piece that was taken for a guest.
pub fn is_guest(range: &Range<u64>) -> bool {
    let holds = |piece: &Range<u64>| piece.start <= range.start && range.end <= piece.end;
    range.start < range.end && RAM.lock().guests.iter().any(holds)
}
