//! An SMMUv1 or v2, and where its registers lie (IHI 0062 chapter 8).

use super::frames::{Frames, Register};
use super::id::{Features, IdentifyError};
use super::registers::{CR0, CR2, FSR, RESUME, S2CR, SCTLR, SMR, TLBSTATUS, TRIGGER};
use mmio::{Bus, Clock, Timeout, wait_until};
use tock_registers::interfaces::{Readable, Writeable};

/// From a register of which there are two, for secure and for other software, to the non-secure one, as secure
/// software sees it (IHI 0062 9.3).
const SECURE_ALIAS: usize = 0x400;

/// An SMMUv1 or v2 behind its register frames.
#[derive(Debug, Clone, Copy)]
pub struct Smmu<B> {
    frames: Frames<B>,
    features: Features,
    secure_alias: bool,
}

impl<B: Bus> Smmu<B> {
    /// Looks at the SMMU behind `frames` of `size` bytes each; nothing is written.
    ///
    /// `secure_alias` says that the SMMU takes all our accesses for secure ones, as
    /// `calxeda,smmu-secure-config-access` does: registers that exist twice are then reached by their alias.
    pub fn identify(frames: Frames<B>, size: usize, secure_alias: bool) -> Result<Self, IdentifyError> {
        let mut features = Features::read(&frames.first)?;
        if let Some(second) = &frames.second {
            let other = Features::read(second)?;
            if other != features {
                return Err(IdentifyError::FramesDiffer {
                    groups: features.groups,
                    banks: features.banks,
                    other_groups: other.groups,
                    other_banks: other.banks,
                });
            }
        }
        // Invalidation by IPA in AArch64 tables is one write of 64 bits (IHI 0062 17.3.4), which cannot be halved. All
        // else that they need goes in halves as well; so these tables are not used at all, as in Linux.
        features.aarch64_tables &= !frames.halves;
        let needed = features.frame_bytes();
        if size < needed {
            return Err(IdentifyError::FrameTooSmall { size, needed });
        }
        Ok(Smmu {
            frames,
            features,
            secure_alias,
        })
    }

    /// What the SMMU can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The SMMU as each of its frames shows it: for status, which is each frame's own.
    pub fn each_frame(&self) -> impl Iterator<Item = Smmu<&B>> {
        self.frames.each().map(|frame| Smmu {
            frames: Frames {
                halves: self.frames.halves,
                ..Frames::one(frame)
            },
            features: self.features,
            secure_alias: self.secure_alias,
        })
    }

    /// Gives the frames back.
    pub fn into_frames(self) -> Frames<B> {
        self.frames
    }

    /// Makes the SMMU forget everything that it cached for non-secure streams, and returns when no transaction uses
    /// any of it any more.
    pub fn forget_all(&self, clock: &impl Clock, timeout_us: u64) -> Result<(), Timeout> {
        self.tlbiallh().set(0);
        self.tlbiallnsnh().set(0);
        self.sync(clock, timeout_us)
    }

    /// Waits until every invalidation so far is complete, in all frames: what was invalidated is gone, and every
    /// transaction that had used it has been observed (IHI 0062 5.4.2).
    pub fn sync(&self, clock: &impl Clock, timeout_us: u64) -> Result<(), Timeout> {
        self.tlbgsync().set(0);
        self.each_frame().try_for_each(|frame| {
            wait_until(clock, timeout_us, || {
                !frame.tlbgstatus().is_set(TLBSTATUS::ACTIVE)
            })
        })
    }

    /// 0x000, banked by security.
    pub fn cr0(&self) -> Register<'_, B, u32, CR0::Register> {
        self.banked(0x000)
    }
    /// 0x008, banked by security.
    pub fn cr2(&self) -> Register<'_, B, u32, CR2::Register> {
        self.banked(0x008)
    }
    /// 0x068, write-only.
    pub fn tlbiallnsnh(&self) -> Register<'_, B, u32, TRIGGER::Register> {
        self.global(0x068)
    }
    /// 0x06c, write-only.
    pub fn tlbiallh(&self) -> Register<'_, B, u32, TRIGGER::Register> {
        self.global(0x06c)
    }
    /// 0x070, write-only. Who sees it as secure software starts its own invalidations, and waits for them here
    /// (IHI 0062 9.3): there is no need of the alias.
    pub fn tlbgsync(&self) -> Register<'_, B, u32, TRIGGER::Register> {
        self.global(0x070)
    }
    /// 0x074, read-only.
    pub fn tlbgstatus(&self) -> Register<'_, B, u32, TLBSTATUS::Register> {
        self.global(0x074)
    }
    /// 0x800 and on.
    pub fn smr(&self, group: u16) -> Register<'_, B, u32, SMR::Register> {
        self.global(0x800 + 4 * usize::from(group))
    }
    /// 0xc00 and on.
    pub fn s2cr(&self, group: u16) -> Register<'_, B, u32, S2CR::Register> {
        self.global(0xc00 + 4 * usize::from(group))
    }
    /// 0x000 of a bank.
    pub fn sctlr(&self, bank: u16) -> Register<'_, B, u32, SCTLR::Register> {
        self.bank(bank, 0x000)
    }
    /// 0x008 of a bank, write-only.
    pub fn resume(&self, bank: u16) -> Register<'_, B, u32, RESUME::Register> {
        self.bank(bank, 0x008)
    }
    /// 0x058 of a bank.
    pub fn fsr(&self, bank: u16) -> Register<'_, B, u32, FSR::Register> {
        self.bank(bank, 0x058)
    }

    /// A register of global space 0.
    pub fn global<T, R>(&self, offset: usize) -> Register<'_, B, T, R> {
        Register::at(&self.frames, offset)
    }

    /// A register of global space 0 of which secure software has one of its own.
    pub fn banked<T, R>(&self, offset: usize) -> Register<'_, B, T, R> {
        let skip = if self.secure_alias { SECURE_ALIAS } else { 0 };
        Register::at(&self.frames, offset + skip)
    }

    /// A register of global space 1.
    pub fn global_1<T, R>(&self, offset: usize) -> Register<'_, B, T, R> {
        Register::at(&self.frames, self.features.page_bytes + offset)
    }

    /// A register of a context bank.
    pub fn bank<T, R>(&self, bank: u16, offset: usize) -> Register<'_, B, T, R> {
        let page = self.features.global_pages + usize::from(bank);
        Register::at(&self.frames, page * self.features.page_bytes + offset)
    }
}
