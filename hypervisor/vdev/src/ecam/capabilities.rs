//! The capabilities that a guest sees: copies at their places, from a list of what is known to be safe.

use super::Messages;
use alloc::vec::Vec;
use pci::{Function, Msi, MsiX, WORDS, id, msi_words, virtio};

/// Power management capabilities: the version in bits 18:16 of the first word; the rest says which states but D0 and
/// D3 there are, and which of them wake the system (Power Management Interface Specification 1.2, 3.2.3).
const POWER_VERSION: u32 = 7 << 16;
/// Power management control: the function keeps its state on a way out of D3hot (3.2.4).
const NO_SOFT_RESET: u32 = 1 << 3;
/// PCI Express capabilities: version and device/port type (PCIe 7.5.3.2).
const EXPRESS_VERSION: u32 = 0xf << 16;
const EXPRESS_INTEGRATED: u32 = 9 << 20;
/// Device capabilities: largest payload, role-based error reporting, function-level reset (PCIe 7.5.3.3).
const EXPRESS_CAPABILITIES: u32 = 7 | 1 << 15 | FUNCTION_LEVEL_RESET;
const FUNCTION_LEVEL_RESET: u32 = 1 << 28;
/// Device control: the fields for payload and read request size, and the bit that starts a reset (PCIe 7.5.3.4).
const EXPRESS_SIZES: u32 = 7 << 5 | 7 << 12;
const INITIATE_RESET: u32 = 1 << 15;

/// One capability as a guest sees it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    id: u32,
    at: u16,
    count: usize,
    words: [u32; WORDS],
    writable: [u32; WORDS],
}

/// What a write to a capability was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// To none of them, or without effect.
    Nothing,
    /// It may have changed how the function is to be switched.
    Switches,
    /// The guest wants the function reset.
    Reset,
}

/// The capabilities of a function, as they are linked.
#[derive(Debug, Clone, Default)]
pub(super) struct Capabilities(Vec<Shown>);

impl Shown {
    /// The capability as it may be shown, without its link to the next one.
    fn new(capability: &pci::Capability, is_virtio: bool, messages: Messages) -> Option<Shown> {
        let mut words = capability.words;
        let [first, second, third, ..] = words;
        let mut writable = [0; WORDS];
        let count = match capability.id {
            id::POWER => {
                words = [first & POWER_VERSION, NO_SOFT_RESET, 0, 0, 0, 0];
                2
            }
            id::MSI if messages == Messages::Shown => {
                writable = Msi::writable(&words);
                let [control, ..] = writable;
                words = [first & !control, 0, 0, 0, 0, 0];
                msi_words(first)
            }
            id::MSI_X if messages == Messages::Shown => {
                words = [first & !MsiX::WRITABLE, second, third, 0, 0, 0];
                writable[0] = MsiX::WRITABLE;
                3
            }
            // On the guest's only bus there is no link, so that it is an integrated endpoint there.
            id::PCI_EXPRESS => {
                let flags = first & EXPRESS_VERSION | EXPRESS_INTEGRATED;
                words = [
                    flags,
                    second & EXPRESS_CAPABILITIES,
                    third & EXPRESS_SIZES,
                    0,
                    0,
                    0,
                ];
                3
            }
            id::VENDOR if is_virtio && virtio::is_shown(first) => virtio::words(first),
            _ => return None,
        };
        // The upper half is what the capability makes of it; its ID, and the link that is made later, are below.
        words[0] = words[0] & 0xffff_0000 | capability.id;
        Some(Shown {
            id: capability.id,
            at: capability.offset,
            count,
            words,
            writable,
        })
    }

    /// Which of its words the register at `at` is.
    fn index(&self, at: u16) -> Option<usize> {
        let index = usize::from(at.checked_sub(self.at)?) / 4;
        (index < self.count).then_some(index)
    }

    fn can_be_reset(&self) -> bool {
        let [_, capabilities, ..] = self.words;
        capabilities & FUNCTION_LEVEL_RESET != 0
    }

    fn end(&self) -> usize {
        usize::from(self.at) + 4 * self.count
    }
}

impl Capabilities {
    /// What of `function`'s list may be shown. A capability that reaches into another one, or out of the space for plain
    /// ones, is left out, and so is a second one of those that there can only be one of.
    pub(super) fn new(function: &Function, messages: Messages) -> Capabilities {
        let mut shown: Vec<Shown> = Vec::new();
        let is_virtio = function.is_virtio();
        for capability in &function.capabilities {
            let Some(new) = Shown::new(capability, is_virtio, messages) else {
                continue;
            };
            let start = usize::from(new.at);
            let apart = |other: &Shown| new.end() <= usize::from(other.at) || other.end() <= start;
            let again = |other: &Shown| new.id == other.id && new.id != id::VENDOR;
            if start >= 0x40 && new.end() <= 0x100 && shown.iter().all(|other| apart(other) && !again(other))
            {
                shown.push(new);
            }
        }
        let mut next = 0;
        for capability in shown.iter_mut().rev() {
            capability.words[0] |= next << 8;
            next = u32::from(capability.at);
        }
        Capabilities(shown)
    }

    /// Where the first one is; zero if there is none.
    pub(super) fn first(&self) -> u16 {
        self.0.first().map_or(0, |shown| shown.at)
    }

    /// The register at `at`; zero if none has it.
    pub(super) fn read(&self, at: u16) -> u32 {
        let mut words = self.0.iter().filter_map(|shown| {
            let index = shown.index(at)?;
            shown.words.get(index).copied()
        });
        words.next().unwrap_or(0)
    }

    /// Writes `merged` to the register at `at`, of which the guest wrote the bits in `mask`.
    pub(super) fn write(&mut self, at: u16, merged: u32, mask: u32) -> Written {
        let mut found = self.0.iter_mut();
        let Some((shown, index)) = found.find_map(|shown| shown.index(at).map(|index| (shown, index))) else {
            return Written::Nothing;
        };
        if shown.id == id::PCI_EXPRESS
            && index == 2
            && shown.can_be_reset()
            && merged & mask & INITIATE_RESET != 0
        {
            return Written::Reset;
        }
        let (Some(word), Some(writable)) = (shown.words.get_mut(index), shown.writable.get(index)) else {
            return Written::Nothing;
        };
        *word = *word & !writable | merged & writable;
        Written::Switches
    }

    /// Makes all registers what they are after a reset.
    pub(super) fn reset(&mut self) {
        for shown in &mut self.0 {
            for (word, writable) in shown.words.iter_mut().zip(shown.writable) {
                *word &= !writable;
            }
        }
    }

    /// What the guest set for messages, of the two kinds it sees.
    pub(super) fn messages(&self) -> (Option<Msi>, Option<MsiX>) {
        let find = |id| self.0.iter().find(|shown| shown.id == id);
        (
            find(id::MSI).map(|shown| Msi::from_words(&shown.words)),
            find(id::MSI_X).map(|shown| MsiX::from_word(shown.words[0])),
        )
    }
}
