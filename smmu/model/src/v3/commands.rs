//! Commands as raw words (IHI 0070 4).

use super::config::Config;
use crate::bits::{aligned, bit, field, low16, low32, mask};
use crate::stage2::{IpaRange, Range, level_shift};

/// A legal command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Prefetches and invalidations of what is not modelled: stage 1, context descriptors.
    Nothing,
    /// CMD_CFGI_STE.
    InvalidateSte { stream: u32, leaf: bool },
    /// CMD_CFGI_STE_RANGE; CMD_CFGI_ALL is all stream IDs.
    InvalidateSteRange { first: u32, last: u32 },
    /// CMD_TLBI_S12_VMALL.
    InvalidateVmid { vmid: u16 },
    /// CMD_TLBI_S2_IPA.
    InvalidateIpa(IpaRange),
    /// CMD_TLBI_NSNH_ALL.
    InvalidateAll,
    /// CMD_RESUME.
    Resume { stream: u32, tag: u16, retry: bool },
    /// CMD_STALL_TERM.
    TerminateStalls { stream: u32 },
    /// CMD_SYNC; whether an interrupt is asked for.
    Sync { interrupt: bool },
}

const OPCODE: u64 = mask(7, 0);
const SUBSTREAM: u64 = mask(31, 11);
const STREAM: u64 = mask(63, 32);
const VMID: u64 = mask(47, 32);
const ASID: u64 = mask(63, 48);
const RANGE: u64 = mask(25, 20) | mask(16, 12);
const ADDRESS_FIELDS: u64 = mask(63, 12) | mask(11, 8) | 1;

/// Decodes a command; `Err` says why it is CERROR_ILL.
pub(super) fn decode(words: [u64; 2], config: &Config) -> Result<Command, String> {
    let [word0, word1] = words;
    let opcode = field(word0, 7, 0);
    let (fields0, fields1) = fields(opcode, config)?;
    if word0 & !(OPCODE | fields0) != 0 || word1 & !fields1 != 0 {
        let reserved = (word0 & !(OPCODE | fields0), word1 & !fields1);
        return Err(format!(
            "opcode {opcode:#x} has reserved bits set: {:#x}, {:#x}",
            reserved.0, reserved.1
        ));
    }
    let stream = low32(word0 >> 32);
    let vmid = low16(word0 >> 32);
    if fields0 & STREAM == VMID && !config.vmid16() && vmid > 0xff {
        return Err(format!(
            "opcode {opcode:#x} names VMID {vmid:#x} without IDR0.VMID16"
        ));
    }
    Ok(match opcode {
        0x03 => Command::InvalidateSte {
            stream,
            leaf: bit(word1, 0),
        },
        0x04 => {
            let low = mask(low32(field(word1, 4, 0)), 0);
            let first = stream & !low32(low);
            if field(word1, 4, 0) != 31 && first != stream {
                return Err(format!(
                    "CMD_CFGI_STE_RANGE: StreamID {stream:#x} is not aligned to its range"
                ));
            }
            Command::InvalidateSteRange {
                first,
                last: first | low32(low),
            }
        }
        0x28 => Command::InvalidateVmid { vmid },
        0x2a => Command::InvalidateIpa(ipa_range(word0, word1, vmid, config)?),
        0x30 => Command::InvalidateAll,
        0x44 => Command::Resume {
            stream,
            tag: low16(word1),
            retry: field(word0, 13, 12) == 1,
        },
        0x45 => Command::TerminateStalls { stream },
        0x46 if field(word0, 13, 12) == 3 => return Err("CMD_SYNC: CS = 3 is reserved".into()),
        0x46 => Command::Sync {
            interrupt: field(word0, 13, 12) == 1,
        },
        _ => Command::Nothing,
    })
}

