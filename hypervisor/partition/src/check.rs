//! What has to hold between the parts of a partition.

use alloc::format;
use alloc::string::String;

use crate::error::{PartitionError, Problem};
use crate::{BLOCK, DeviceName, Guest, IPA_END, MemoryRegion, PAGE, Partition, Wait, When};

type Result<T> = core::result::Result<T, PartitionError>;

pub(crate) fn partition(partition: &Partition) -> Result<()> {
    if let When::Delay { delay_ms } = partition.loading.when
        && partition.loading.seal_ms <= delay_ms
    {
        let problem = Problem::SealedTooEarly { delay_ms };
        return Err(PartitionError::value(
            "/loading",
            "seal-ms",
            partition.loading.seal_ms,
            problem,
        ));
    }
    for (index, guest) in partition.guests.iter().enumerate() {
        let place = format!("/guest@{index} (guest {})", guest.name);
        let before = partition.guests.get(..index).unwrap_or_default();
        if before.iter().any(|other| other.name == guest.name) {
            return Err(PartitionError::value(
                &place,
                "guest-name",
                &guest.name,
                Problem::DuplicateName,
            ));
        }
        check_cpus(&place, before, guest)?;
        check_memory(&place, before, guest)?;
        check_devices(&place, before, guest)?;
    }
    Ok(())
}

fn check_cpus(place: &str, before: &[Guest], guest: &Guest) -> Result<()> {
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let own = guest.cpus.get(..index).unwrap_or_default();
        let owner = if own.contains(cpu) {
            Some(guest)
        } else {
            before.iter().find(|other| other.cpus.contains(cpu))
        };
        if let Some(owner) = owner {
            let problem = Problem::SharedCpu {
                owner: owner.name.clone(),
            };
            return Err(PartitionError::value(place, "cpus", cpu, problem));
        }
    }
    Ok(())
}

fn check_devices(place: &str, before: &[Guest], guest: &Guest) -> Result<()> {
    for (index, device) in guest.devices.iter().enumerate() {
        let own = guest.devices.get(..index).unwrap_or_default();
        let owner = if own.iter().any(|other| other.name == device.name) {
            Some(guest)
        } else {
            before
                .iter()
                .find(|guest| guest.devices.iter().any(|other| other.name == device.name))
        };
        if let Some(owner) = owner {
            let problem = Problem::SharedDevice {
                owner: owner.name.clone(),
            };
            return Err(PartitionError::value(place, "device", &device.name, problem));
        }
        let arrives = matches!(device.wait, Wait::Device | Wait::Slot);
        if arrives && matches!(device.name, DeviceName::Path(_)) {
            return Err(PartitionError::value(
                place,
                "device",
                &device.name,
                Problem::CannotArrive,
            ));
        }
    }
    Ok(())
}

fn check_memory(place: &str, before: &[Guest], guest: &Guest) -> Result<()> {
    let wrong = |value: String, problem| Err(PartitionError::value(place, "memory", value, problem));
    for (index, region) in guest.memory.iter().enumerate() {
        check_region(place, region)?;
        if index == 0 && region.size < BLOCK {
            return wrong(text(region), Problem::SmallFirstRegion);
        }
        let own = guest.memory.get(..index).unwrap_or_default();
        if let Some(other) = own
            .iter()
            .find(|other| overlap(region.ipa, region.size, other.ipa, other.size))
        {
            let problem = Problem::Overlap {
                other: text(other),
                owner: guest.name.clone(),
            };
            return wrong(text(region), problem);
        }
        let Some(pa) = region.pa else { continue };
        let owned = before
            .iter()
            .flat_map(|guest| guest.memory.iter().map(move |region| (guest, region)))
            .chain(own.iter().map(|region| (guest, region)));
        for (owner, other) in owned {
            if other
                .pa
                .is_some_and(|other_pa| overlap(pa, region.size, other_pa, other.size))
            {
                let problem = Problem::Overlap {
                    other: text(other),
                    owner: owner.name.clone(),
                };
                return wrong(text(region), problem);
            }
        }
    }
    Ok(())
}

fn check_region(place: &str, region: &MemoryRegion) -> Result<()> {
    let wrong = |value: String, problem| Err(PartitionError::value(place, "memory", value, problem));
    // The core maps what it places itself with blocks.
    let alignment = if region.pa.is_some() { PAGE } else { BLOCK };
    for value in [region.ipa, region.size, region.pa.unwrap_or(0)] {
        if !value.is_multiple_of(alignment) {
            return wrong(format!("{value:#x}"), Problem::Misaligned { alignment });
        }
    }
    if region.size == 0 {
        return wrong(text(region), Problem::EmptyRegion);
    }
    for start in [Some(region.ipa), region.pa].into_iter().flatten() {
        if start.checked_add(region.size).is_none_or(|end| end > IPA_END) {
            return wrong(text(region), Problem::Beyond { end: IPA_END });
        }
    }
    Ok(())
}

/// Whether two ranges that do not wrap have an address in common.
fn overlap(a: u64, a_size: u64, b: u64, b_size: u64) -> bool {
    if a < b { b - a < a_size } else { a - b < b_size }
}

fn text(region: &MemoryRegion) -> String {
    let MemoryRegion { ipa, size, pa } = region;
    match pa {
        Some(pa) => format!("{size:#x} bytes at IPA {ipa:#x}, PA {pa:#x}"),
        None => format!("{size:#x} bytes at IPA {ipa:#x}"),
    }
}
