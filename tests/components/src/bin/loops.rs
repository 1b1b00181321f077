//! Never comes back from probe.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("loops", |_| loop {
    core::hint::spin_loop();
});
