//! Which commands forget the cached translations of a range.

use crate::Features;
use crate::commands::Command;
use crate::error::Error;
use smmu_driver::IpaRange;

/// Without range invalidation, how many pages are forgotten one by one. Beyond it, forgetting the whole VMID
/// costs less than the commands would.
pub const PAGE_LIMIT: u64 = 64;

/// How a range is forgotten.
#[derive(Debug, Clone, Copy)]
enum Method {
    /// By ranges of pages.
    Ranges,
    /// Page by page.
    Pages,
    /// With all of the VMID, in one command.
    Vmid,
}

/// The commands that forget one range, without the CMD_SYNC behind them.
#[derive(Debug, Clone)]
pub struct Invalidation {
    vmid: u16,
    ipa: u64,
    pages: u64,
    method: Method,
}

impl Invalidation {
    /// The commands for `range` on an SMMU with `features`.
    pub fn new(range: &IpaRange, features: &Features) -> Result<Self, Error> {
        // No domain has more bits of IPA than the SMMU puts out, or than four levels of 4 KiB tables resolve.
        let limit = 1 << features.output_bits.min(48);
        let end = range.ipa.checked_add(range.size);
        let fits = range.ipa < limit && end.is_some_and(|end| end <= limit);
        if !fits || !range.ipa.is_multiple_of(4096) || !range.size.is_multiple_of(4096) {
            return Err(Error::Range {
                ipa: range.ipa,
                size: range.size,
            });
        }
        let pages = range.size >> 12;
        let (pages, method) = match pages {
            0 => (1, Method::Vmid),
            _ if features.range_invalidation => (pages, Method::Ranges),
            1..=PAGE_LIMIT => (pages, Method::Pages),
            _ => (1, Method::Vmid),
        };
        Ok(Invalidation {
            vmid: range.vmid,
            ipa: range.ipa,
            pages,
            method,
        })
    }
}

impl Iterator for Invalidation {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        if self.pages == 0 {
            return None;
        }
        let (vmid, ipa) = (self.vmid, self.ipa);
        let (command, pages) = match self.method {
            Method::Vmid => (Command::Vmid { vmid }, 1),
            Method::Pages => (Command::Page { vmid, ipa }, 1),
            // One page has no range form: NUM = SCALE = TTL = 0 with a granule is reserved (IHI 0070 4.4.1.1).
            Method::Ranges if self.pages == 1 => (Command::Page { vmid, ipa }, 1),
            Method::Ranges => {
                // The five lowest bits that are set, as `blocks << scale` pages: each command clears them, so
                // that a range needs one command for each five bits of its size, and nothing more is forgotten.
                let scale = self.pages.trailing_zeros().min(31).to_le_bytes()[0];
                let blocks = ((self.pages >> scale) & 0x1f).to_le_bytes()[0];
                match (blocks, scale) {
                    (0, _) => (
                        Command::Pages {
                            vmid,
                            ipa,
                            blocks: 32,
                            scale,
                        },
                        32 << scale,
                    ),
                    (1, 0) => (Command::Page { vmid, ipa }, 1),
                    _ => (
                        Command::Pages {
                            vmid,
                            ipa,
                            blocks,
                            scale,
                        },
                        u64::from(blocks) << scale,
                    ),
                }
            }
        };
        self.pages -= pages;
        self.ipa += pages << 12;
        Some(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ste::tests::features;
    use proptest::prelude::*;

    /// The pages that a command forgets.
    fn covered(command: &Command) -> (u64, u64) {
        match *command {
            Command::Page { ipa, .. } => (ipa, 1),
            Command::Pages {
                ipa, blocks, scale, ..
            } => (ipa, u64::from(blocks) << scale),
            _ => panic!("{command:?}"),
        }
    }

    /// With as many output bits as there are bits of IPA.
    fn wide() -> Features {
        Features {
            output_bits: 48,
            ..features()
        }
    }

    fn commands(ipa: u64, size: u64, features: &Features) -> Vec<Command> {
        Invalidation::new(&IpaRange { vmid: 9, ipa, size }, features)
            .unwrap()
            .collect()
    }

    proptest! {
        /// Exactly the range, each page once, in few commands, none in a reserved form.
        #[test]
        fn ranges_are_covered_exactly(first in 0_u64..1 << 36, bits in 0_u32..=36, seed: u64) {
            let pages = (seed & ((1 << bits) - 1)).max(1).min((1 << 36) - first);
            let mut next = first << 12;
            let commands = commands(next, pages << 12, &wide());
            prop_assert!(commands.len() <= 8, "{} commands", commands.len());
            for command in &commands {
                let (ipa, count) = covered(command);
                prop_assert_eq!(ipa, next);
                next += count << 12;
                if let Command::Pages { blocks, scale, .. } = *command {
                    prop_assert!((1..=32).contains(&blocks) && scale <= 31 && (blocks, scale) != (1, 0));
                }
            }
            prop_assert_eq!(next, (first + pages) << 12);
        }

        #[test]
        fn without_ranges_pages_go_one_by_one_up_to_the_limit(first in 0_u64..1 << 30, pages in 1_u64..200) {
            let features = Features { range_invalidation: false, ..features() };
            let commands = commands(first << 12, pages << 12, &features);
            if pages <= PAGE_LIMIT {
                prop_assert_eq!(commands.len() as u64, pages);
                for (page, command) in (first..).zip(&commands) {
                    prop_assert_eq!(*command, Command::Page { vmid: 9, ipa: page << 12 });
                }
            } else {
                prop_assert_eq!(commands, vec![Command::Vmid { vmid: 9 }]);
            }
        }
    }

    #[test]
    fn five_bits_of_the_size_go_into_a_command() {
        assert_eq!(commands(0, (1 << 48) - 4096, &wide()).len(), 8);
        assert_eq!(commands(0, 1 << 48, &wide()).len(), 1);
    }

    #[test]
    fn size_0_is_the_whole_vmid() {
        assert_eq!(commands(0, 0, &features()), [Command::Vmid { vmid: 9 }]);
    }

    #[test]
    fn ranges_that_are_not_pages_are_refused() {
        for (ipa, size) in [
            (1, 4096),
            (0, 1),
            (1 << 44, 4096),
            ((1 << 44) - 4096, 8192),
            (u64::MAX << 12, 8192),
        ] {
            let range = IpaRange { vmid: 1, ipa, size };
            assert_eq!(
                Invalidation::new(&range, &features()).err(),
                Some(Error::Range { ipa, size })
            );
        }
    }
}
