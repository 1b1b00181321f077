//! A component's pages: filled, then protected, with nothing mapped around them.

use super::host::Mapped;
use crate::arch::cpu;
use crate::arch::mmu::{self, Kind, MapError, PAGE};
use crate::memory::{FrameError, Frames, allocate_frames};
use alloc::vec::Vec;
use component_loader::{ElfError, LoadPlan, Protection};
use core::ops::Range;
use driver_abi::STACK_SIZE;

/// Why a component did not get its pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// There are no frames for it.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// Its pages could not be protected.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It could not be relocated.
    #[error(transparent)]
    Fill(#[from] ElfError),
}

/// A component in memory: guard page, image, guard page, stack, guard page. The pool is mapped once, at identity, so no
/// writable alias of the code exists. Dropping it gives the frames back, writable and not executable.
#[derive(Debug)]
pub(super) struct Image {
    frames: Frames,
    /// Where address 0 of the file lies.
    base: usize,
    stack: Range<usize>,
    parts: Vec<Mapped>,
}

impl Image {
    /// Fills frames by the plan and protects them.
    pub(super) fn new(plan: &LoadPlan<'_>) -> Result<Self, ImageError> {
        let mut frames = allocate_frames(plan.span() + STACK_SIZE + 3 * PAGE, PAGE)?;
        let whole = frames.range();
        let base = whole.start + PAGE;
        let stack_start = base + plan.span() + PAGE;
        let stack = stack_start..stack_start + STACK_SIZE;
        let refuse = ElfError::Memory {
            size: frames.size(),
            base: base as u64,
            wanted: plan.span(),
        };
        let memory = frames
            .bytes_mut()
            .get_mut(PAGE..PAGE + plan.span())
            .ok_or(refuse)?;
        plan.fill(memory, base as u64)?;
        let mut parts: Vec<Mapped> = plan
            .segments()
            .iter()
            .map(|segment| Mapped {
                range: base + segment.start..base + segment.end(),
                kind: match segment.protection {
                    Protection::ReadOnly => Kind::ReadOnly,
                    Protection::ReadExecute => Kind::Text,
                    Protection::ReadWrite => Kind::Data,
                },
            })
            .collect();
        parts.push(Mapped {
            range: stack.clone(),
            kind: Kind::Data,
        });
        let mut mapped_to = whole.start;
        for part in &parts {
            // What lies between two parts: guard pages, and gaps that the file leaves.
            if mapped_to < part.range.start {
                mmu::unmap(mapped_to..part.range.start)?;
            }
            if part.kind == Kind::Text {
                cpu::publish_instructions(part.range.clone());
            }
            mmu::protect(part.range.clone(), part.kind)?;
            mapped_to = part.range.end;
        }
        mmu::unmap(mapped_to..whole.end)?;
        Ok(Image {
            frames,
            base,
            stack,
            parts,
        })
    }

    /// The ranges that the component has mapped.
    pub(super) fn parts(&self) -> &[Mapped] {
        &self.parts
    }

    /// Where the stack ends: the first stack pointer.
    pub(super) fn stack_top(&self) -> usize {
        self.stack.end
    }

    /// The address of an offset into the image.
    pub(super) fn address(&self, offset: usize) -> usize {
        self.base + offset
    }

    /// Whether an instruction can stand there.
    pub(super) fn is_code(&self, address: usize) -> bool {
        let holds = |part: &Mapped| part.kind == Kind::Text && part.range.contains(&address);
        address.is_multiple_of(4) && self.parts.iter().any(holds)
    }

    /// Whether the address lies in the page below the stack.
    pub(super) fn is_below_stack(&self, address: u64) -> bool {
        let guard = (self.stack.start - PAGE) as u64..self.stack.start as u64;
        guard.contains(&address)
    }

    /// The offset of an address into the image, as a disassembler of the file shows it.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        let end = self.stack.start - PAGE;
        (self.base as u64..end as u64)
            .contains(&address)
            .then(|| address - self.base as u64)
    }

    /// Bytes of memory that it takes, guard pages included.
    pub(super) fn size(&self) -> usize {
        self.frames.size()
    }
}
