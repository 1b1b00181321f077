//! From a stream ID to a stream mapping (SMMU_SMRn, SMMU_S2CRn).

use alloc::format;
use alloc::vec::Vec;

use super::host::Host;
use super::instance::Instance;
use super::registers::{cr0, s2cr, smr};
use super::route::{Bypass, FaultKind, Route};
use crate::Rule;
use crate::bits::{bit, field};

/// What a stream mapping compares: a stream ID, and the bits of it that do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    id: u32,
    mask: u32,
}

const SMR: &str = "IHI 0062 SMMU_SMRn";
const S2CR: &str = "IHI 0062 SMMU_S2CRn";

impl<H: Host> Instance<H> {
    /// Whether a stream mapping takes part.
    pub(super) fn is_valid(&self, index: usize) -> bool {
        if !self.params.stream_matching() {
            return index < self.s2crs.len();
        }
        if self.extended_ids() {
            self.s2crs
                .get(index)
                .is_some_and(|word| word.value & s2cr::EXIDVALID != 0)
        } else {
            self.smrs
                .get(index)
                .is_some_and(|word| word.value & smr::VALID != 0)
        }
    }

    /// Whether any stream mapping takes part.
    pub(super) fn any_valid(&self) -> bool {
        (0..self.s2crs.len()).any(|index| self.is_valid(index))
    }

    fn comparison(&self, index: usize) -> Option<Match> {
        let value = u64::from(self.smrs.get(index)?.value);
        let high = if self.extended_ids() { 15 } else { 14 };
        let half = |top: u32, low: u32| crate::bits::low32(field(value, top, low));
        Some(Match {
            id: half(high, 0),
            mask: half(high + 16, 16),
        })
    }

    fn valid_matches(&self) -> Vec<(usize, Match)> {
        (0..self.smrs.len())
            .filter(|&index| self.is_valid(index))
            .filter_map(|index| Some((index, self.comparison(index)?)))
            .collect()
    }

    /// The stream mappings that a stream ID meets.
    fn mappings_of(&self, stream: u32) -> Vec<usize> {
        if u64::from(stream) >> self.params.stream_bits() != 0 {
            return Vec::new();
        }
        let index = stream as usize;
        if !self.params.stream_matching() {
            return (index < self.s2crs.len()).then_some(index).into_iter().collect();
        }
        self.valid_matches()
            .into_iter()
            .filter(|(_, entry)| (entry.id ^ stream) & !entry.mask == 0)
            .map(|(index, _)| index)
            .collect()
    }

    /// Two valid mappings that a stream ID could meet at once.
    pub(super) fn overlap(&self) -> Option<(usize, usize)> {
        if !self.params.stream_matching() {
            return None;
        }
        let valid = self.valid_matches();
        valid.iter().enumerate().find_map(|(position, (one, first))| {
            let meets = |second: &Match| (first.id ^ second.id) & !(first.mask | second.mask) == 0;
            let (other, _) = valid
                .iter()
                .skip(position + 1)
                .find(|(_, second)| meets(second))?;
            Some((*one, *other))
        })
    }

    /// What becomes of a stream's transactions.
    pub(super) fn route(&self, stream: u32) -> Route {
        if !self.client_port_enabled() {
            return Route::Bypass(Bypass::ClientPortDisabled);
        }
        match self.mappings_of(stream).as_slice() {
            [] if self.cr0 & cr0::USFCFG != 0 => Route::Fault(FaultKind::UnidentifiedStream),
            [] => Route::Bypass(Bypass::Unidentified),
            [index] => self.route_through(*index),
            _ if self.cr0 & cr0::SMCFCFG != 0 => Route::Fault(FaultKind::StreamMatchConflict),
            _ => Route::Bypass(Bypass::StreamMatchConflict),
        }
    }

    /// What a stream mapping says.
    pub(super) fn route_through(&self, index: usize) -> Route {
        let value = self.s2crs.get(index).map_or(s2cr::TYPE, |word| word.value);
        match field(value.into(), 17, 16) {
            0 => self.route_to((value & s2cr::CBNDX) as usize),
            1 => Route::Bypass(Bypass::StreamMapping(index)),
            _ => Route::Fault(FaultKind::InvalidContext),
        }
    }

