//! Interrupt lines, which SMMUs may share.

use crate::SmmuId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Turns off what an SMMU that lost its driver interrupts by, but for lines of others that have one. `lines` are those of every
/// SMMU. Goes on after an error, and returns all of them with their lines.
pub fn silence<E>(
    lost: SmmuId,
    lines: &[Vec<u32>],
    is_live: impl Fn(SmmuId) -> bool,
    mut disable: impl FnMut(u32) -> Result<(), E>,
) -> Vec<(u32, E)> {
    let others = (0..lines.len())
        .map(SmmuId)
        .filter(|other| *other != lost && is_live(*other));
    let needed: BTreeSet<u32> = others
        .filter_map(|other| lines.get(other.0))
        .flatten()
        .copied()
        .collect();
    let own: BTreeSet<u32> = lines.get(lost.0).into_iter().flatten().copied().collect();
    own.difference(&needed)
        .filter_map(|line| disable(*line).err().map(|error| (*line, error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(lost: usize, live: &[usize]) -> Vec<u32> {
        let lines = [vec![40, 41], vec![41, 42], vec![], vec![40]];
        let mut off = Vec::new();
        let failed = silence(
            SmmuId(lost),
            &lines,
            |smmu| live.contains(&smmu.0),
            |line| {
                off.push(line);
                Ok::<_, ()>(())
            },
        );
        assert!(failed.is_empty());
        off
    }

    #[test]
    fn a_line_that_another_live_smmu_uses_stays_on() {
        assert_eq!(off(0, &[1]), [40]);
        assert_eq!(off(0, &[1, 3]), []);
        assert_eq!(off(1, &[0, 1, 2, 3]), [42]);
    }

    #[test]
    fn a_line_that_no_other_live_smmu_uses_goes_off() {
        assert_eq!(off(0, &[0]), [40, 41]);
        assert_eq!(off(1, &[2, 3]), [41, 42]);
        assert_eq!(off(2, &[0, 1]), []);
        assert_eq!(off(9, &[0]), []);
    }

    #[test]
    fn an_error_keeps_no_other_line_on() {
        let lines = [vec![40, 41, 42]];
        let mut tried = Vec::new();
        let failed = silence(
            SmmuId(0),
            &lines,
            |_| true,
            |line| {
                tried.push(line);
                if line == 40 { Err("stuck") } else { Ok(()) }
            },
        );
        assert_eq!(tried, [40, 41, 42]);
        assert_eq!(failed, [(40, "stuck")]);
    }
}
