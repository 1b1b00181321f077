//! Who may run code at EL2: the holder of the signing key, and nobody else.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};

/// What a component's signature begins with, so that a signature made for something else is none here.
pub const SIGNATURE_DOMAIN: [u8; 32] = *b"portcullis component, version 1\0";

/// Bytes of a signature: ed25519 (RFC 8032 5.1).
pub const SIGNATURE_SIZE: usize = 64;

/// Bytes of a message: the domain and a SHA-512.
pub const MESSAGE_SIZE: usize = 32 + 64;

/// Why a file is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key is not a point of the curve.
    #[error("the {label} is not an ed25519 public key")]
    Key {
        /// The key's name.
        label: &'static str,
    },
    /// The signature has the wrong length.
    #[error("signature has {size} bytes, ed25519 has {SIGNATURE_SIZE}")]
    Size {
        /// Bytes found.
        size: usize,
    },
    /// The file was not signed with this key, or was changed afterwards.
    #[error("signature does not match the {label}")]
    Mismatch {
        /// The key's name.
        label: &'static str,
    },
}

/// The public key whose holder may sign components.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    key: VerifyingKey,
    label: &'static str,
}

impl TrustedKey {
    /// A key, and what messages call it, such as "development key".
    pub fn new(bytes: &[u8; 32], label: &'static str) -> Result<Self, SignatureError> {
        match VerifyingKey::from_bytes(bytes) {
            // A weak key would accept signatures that nobody made.
            Ok(key) if !key.is_weak() => Ok(TrustedKey { key, label }),
            _ => Err(SignatureError::Key { label }),
        }
    }

    /// What messages call the key.
    pub fn label(&self) -> &'static str {
        self.label
    }
}

/// A file whose signature was verified. Holding one proves that the key's holder signed exactly these bytes as a
/// component; it says nothing about what is in them.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedImage<'a> {
    bytes: &'a [u8],
}

impl<'a> VerifiedImage<'a> {
    /// The file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Lets tests of the later steps begin with bytes of their own.
    #[cfg(test)]
    pub(crate) fn unsigned(bytes: &'a [u8]) -> Self {
        VerifiedImage { bytes }
    }
}

/// What is signed for a file: the domain, then the SHA-512 of the file. Signer and verifier both call this, and
/// neither needs a copy of the file.
pub fn signed_message(file: &[u8]) -> [u8; MESSAGE_SIZE] {
    let mut message = [0; MESSAGE_SIZE];
    let (domain, digest) = message.split_at_mut(SIGNATURE_DOMAIN.len());
    domain.copy_from_slice(&SIGNATURE_DOMAIN);
    digest.copy_from_slice(&Sha512::digest(file));
    message
}

/// Accepts a file if `signature` is the key holder's (RFC 8032, with the strict checks against malleability).
pub fn verify<'a>(
    file: &'a [u8],
    signature: &[u8],
    key: &TrustedKey,
) -> Result<VerifiedImage<'a>, SignatureError> {
    let bytes = signature.try_into().map_err(|_| SignatureError::Size {
        size: signature.len(),
    })?;
    key.key
        .verify_strict(&signed_message(file), &Signature::from_bytes(bytes))
        .map_err(|_| SignatureError::Mismatch { label: key.label })?;
    Ok(VerifiedImage { bytes: file })
}