/// The fields of each command (beside the opcode), or why this SMMU does not have it.
fn fields(opcode: u64, config: &Config) -> Result<(u64, u64), String> {
    let (fields0, fields1, offered) = match opcode {
        0x01 => (SUBSTREAM | STREAM, 0, true),
        0x02 => (SUBSTREAM | STREAM, mask(63, 12) | mask(9, 0), true),
        0x03 => (STREAM, 1, true),
        0x04 => (STREAM, mask(4, 0), true),
        0x05 => (SUBSTREAM | STREAM, 1, config.stage1()),
        0x06 => (STREAM, 0, config.stage1()),
        0x10 => (VMID, 0, config.stage1()),
        0x11 => (VMID | ASID, 0, config.stage1()),
        0x12 => (RANGE | VMID | ASID, ADDRESS_FIELDS, config.stage1()),
        0x13 => (RANGE | VMID, ADDRESS_FIELDS, config.stage1()),
        0x20 => (0, 0, config.hyp()),
        0x21 => (ASID, 0, config.hyp()),
        0x22 => (RANGE | ASID, ADDRESS_FIELDS, config.hyp()),
        0x23 => (RANGE, ADDRESS_FIELDS, config.hyp()),
        0x28 => (VMID, 0, config.stage2()),
        0x2a => (RANGE | VMID, mask(51, 12) | mask(11, 8) | 1, config.stage2()),
        0x30 => (0, 0, true),
        0x44 => (STREAM | mask(13, 12), mask(15, 0), config.stall_model() != 1),
        0x45 => (STREAM, 0, config.stall_model() != 1),
        0x46 if config.msi() => (mask(63, 22) | mask(13, 12), mask(51, 2), true),
        0x46 => (mask(27, 22) | mask(13, 12), 0, true),
        _ => {
            return Err(format!(
                "opcode {opcode:#x} does not exist, or belongs to a feature that is not modelled"
            ));
        }
    };
    offered
        .then_some((fields0, fields1))
        .ok_or_else(|| format!("opcode {opcode:#x} is not offered by the ID registers"))
}

/// CMD_TLBI_S2_IPA with its range fields (4.4.1).
fn ipa_range(word0: u64, word1: u64, vmid: u16, config: &Config) -> Result<IpaRange, String> {
    let start = word1 & mask(51, 12);
    let (num, scale) = (field(word0, 16, 12), field(word0, 25, 20));
    let (ttl, tg) = (low32(field(word1, 9, 8)), field(word1, 11, 10));
    if start >> config.output_bits() != 0 {
        return Err(format!("CMD_TLBI_S2_IPA: address {start:#x} is beyond IAS"));
    }
    let leaf = bit(word1, 0);
    if tg == 0 || !config.range_invalidation() {
        if num | scale | u64::from(ttl) | tg != 0 {
            return Err(format!(
                "CMD_TLBI_S2_IPA: NUM {num}, SCALE {scale}, TTL {ttl}, TG {tg} without a range"
            ));
        }
        return Ok(IpaRange {
            vmid,
            start,
            range: None,
            leaf,
        });
    }
    let granule = match tg {
        1 => 12,
        2 => 14,
        _ => 16,
    };
    if !config.granule(granule) {
        return Err(format!(
            "CMD_TLBI_S2_IPA: TG {tg} is a granule that IDR5 does not offer"
        ));
    }
    if num == 0 && scale == 0 && ttl == 0 {
        return Err("CMD_TLBI_S2_IPA: NUM, SCALE and TTL all zero with a TG is reserved".into());
    }
    if scale > 39 {
        return Err(format!("CMD_TLBI_S2_IPA: SCALE {scale} is reserved"));
    }
    // Level 1 blocks exist with the 4 KiB granule only.
    if ttl == 1 && granule != 12 {
        return Err(format!("CMD_TLBI_S2_IPA: TTL 1 with TG {tg} is reserved"));
    }
    let level = (ttl != 0).then_some(ttl);
    let unit = level_shift(granule, level.unwrap_or(3));
    if !aligned(start, 1 << unit) {
        return Err(format!(
            "CMD_TLBI_S2_IPA: address {start:#x} is not aligned to TG and TTL"
        ));
    }
    let bytes = u128::from(num + 1) << (scale + u64::from(granule));
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Ok(IpaRange {
        vmid,
        start,
        range: Some(Range {
            bytes,
            granule,
            level,
        }),
        leaf,
    })
}
