//! Drives another SMMU than those that are there.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::component_glue::driver_abi::ABI_VERSION;

misbehaving_components::misbehaving!("other-smmu", "arm,smmu-v2", ABI_VERSION, |_| Status::UNSUPPORTED);
