//! A stage-2 address space, and whether an SMMU can walk it.

/// What an SMMU's table walker can do, as far as a domain has to fit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walker {
    /// The widest input address (IPA) that it translates, in bits.
    pub input_bits: u8,
    /// The widest output address that it puts out, in bits.
    pub output_bits: u8,
    /// Bits of VMID that it tells apart.
    pub vmid_bits: u8,
}

/// A stage-2 address space with a 4 KiB granule, as the driver is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// Physical address of the (possibly concatenated) root table.
    pub root: u64,
    /// The VMID that tags its TLB entries.
    pub vmid: u16,
    /// Bits of input address (IPA).
    pub ipa_bits: u8,
    /// Bits of output address (PA): 32, 36, 40, 42, 44 or 48.
    pub pa_bits: u8,
    /// Level of the root table: 0, 1 or 2.
    pub start_level: u8,
}

/// Why a domain cannot be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// No root table of that level translates that many bits.
    #[error(
        "{ipa_bits} bits of IPA do not fit a table of level {start_level} on an SMMU with {output_bits} output bits"
    )]
    Shape {
        /// Bits of input address asked for.
        ipa_bits: u8,
        /// Level of the root table asked for.
        start_level: u8,
        /// What the SMMU can put out.
        output_bits: u8,
    },
    /// It translates more than the SMMU does.
    #[error("{ipa_bits} bits of IPA on an SMMU that translates {input_bits}")]
    Input {
        /// Bits of input address asked for.
        ipa_bits: u8,
        /// What the SMMU translates.
        input_bits: u8,
    },
    /// The output size has no encoding, or is more than the SMMU has.
    #[error("{pa_bits} bits of PA on an SMMU with {output_bits} output bits")]
    Output {
        /// Bits of output address asked for.
        pa_bits: u8,
        /// What the SMMU can put out.
        output_bits: u8,
    },
    /// The root table is not aligned to its size, or lies where the SMMU cannot read.
    #[error("root table {root:#x} is not aligned to its {size:#x} bytes below 2^{output_bits}")]
    Root {
        /// Address of the root table.
        root: u64,
        /// Size of the root table in bytes.
        size: u64,
        /// What the SMMU can put out.
        output_bits: u8,
    },
    /// The VMID is too large.
    #[error("VMID {vmid:#x} does not fit {vmid_bits} bits")]
    Vmid {
        /// The VMID.
        vmid: u16,
        /// Bits of VMID that the SMMU tells apart.
        vmid_bits: u8,
    },
}

impl Domain {
    /// Bytes of the root table: one page, or up to 16 concatenated ones (DDI 0487 D8.2.2).
    pub fn root_size(&self) -> u64 {
        // A table of the start level resolves 9 bits above those that the lower levels resolve.
        let one_table = 48_u8.saturating_sub(self.start_level.saturating_mul(9));
        4096 << self.ipa_bits.saturating_sub(one_table).min(4)
    }

