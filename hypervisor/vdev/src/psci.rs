//! A guest's firmware calls: SMCCC 1.1 (DEN0028), PSCI 1.1 (DEN0022) and our own hypercalls, decoded into what is to
//! be done.

pub use arm_psci::ErrorCode;
use arm_psci::{Function, PsciFeature, ReturnCode, Version};

/// The PSCI version that guests are told.
const PSCI_VERSION: Version = Version { major: 1, minor: 1 };
/// The SMCCC version that guests are told.
const SMCCC_VERSION: u64 = 0x1_0001;
/// `SMCCC_VERSION` (DEN0028 7.2).
const ID_SMCCC_VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES` (DEN0028 7.3).
const ID_SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// SMCCC `NOT_SUPPORTED`, in all 64 bits.
pub const NOT_SUPPORTED: u64 = u64::MAX;
/// PSCI and SMCCC success.
pub const SUCCESS: u64 = 0;

/// What a guest's call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Nothing but this value in `x0`.
    Return(u64),
    /// Turn a vCPU on; the result goes to `x0`.
    CpuOn {
        /// Affinity of the vCPU, in the form of MPIDR_EL1.
        affinity: u64,
        /// Where it begins, a guest physical address.
        entry: u64,
        /// What it finds in `x0`.
        context: u64,
    },
    /// Turn the calling vCPU off. Does not return to the guest.
    CpuOff,
    /// Wait for an interrupt, then return success: the only suspend state there is.
    Suspend,
    /// Whether the vCPU with this affinity is on; [`affinity_info`] makes the answer.
    AffinityInfo {
        /// Affinity of the vCPU, in the form of MPIDR_EL1.
        affinity: u64,
    },
    /// The guest is done.
    SystemOff,
    /// The guest wants to begin again.
    SystemReset,
    /// The guest gives pages back for good (our hypercall).
    Relinquish {
        /// First guest physical address.
        ipa: u64,
        /// Number of bytes.
        size: u64,
    },
    /// How many other guests still run (our hypercall).
    PeersRunning,
}

/// The `x0` of a PSCI result.
pub fn result(result: Result<(), ErrorCode>) -> u64 {
    let code = result.map_or_else(ReturnCode::Error, |()| ReturnCode::Success);
    i64::from(i32::from(code)).cast_unsigned()
}

/// The answer to [`Call::AffinityInfo`].
pub fn affinity_info(is_on: bool) -> u64 {
    u64::from(u32::from(if is_on {
        arm_psci::AffinityInfo::On
    } else {
        arm_psci::AffinityInfo::Off
    }))
}

/// Decodes a call by `hvc #0` or `smc #0` from `x0` to `x3`.
pub fn decode(registers: &[u64; 4]) -> Call {
    let [id, first, second, _] = *registers;
    // The function identifier is W0; the upper half is to be ignored (DEN0028 2.5).
    let id = u32::try_from(id & 0xffff_ffff).unwrap_or(0);
    match id {
        ID_SMCCC_VERSION => Call::Return(SMCCC_VERSION),
        ID_SMCCC_ARCH_FEATURES => Call::Return(arch_features(first)),
        guest_abi::RELINQUISH => Call::Relinquish {
            ipa: first,
            size: second,
        },
        guest_abi::PEERS_RUNNING => Call::PeersRunning,
        _ => decode_psci(registers),
    }
}

fn arch_features(id: u64) -> u64 {
    let known = [u64::from(ID_SMCCC_VERSION), u64::from(ID_SMCCC_ARCH_FEATURES)];
    if known.contains(&(id & 0xffff_ffff)) {
        SUCCESS
    } else {
        NOT_SUPPORTED
    }
}

fn decode_psci(registers: &[u64; 4]) -> Call {
    let function = match Function::try_from(registers) {
        Ok(function) => function,
        Err(error) => return Call::Return(result(Err(error.into()))),
    };
    match function {
        Function::Version => Call::Return(u64::from(u32::from(PSCI_VERSION))),
        Function::CpuOn { target_cpu, entry } => Call::CpuOn {
            affinity: target_cpu.into(),
            entry: entry.entry_point_address(),
            context: entry.context_id(),
        },
        Function::CpuOff => Call::CpuOff,
        Function::CpuSuspend { .. } => Call::Suspend,
        Function::AffinityInfo {
            mpidr,
            lowest_affinity_level: 0,
        } => Call::AffinityInfo {
            affinity: mpidr.into(),
        },
        // Affinity levels above 0 need not be supported from PSCI 1.0 on (DEN0022 5.7).
        Function::AffinityInfo { .. } => Call::Return(result(Err(ErrorCode::InvalidParameters))),
        Function::MigrateInfoType => Call::Return(u64::from(u32::from(
            arm_psci::MigrateInfoType::MigrationNotRequired,
        ))),
        Function::SystemOff => Call::SystemOff,
        Function::SystemReset => Call::SystemReset,
        Function::Features { psci_func_id } => Call::Return(psci_features(psci_func_id)),
        _ => Call::Return(NOT_SUPPORTED),
    }
}

