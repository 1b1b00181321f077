//! Damaged files: refused or loaded inside their memory, never a panic.

use super::plan;
use super::sample::Sample;
use crate::{ComponentManifest, PAGE, Protection};
use proptest::prelude::*;

/// Loads a file if it is accepted, and checks what a plan promises.
fn load(file: &[u8]) -> Result<(), TestCaseError> {
    let Ok(plan) = plan(file) else { return Ok(()) };
    let mut end = 0;
    for segment in plan.segments() {
        prop_assert!(segment.start >= end && segment.start % PAGE == 0 && segment.size % PAGE == 0);
        end = segment.end();
    }
    prop_assert_eq!(end, plan.span());
    let code: Vec<_> = plan
        .segments()
        .iter()
        .filter(|part| part.protection == Protection::ReadExecute)
        .collect();
    prop_assert!(
        code.iter()
            .any(|part| (part.start..part.end()).contains(&plan.entry()))
    );
    let mut memory = vec![0; plan.span()];
    if plan.fill(&mut memory, 0x7000_0000).is_ok() {
        for part in code {
            let contents = &file[part.file_offset..part.file_offset + part.file_size];
            prop_assert_eq!(
                &memory[part.address..part.address + part.file_size],
                contents,
                "code is not relocated"
            );
        }
    }
    Ok(())
}

/// Places that matter more than the padding between them.
fn places() -> impl Strategy<Value = usize> {
    prop_oneof![
        0_usize..0x190,
        0x300_usize..0x420,
        0x500_usize..0x5a0,
        0x700_usize..0x718,
        0x800_usize..0x810,
        0x2000_usize..0x2040
    ]
}

/// Values that arithmetic stumbles over.
fn words() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        prop::sample::select(vec![
            0,
            1,
            7,
            0x18,
            0xfff,
            0x1000,
            0x2000,
            0x10_0000,
            1 << 31,
            1 << 32,
            i64::MAX as u64,
            1 << 63,
            u64::MAX - 7,
            u64::MAX
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn changed_bytes(changes in prop::collection::vec((places(), any::<u8>()), 1..5), symbols in any::<bool>()) {
        let mut file = Sample { symbols: if symbols { vec![1] } else { vec![] }, ..Sample::default() }.bytes();
        for (place, value) in changes {
            file[place] = value;
        }
        load(&file)?;
    }

    #[test]
    fn changed_words(changes in prop::collection::vec((places(), words()), 1..3), size in 0_usize..0x2040, cut in any::<bool>()) {
        let mut file = Sample::default().bytes();
        for (place, value) in changes {
            let place = place.min(0x2038) / 8 * 8;
            file[place..place + 8].copy_from_slice(&value.to_le_bytes());
        }
        if cut {
            file.truncate(size);
        }
        load(&file)?;
    }

    #[test]
    fn hostile_tables(
        headers in prop::collection::vec((0_usize..6, 0_usize..4, words()), 0..2),
        dynamic in prop::collection::vec((prop::sample::select(vec![7_u64, 8, 35, 36]), words()), 0..3),
        rela in prop::collection::vec((words(), words()), 0..2),
        relr in prop::collection::vec(words(), 0..6),
    ) {
        let mut sample = Sample::default();
        for (index, field, value) in headers {
            let header = &mut sample.headers[index];
            *[&mut header.offset, &mut header.address, &mut header.file_size, &mut header.memory_size][field] = value;
        }
        sample.dynamic.extend(dynamic);
        sample.rela.extend(rela.into_iter().map(|(target, addend)| [target, 1027, addend]));
        sample.relr.extend(relr);
        load(&sample.bytes())?;
    }

    #[test]
    fn any_manifest(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        if let Some(version) = bytes.first_chunk_mut() {
            *version = driver_abi::ABI_VERSION.to_le_bytes();
        }
        if let Ok(manifest) = ComponentManifest::parse(&bytes) {
            prop_assert!(!manifest.name().is_empty() && manifest.compatible().count() > 0);
        }
    }
}
