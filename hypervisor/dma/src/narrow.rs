//! What the partition file has to say before a guest gets a device that the stream graph would let it have.

use crate::Coverage;
use alloc::string::ToString;
use partition::{Device, Dma, Guest};

/// What keeps `guest` from getting `device` although the stream graph would let it.
pub fn narrow(coverage: Coverage, guest: &Guest, device: &Device) -> Coverage {
    let has_identity = guest
        .memory
        .iter()
        .all(|region| region.pa.is_none_or(|pa| pa == region.ipa));
    match coverage {
        // Untranslated, the device would write to somebody else's memory even if its guest is honest.
        Coverage::Uncovered if device.dma == Dma::Trusted && !has_identity => Coverage::Refused(
            "no SMMU translates its DMA, so the guest's memory has to lie at pa = ipa: write that in the partition file, or leave pa out"
                .to_string(),
        ),
        coverage => coverage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use partition::{DeviceName, MemoryRegion, OnFault, Wait};

    fn guest(places: &[(u64, Option<u64>)]) -> Guest {
        let region = |&(ipa, pa): &(u64, Option<u64>)| MemoryRegion { ipa, size: 4096, pa };
        Guest {
            name: "alice".to_string(),
            image: String::new(),
            initrd: None,
            cpus: Vec::new(),
            memory: places.iter().map(region).collect(),
            bootargs: String::new(),
            devices: Vec::new(),
        }
    }

    fn device(name: &str, wait: Wait, dma: Dma) -> Device {
        let name = match name.parse() {
            Ok(function) => DeviceName::Pci(function),
            Err(_) => DeviceName::Path(name.to_string()),
        };
        Device {
            name,
            wait,
            dma,
            on_fault: OnFault::Log,
        }
    }

    #[test]
    fn what_is_not_translated_needs_memory_where_it_says() {
        let narrowed = |places: &[(u64, Option<u64>)], dma| {
            let device = device("0000:00:01.0", Wait::Slot, dma);
            narrow(Coverage::Uncovered, &guest(places), &device)
        };
        let (same, other) = ((1 << 30, Some(1 << 30)), (1 << 30, Some(1 << 31)));
        assert_eq!(narrowed(&[same], Dma::Trusted), Coverage::Uncovered);
        // The core places it there.
        assert_eq!(narrowed(&[(1 << 30, None)], Dma::Trusted), Coverage::Uncovered);
        for places in [&[same, other][..], &[other]] {
            let Coverage::Refused(why) = narrowed(places, Dma::Trusted) else {
                panic!("{places:?}")
            };
            assert!(why.contains("pa = ipa"), "{why}");
            // Whether that is accepted at all is decided when the master is born.
            assert_eq!(narrowed(places, Dma::Isolated), Coverage::Uncovered);
        }
    }

    #[test]
    fn what_is_refused_stays_so_for_its_own_reason() {
        let refused = Coverage::Refused("why".to_string());
        let device = device("/dma@1000", Wait::Slot, Dma::Trusted);
        assert_eq!(narrow(refused.clone(), &guest(&[(0, None)]), &device), refused);
    }
}
