//! Speaks the ABI version before the core's.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::component_glue::driver_abi::ABI_VERSION;

misbehaving_components::misbehaving!("old-abi", "arm,smmu-v3", ABI_VERSION - 1, |_| Status::UNSUPPORTED);
