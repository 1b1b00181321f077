//! Every rule of the loader, on files made here byte by byte.

mod mutants;
mod refusals;
mod sample;

use crate::*;
use ed25519_dalek::{Signer, SigningKey};
use sample::{DATA, POINTER, RELA_POINTER, Sample, TEXT};

fn plan(bytes: &[u8]) -> Result<LoadPlan<'_>, LoadError> {
    LoadPlan::new(VerifiedImage::unsigned(bytes))
}

fn word(memory: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*memory[offset..].first_chunk().unwrap())
}

#[test]
fn a_good_file_becomes_three_segments() {
    let file = Sample::default().bytes();
    let plan = plan(&file).unwrap();
    let segments: Vec<_> = plan
        .segments()
        .iter()
        .map(|part| (part.start, part.size, part.protection))
        .collect();
    assert_eq!(
        segments,
        [
            (0, 0x1000, Protection::ReadOnly),
            (TEXT, 0x1000, Protection::ReadExecute),
            (DATA, 0x2000, Protection::ReadWrite),
        ]
    );
    assert_eq!(
        (plan.span(), plan.entry(), plan.size(Protection::ReadWrite)),
        (0x4000, TEXT + 4, 0x2000)
    );
    let manifest = plan.manifest();
    assert_eq!(
        (manifest.name(), manifest.version(), manifest.table_memory()),
        ("smmu-v3", (0, 1, 2), 0x10_0000)
    );
    assert_eq!(manifest.compatible().to_string(), "arm,smmu-v3, arm,smmu-v3.1");
    assert!(manifest.drives("arm,smmu-v3.1"));
    assert!(!manifest.drives("arm,smmu-v2") && !manifest.drives(""));
}

#[test]
fn filling_copies_zeroes_and_relocates() {
    let file = Sample::default().bytes();
    let plan = plan(&file).unwrap();
    let mut memory = vec![0xee; plan.span()];
    let base = 0x4_8000_0000;
    plan.fill(&mut memory, base).unwrap();
    assert_eq!(
        word(&memory, RELA_POINTER),
        base + 0x2008,
        "RELA: the addend stands in the table"
    );
    assert_eq!(
        word(&memory, POINTER),
        base + 0x1004,
        "RELR: the addend stands at the target"
    );
    assert_eq!(word(&memory, POINTER + 8), 0x77, "not named by the bitmap");
    assert_eq!(word(&memory, POINTER + 16), base + 0x10, "named by the bitmap");
    assert_eq!(memory[TEXT..TEXT + 0x10], file[TEXT..TEXT + 0x10]);
    assert!(
        memory[TEXT + 0x10..DATA].iter().all(|&byte| byte == 0),
        "behind the code"
    );
    assert!(
        memory[DATA + 0x40..].iter().all(|&byte| byte == 0),
        "variables that start as zero"
    );
}

#[test]
fn filling_wants_exactly_the_memory_of_the_plan() {
    let file = Sample::default().bytes();
    let plan = plan(&file).unwrap();
    let mut memory = vec![0; plan.span() + 1];
    let refused = |size, base| ElfError::Memory {
        size,
        base,
        wanted: 0x4000,
    };
    assert_eq!(
        plan.fill(&mut memory[..0x3fff], 0x1000),
        Err(refused(0x3fff, 0x1000))
    );
    assert_eq!(
        plan.fill(&mut memory[..0x4001], 0x1000),
        Err(refused(0x4001, 0x1000))
    );
    assert_eq!(
        plan.fill(&mut memory[..0x4000], 0x1008),
        Err(refused(0x4000, 0x1008))
    );
    assert_eq!(
        plan.fill(&mut memory[..0x4000], 0u64.wrapping_sub(0x1000)),
        Err(refused(0x4000, u64::MAX - 0xfff))
    );
}

/// Written out, because signer and verifier would agree on any other message as well.
#[test]
fn what_is_signed_says_that_it_is_a_component() {
    let message = signed_message(b"abc");
    assert_eq!(&message[..32], b"portcullis component, version 1\0");
    // SHA-512 of "abc" (FIPS 180-2, C.1).
    assert_eq!(message[32..40], 0xddaf_35a1_9361_7aba_u64.to_be_bytes());
    assert_eq!(message[88..], 0x2a9a_c94f_a54c_a49f_u64.to_be_bytes());
}

#[test]
fn a_signature_belongs_to_one_key_one_file_and_one_purpose() {
    let signer = SigningKey::from_bytes(&[7; 32]);
    let key = TrustedKey::new(&signer.verifying_key().to_bytes(), "development key").unwrap();
    let file = Sample::default().bytes();
    let signature = signer.sign(&signed_message(&file)).to_bytes();
    assert!(LoadPlan::new(verify(&file, &signature, &key).unwrap()).is_ok());

    let check = |file: &[u8], signature: &[u8], message: &str| {
        assert_eq!(verify(file, signature, &key).unwrap_err().to_string(), message);
    };
    let mismatch = "signature does not match the development key";
    let mut changed = file.clone();
    changed[TEXT] ^= 1;
    check(&changed, &signature, mismatch);
    check(&file[..file.len() - 1], &signature, mismatch);
    let mut flipped = signature;
    flipped[40] ^= 0x10;
    check(&file, &flipped, mismatch);
    check(
        &file,
        &SigningKey::from_bytes(&[8; 32])
            .sign(&signed_message(&file))
            .to_bytes(),
        mismatch,
    );
    check(&file, &signer.sign(&file).to_bytes(), mismatch);
    check(&file, &signature[..63], "signature has 63 bytes, ed25519 has 64");
    check(&file, &[], "signature has 0 bytes, ed25519 has 64");
}

#[test]
fn a_key_that_anybody_can_sign_for_is_refused() {
    // The neutral element of the curve: y = 1.
    let mut weak = [0; 32];
    weak[0] = 1;
    let error = TrustedKey::new(&weak, "development key").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the development key is not an ed25519 public key"
    );
    assert!(
        TrustedKey::new(&[2; 32], "development key").is_err(),
        "not a point of the curve"
    );
}