    /// Checks everything that the SMMU would take ill, or that would be wrong without that: for an SMMUv3 it is
    /// what makes a stream table entry ILLEGAL (IHI 0070 5.2.2).
    pub fn check(&self, walker: &Walker) -> Result<(), DomainError> {
        let output_bits = walker.output_bits;
        // Input sizes for which DDI 0487 D8.2.2 has a root table of that level. Level 0 needs an output of 44
        // bits or more.
        let fits = match self.start_level {
            0 => output_bits >= 44 && (40..=48).contains(&self.ipa_bits),
            1 => (31..=43).contains(&self.ipa_bits),
            2 => (25..=34).contains(&self.ipa_bits),
            _ => false,
        };
        if !fits || self.ipa_bits > output_bits {
            let (ipa_bits, start_level) = (self.ipa_bits, self.start_level);
            return Err(DomainError::Shape {
                ipa_bits,
                start_level,
                output_bits,
            });
        }
        if self.ipa_bits > walker.input_bits {
            return Err(DomainError::Input {
                ipa_bits: self.ipa_bits,
                input_bits: walker.input_bits,
            });
        }
        if !matches!(self.pa_bits, 32 | 36 | 40 | 42 | 44 | 48) || self.pa_bits > output_bits {
            return Err(DomainError::Output {
                pa_bits: self.pa_bits,
                output_bits,
            });
        }
        let size = self.root_size();
        if !self.root.is_multiple_of(size) || self.root >> self.pa_bits != 0 {
            return Err(DomainError::Root {
                root: self.root,
                size,
                output_bits,
            });
        }
        if u32::from(self.vmid) >> walker.vmid_bits != 0 {
            return Err(DomainError::Vmid {
                vmid: self.vmid,
                vmid_bits: walker.vmid_bits,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// QEMU's SMMUv3.
    fn walker() -> Walker {
        Walker {
            input_bits: 44,
            output_bits: 44,
            vmid_bits: 16,
        }
    }

    /// What QEMU's SMMU (44 output bits) accepts and refuses, measured on QEMU 10.0.2.
    #[test]
    fn shapes_are_those_that_qemu_walks() {
        let check = |ipa_bits, start_level| {
            Domain {
                root: 0x4000_0000,
                vmid: 1,
                ipa_bits,
                pa_bits: 44,
                start_level,
            }
            .check(&walker())
        };
        for (ipa_bits, start_level) in [(39, 1), (40, 1), (42, 1), (43, 1), (44, 0), (31, 2)] {
            assert_eq!(
                check(ipa_bits, start_level),
                Ok(()),
                "{ipa_bits} bits from level {start_level}"
            );
        }
        for (ipa_bits, start_level) in [(48, 0), (44, 1), (40, 3), (24, 2), (35, 2), (30, 1), (39, 0)] {
            assert!(
                check(ipa_bits, start_level).is_err(),
                "{ipa_bits} bits from level {start_level}"
            );
        }
    }

    /// DDI 0487 D8.2.2: a walk from level 0 needs 44 bits of output at least.
    #[test]
    fn a_narrow_smmu_does_not_start_at_level_0() {
        let domain = Domain {
            root: 0x4000_0000,
            vmid: 1,
            ipa_bits: 42,
            pa_bits: 42,
            start_level: 0,
        };
        let narrow = Walker {
            output_bits: 42,
            ..walker()
        };
        assert!(matches!(domain.check(&narrow), Err(DomainError::Shape { .. })));
        let level_1 = Domain {
            start_level: 1,
            ..domain
        };
        assert_eq!(level_1.check(&narrow), Ok(()));
    }

    /// SMMUv1 and v2 have a width of their own for input addresses.
    #[test]
    fn inputs_are_not_wider_than_the_smmu_translates() {
        let domain = Domain {
            root: 0x4000_0000,
            vmid: 1,
            ipa_bits: 40,
            pa_bits: 40,
            start_level: 1,
        };
        let narrow = Walker {
            input_bits: 36,
            ..walker()
        };
        let error = DomainError::Input {
            ipa_bits: 40,
            input_bits: 36,
        };
        assert_eq!(domain.check(&narrow), Err(error));
    }

    #[test]
    fn concatenated_roots_are_aligned_to_their_size() {
        let domain = Domain {
            root: 0x4000_8000,
            vmid: 1,
            ipa_bits: 42,
            pa_bits: 44,
            start_level: 1,
        };
        assert_eq!(domain.root_size(), 0x8000);
        assert_eq!(domain.check(&walker()), Ok(()));
        let domain = Domain {
            root: 0x4000_4000,
            ..domain
        };
        let error = DomainError::Root {
            root: 0x4000_4000,
            size: 0x8000,
            output_bits: 44,
        };
        assert_eq!(domain.check(&walker()), Err(error));
        let domain = Domain {
            root: 1 << 44,
            ..domain
        };
        assert!(matches!(domain.check(&walker()), Err(DomainError::Root { .. })));
    }

    #[test]
    fn outputs_and_vmids_fit_the_smmu() {
        let good = Domain {
            root: 0x4000_0000,
            vmid: 0x100,
            ipa_bits: 40,
            pa_bits: 44,
            start_level: 1,
        };
        assert_eq!(good.check(&walker()), Ok(()));
        for pa_bits in [43, 48, 0] {
            let error = DomainError::Output {
                pa_bits,
                output_bits: 44,
            };
            assert_eq!(Domain { pa_bits, ..good }.check(&walker()), Err(error));
        }
        let small = Walker {
            vmid_bits: 8,
            ..walker()
        };
        assert_eq!(
            good.check(&small),
            Err(DomainError::Vmid {
                vmid: 0x100,
                vmid_bits: 8
            })
        );
    }
}
