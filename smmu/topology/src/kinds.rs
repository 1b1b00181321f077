//! The kinds of SMMU that the bindings know, and how they differ: one table of data.

/// How an SMMU node lists its interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptStyle {
    /// By `interrupt-names`, any subset in any order (`arm,smmu-v3.yaml`).
    ByName,
    /// `#global-interrupts` global ones first, then one for each context bank (`arm,smmu.yaml`).
    GlobalThenContext,
}

/// What the bindings say of a kind of SMMU. What the hardware says is the driver's business.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// A name for messages.
    pub name: &'static str,
    /// The `compatible` texts; one of them anywhere in the list makes a node this kind.
    pub compatible: &'static [&'static str],
    /// How many bits a stream ID, and a mask, can have in the binding. Hardware may have fewer: who can read its registers
    /// tells the graph.
    pub stream_bits: u32,
    /// Whether a specifier can have a second cell, the mask, and the node a `stream-match-mask`.
    pub masks: bool,
    /// How many stream matches it can have at most, where it has registers for them (IHI 0062, SMMU_IDR0.NUMSMRG).
    pub match_registers: Option<usize>,
    /// How it lists its interrupts.
    pub interrupts: InterruptStyle,
}

impl Kind {
    /// The highest stream ID.
    pub const fn highest(&self) -> u32 {
        if self.stream_bits >= 32 {
            u32::MAX
        } else {
            (1 << self.stream_bits) - 1
        }
    }

    /// Whether stream ID or mask `value` fits.
    pub const fn fits(&self, value: u32) -> bool {
        value <= self.highest()
    }
}

/// All kinds.
pub static KINDS: [Kind; 3] = [
    Kind {
        name: "SMMUv3",
        compatible: &["arm,smmu-v3", "arm,mmu-600", "arm,mmu-700"],
        stream_bits: 32,
        masks: false,
        match_registers: None,
        interrupts: InterruptStyle::ByName,
    },
    Kind {
        name: "SMMUv2",
        compatible: &[
            "arm,smmu-v2",
            "arm,mmu-500",
            "cavium,smmu-v2",
            "marvell,ap806-smmu-500",
            "nvidia,smmu-500",
            "qcom,adreno-smmu",
            "qcom,smmu-500",
            "qcom,smmu-v2",
        ],
        stream_bits: 16,
        masks: true,
        match_registers: Some(128),
        interrupts: InterruptStyle::GlobalThenContext,
    },
    Kind {
        name: "SMMUv1",
        compatible: &["arm,smmu-v1", "arm,mmu-400", "arm,mmu-401"],
        stream_bits: 16,
        masks: true,
        match_registers: Some(128),
        interrupts: InterruptStyle::GlobalThenContext,
    },
];
