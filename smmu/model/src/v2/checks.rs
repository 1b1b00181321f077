//! What is checked of a whole instance, and of two.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::bank::Bank;
use super::host::Host;
use super::instance::Instance;
use super::registers::{cr0, s2cr};
use super::route::Route;

/// How some stream could pass untranslated.
pub(super) fn opening<H: Host>(instance: &Instance<H>) -> Option<(String, u32)> {
    let value = instance.cr0;
    if !instance.client_port_enabled() {
        return Some(("CR0.CLIENTPD is set".into(), value));
    }
    if value & cr0::USFCFG == 0 {
        return Some(("CR0.USFCFG is clear".into(), value));
    }
    if value & cr0::SMCFCFG == 0 && instance.overlap().is_some() {
        return Some(("stream mappings conflict, and CR0.SMCFCFG is clear".into(), value));
    }
    let valid = (0..instance.s2crs.len()).filter(|&index| instance.is_valid(index));
    for index in valid {
        if let Route::Bypass(_) = instance.route_through(index) {
            let value = instance.s2crs.get(index).map_or(0, |word| word.value);
            return Some((format!("S2CR{index} is valid"), value));
        }
    }
    None
}

/// The first register that matters and differs.
pub(super) fn difference<H: Host>(first: &Instance<H>, second: &Instance<H>) -> Option<(String, u64)> {
    if first.cr0 != second.cr0 {
        return Some(("CR0".into(), second.cr0.into()));
    }
    for index in 0..first.s2crs.len() {
        let one = (
            first.is_valid(index),
            first.smrs.get(index)?.value,
            first.s2crs.get(index)?.value,
        );
        let two = (
            second.is_valid(index),
            second.smrs.get(index)?.value,
            second.s2crs.get(index)?.value,
        );
        if one.0 != two.0 || one.0 && one.1 != two.1 {
            return Some((format!("SMR{index}"), two.1.into()));
        }
        if one.0 && one.2 != two.2 {
            return Some((format!("S2CR{index}"), two.2.into()));
        }
    }
    let used = first
        .s2crs
        .iter()
        .zip(0..)
        .filter(|(_, index)| first.is_valid(*index));
    let used: Vec<usize> = used
        .map(|(word, _)| (word.value & s2cr::CBNDX) as usize)
        .collect();
    used.into_iter().find_map(|index| {
        let (one, two) = (first.banks.get(index)?, second.banks.get(index)?);
        bank_difference(one, two)
            .map(|register| (format!("{register} of context bank {index}"), index as u64))
    })
}

fn bank_difference(one: &Bank, two: &Bank) -> Option<&'static str> {
    let differences = [
        ("CBAR", one.cbar != two.cbar),
        ("CBA2R", one.cba2r != two.cba2r),
        ("SCTLR", one.sctlr != two.sctlr),
        ("TCR", one.tcr != two.tcr),
        ("TTBR0", one.ttbr0 != two.ttbr0),
    ];
    differences
        .into_iter()
        .find(|(_, differ)| *differ)
        .map(|(register, _)| register)
}
