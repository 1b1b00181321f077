//! Speaks an ABI version that this core does not.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("old-abi", "arm,smmu-v3", 0, |_| Status::UNSUPPORTED);
