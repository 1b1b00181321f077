//! mallory: a guest that attacks with her devices, before the SMMU's driver is there, while it binds, and after.
//!
//! The lines she prints are judged by `cargo xtask run`. Bootargs name her targets: `alice`, `core`, `uart`,
//! `alice-bar`, `unmapped`, each a physical address as `NAME=0x...`. With `sweep` she writes all over a range instead; with
//! `reset-ms` she resets herself before, with `give-back` she gives pages back until that is refused.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod attacks;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod program;
#[cfg(target_os = "none")]
mod sweep;

/// On the host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}