    pub(super) fn write_smr(&mut self, index: usize, value: u32) {
        if self.extended_ids() {
            self.write_smr_fields(
                index,
                value,
                value & u32::from(self.params.mask_bits) << 16 | value & 0xffff,
            );
            return;
        }
        self.reserved("SMR", value.into(), !u64::from(smr::RESERVED), SMR);
        let ids = (1u32 << self.params.stream_bits().min(15)) - 1;
        let masks = u32::from(self.params.mask_bits & 0x7fff) << 16;
        self.write_smr_fields(index, value & !smr::RESERVED, value & (smr::VALID | masks | ids));
    }

    /// Bits that do not exist read as zero, which is how software finds them; a valid mapping must not count on them.
    fn write_smr_fields(&mut self, index: usize, asked: u32, kept: u32) {
        let Some(word) = self.smrs.get_mut(index) else {
            return;
        };
        (word.value, word.written) = (kept, true);
        if asked != kept && self.is_valid(index) {
            let detail = format!("bits {:#x} do not exist", asked & !kept);
            self.violation(Rule::Reserved, format!("SMR{index}"), asked, SMR, detail);
        }
    }

    pub(super) fn write_s2cr(&mut self, index: usize, value: u32) {
        let kind = field(value.into(), 17, 16);
        let common = s2cr::TYPE
            | s2cr::SHCFG
            | s2cr::MTCFG
            | s2cr::MEM_ATTR
            | s2cr::RACFG
            | s2cr::WACFG
            | s2cr::TRANSIENTCFG;
        let mut fields = match kind {
            0 => common | s2cr::CBNDX | s2cr::PRIVCFG | s2cr::INSTCFG,
            1 => common | s2cr::BYPASS_BSU | s2cr::BYPASS_FB,
            _ => s2cr::TYPE,
        };
        if self.extended_ids() {
            fields |= s2cr::EXIDVALID;
        }
        self.reserved("S2CR", value.into(), fields.into(), S2CR);
        self.check_s2cr(value, kind);
        if let Some(word) = self.s2crs.get_mut(index) {
            (word.value, word.written) = (value & fields, true);
        }
    }

    fn check_s2cr(&self, value: u32, kind: u64) {
        let wide = u64::from(value);
        if kind == 3 {
            self.encoding("S2CR.TYPE", kind, S2CR);
        }
        if kind < 2 {
            for (name, low) in [("RACFG", 20), ("WACFG", 22)] {
                if field(wide, low + 1, low) == 1 {
                    self.encoding(&format!("S2CR.{name}"), 1, S2CR);
                }
            }
        }
        if kind != 0 {
            return;
        }
        if field(wide, 27, 26) == 1 {
            self.encoding("S2CR.INSTCFG", 1, S2CR);
        }
        if field(wide, 15, 12) != 0 && !bit(wide, 11) {
            let detail = "MemAttr without MTCFG has no effect";
            self.violation(Rule::Reserved, "S2CR.MemAttr", value, S2CR, detail);
        }
        let bank = field(wide, 7, 0);
        if bank >= self.banks.len() as u64 {
            let detail = format!("context bank {bank}, while IDR1.NUMCB is {}", self.banks.len());
            self.violation(Rule::IllegalStreamMapping, "S2CR.CBNDX", bank, S2CR, detail);
        }
    }

    /// What has to hold of the stream mappings while transactions are looked at.
    pub(super) fn check_mappings(&self) {
        if !self.client_port_enabled() {
            return;
        }
        if let Some((one, other)) = self.overlap() {
            let subject = format!("SMR{one} and SMR{other}");
            let detail = "a stream ID can match both, which is UNPREDICTABLE";
            let values = self.smrs.get(other).map_or(0, |word| word.value);
            self.violation(Rule::StreamMatchConflict, subject, values, SMR, detail);
        }
        let unknown = |name, index| {
            let detail = "it takes part with its UNKNOWN reset value";
            self.violation(
                Rule::Unknown,
                format!("{name}{index}"),
                0u32,
                "IHI 0062 SMMU_SMRn, SMMU_S2CRn",
                detail,
            );
        };
        let all_valid_bits_in_s2cr = self.extended_ids();
        for (index, word) in self.smrs.iter().enumerate() {
            if !word.written && self.params.stream_matching() && !all_valid_bits_in_s2cr {
                unknown("SMR", index);
            }
        }
        for (index, word) in self.s2crs.iter().enumerate() {
            if !word.written && (all_valid_bits_in_s2cr || self.is_valid(index)) {
                unknown("S2CR", index);
            }
        }
    }
}