fn psci_features(feature: PsciFeature) -> u64 {
    use arm_psci::FunctionId as Id;
    match feature {
        PsciFeature::SmcccVersion
        | PsciFeature::PsciFunction(
            Id::PsciVersion
            | Id::CpuSuspend32
            | Id::CpuSuspend64
            | Id::CpuOff
            | Id::CpuOn32
            | Id::CpuOn64
            | Id::AffinityInfo32
            | Id::AffinityInfo64
            | Id::MigrateInfoType
            | Id::SystemOff
            | Id::SystemReset
            | Id::PsciFeatures,
        ) => SUCCESS,
        PsciFeature::PsciFunction(_) => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_told_apart() {
        let cases: [([u64; 4], Call); 16] = [
            ([0x8400_0000, 0, 0, 0], Call::Return(0x1_0001)),
            ([0x8000_0000, 0, 0, 0], Call::Return(0x1_0001)),
            ([0x8000_0001, 0x8000_0000, 0, 0], Call::Return(0)),
            ([0x8000_0001, 0x8000_8000, 0, 0], Call::Return(u64::MAX)),
            (
                [0xc400_0003, 0x1_0000_0102, 0x4008_0000, 7],
                Call::CpuOn {
                    affinity: 0x1_0000_0102,
                    entry: 0x4008_0000,
                    context: 7,
                },
            ),
            (
                [0xc400_0003, 0xff00_0000, 0x4008_0000, 7],
                Call::Return((-2i64).cast_unsigned()),
            ),
            ([0x8400_0002, 0, 0, 0], Call::CpuOff),
            ([0xc400_0001, 0, 0, 0], Call::Suspend),
            ([0xc400_0004, 1, 0, 0], Call::AffinityInfo { affinity: 1 }),
            ([0xc400_0004, 1, 1, 0], Call::Return((-2i64).cast_unsigned())),
            ([0x8400_0006, 0, 0, 0], Call::Return(2)),
            ([0x8400_0008, 0, 0, 0], Call::SystemOff),
            ([0xdead_0000_8400_0009, 0, 0, 0], Call::SystemReset),
            ([0x8400_000a, 0xc400_0003, 0, 0], Call::Return(0)),
            ([0x8400_000a, 0x8400_000e, 0, 0], Call::Return(u64::MAX)),
            ([0x1234, 0, 0, 0], Call::Return(u64::MAX)),
        ];
        for (registers, call) in cases {
            assert_eq!(decode(&registers), call, "{registers:x?}");
        }
    }

    #[test]
    fn our_own_hypercalls() {
        let id = u64::from(guest_abi::RELINQUISH);
        assert_eq!(
            decode(&[id, 0x1000, 0x2000, 9]),
            Call::Relinquish {
                ipa: 0x1000,
                size: 0x2000
            }
        );
        assert_eq!(
            decode(&[u64::from(guest_abi::PEERS_RUNNING), 0, 0, 0]),
            Call::PeersRunning
        );
    }

    #[test]
    fn answers_have_their_codes() {
        assert_eq!(result(Ok(())), 0);
        assert_eq!(result(Err(ErrorCode::AlreadyOn)), (-4i64).cast_unsigned());
        assert_eq!((affinity_info(true), affinity_info(false)), (0, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Any registers decode to something.
        #[test]
        fn decoding_never_fails(fast in any::<bool>(), number in 0u64..0x20, wide in any::<bool>(), arguments: [u64; 3]) {
            let id = if fast { 0x8400_0000 } else { 0x8600_0000 } | number | if wide { 0x4000_0000 } else { 0 };
            let _ = decode(&[id, arguments[0], arguments[1], arguments[2]]);
        }
    }
}
