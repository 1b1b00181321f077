//! The host bridge's windows, and arithmetic on address ranges.

use crate::Space;

/// A range of PCI addresses that the host bridge decodes, from the device tree's `ranges`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// What kind of addresses.
    pub space: Space,
    /// First address on the PCI bus, which is what BARs hold.
    pub pci: u64,
    /// The CPU's physical address of the same byte.
    pub cpu: u64,
    /// Size in bytes.
    pub size: u64,
}

impl Window {
    /// The CPU address of PCI address `pci`, if `[pci, pci + size)` lies in the window.
    pub fn to_cpu(&self, pci: u64, size: u64) -> Option<u64> {
        let inside = pci.checked_sub(self.pci)?;
        (inside.checked_add(size)? <= self.size).then(|| self.cpu.wrapping_add(inside))
    }

    /// What of the window the CPU finds below `end`.
    pub fn below(&self, end: u64) -> Option<Window> {
        let reach = end.checked_sub(self.cpu).filter(|reach| *reach != 0)?;
        Some(Window {
            size: self.size.min(reach),
            ..*self
        })
    }

    /// The addresses as a range, cut at the end of the address space.
    pub(crate) fn range(&self) -> Range {
        Range {
            start: self.pci,
            end: self.pci.saturating_add(self.size),
        }
    }
}

/// The smallest thing that stage 2 can give to a guest.
pub(crate) const PAGE: u64 = 4096;

/// `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Range {
    /// `[start, start + size)`, unless it wraps.
    pub(crate) fn new(start: u64, size: u64) -> Option<Range> {
        Some(Range {
            start,
            end: start.checked_add(size)?,
        })
    }

    pub(crate) fn contains(&self, other: &Range) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    pub(crate) fn overlaps(&self, other: &Range) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The lowest free place of `size` bytes aligned to `align` (a power of two) in `inside` that no range of `taken`
/// overlaps. Address zero is never given: a BAR of zero counts as unassigned.
pub(crate) fn first_fit(inside: &Range, taken: &[Range], size: u64, align: u64) -> Option<Range> {
    let start = inside.start.max(1);
    let ends = taken.iter().map(|range| range.end).filter(|end| *end >= start);
    let mut candidates: alloc::vec::Vec<u64> = core::iter::once(start)
        .chain(ends)
        .filter_map(|at| at.checked_next_multiple_of(align))
        .collect();
    candidates.sort_unstable();
    candidates
        .into_iter()
        .filter_map(|at| Range::new(at, size))
        .find(|place| inside.contains(place) && !taken.iter().any(|range| range.overlaps(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_translates_what_it_holds() {
        let window = Window {
            space: Space::Memory32,
            pci: 0x1000,
            cpu: 0x9000,
            size: 0x1000,
        };
        assert_eq!(window.to_cpu(0x1800, 0x800), Some(0x9800));
        assert_eq!(window.to_cpu(0x1800, 0x801), None);
        assert_eq!(window.to_cpu(0xfff, 1), None);
        assert_eq!(window.to_cpu(0x1000, u64::MAX), None);
        assert_eq!(window.to_cpu(0x1001, u64::MAX), None, "their sum wraps to 0");
    }

    #[test]
    fn a_window_ends_where_nobody_reaches() {
        let window = Window {
            space: Space::Memory64,
            pci: 0x1000,
            cpu: 0x9000,
            size: 0x2000,
        };
        assert_eq!(window.below(0xc000), Some(window));
        assert_eq!(window.below(0xa000).map(|below| below.size), Some(0x1000));
        assert_eq!(window.below(0x9000), None);
        assert_eq!(window.below(0), None);
    }

    #[test]
    fn first_fit_finds_the_gap() {
        let inside = Range {
            start: 0,
            end: 0x8000,
        };
        let taken = [
            Range {
                start: 0x1000,
                end: 0x2000,
            },
            Range {
                start: 0x2800,
                end: 0x3000,
            },
        ];
        let at = |size, align| first_fit(&inside, &taken, size, align).map(|range| range.start);
        assert_eq!(at(0x800, 0x800), Some(0x800));
        assert_eq!(at(0x1000, 0x1000), Some(0x3000));
        assert_eq!(at(0x4000, 0x4000), Some(0x4000));
        assert_eq!(at(0x8000, 0x8000), None);
        assert_eq!(
            first_fit(
                &Range {
                    start: 0,
                    end: u64::MAX
                },
                &[],
                u64::MAX,
                1 << 63
            ),
            None
        );
    }
}
