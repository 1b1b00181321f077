//! What the graph learns from the hardware: how many bits of a stream ID an SMMU has.

use devicetree::Tree;

use super::Graph;
use crate::claims::{Subject, at_master};
use crate::diagnostic::{Defect, Effect};
use crate::master::{Coverage, Identity, Refusal, Stream};
use crate::shared::Suspect;
use crate::smmu::SmmuIndex;

impl Graph {
    /// Refuses every master with a stream that the hardware of an SMMU cannot tell apart, and those of its group.
    ///
    /// The core calls it when the gate has read how many bits of stream ID the SMMU has: one absurd ID in the tree
    /// must not cost the other masters their driver.
    pub fn limit_stream_bits(&mut self, tree: &Tree, smmu: SmmuIndex, bits: u32) {
        let Some(path) = self.smmu(smmu).map(|smmu| smmu.path.clone()) else {
            return;
        };
        let beyond = |stream: &Stream| stream.smmu == smmu && bits < 32 && stream.highest() >> bits != 0;
        // Functions are the last ones, in the order in which they were given.
        let nodes = self.by_node.len();
        for (position, master) in self.masters.iter_mut().enumerate() {
            let subject = match &master.identity {
                Identity::Platform { node, .. } => Subject::Node(*node),
                Identity::Pci { .. } => Subject::Function(position - nodes),
            };
            if !master.streams.iter().any(beyond) {
                continue;
            }
            // What it emits arrives with the bits that the SMMU has, and may be another's then.
            for stream in master.streams.iter().filter(|stream| stream.smmu == smmu) {
                let range = (stream.id, 0, stream.mask);
                self.emissions.add(Suspect::Master(subject), smmu, range);
            }
            if !master.coverage.is_refused() {
                let defect = Defect::TooWide {
                    smmu: path.clone(),
                    bits,
                };
                let because = at_master(tree, &master.identity, defect, Effect::Blocked);
                self.diagnostics.push(because.clone());
                master.coverage = Coverage::Refused(Refusal {
                    because,
                    blocked: true,
                });
            }
        }
        let here = |index| (index == smmu && bits < 32).then(|| (1 << bits) - 1);
        for because in self.emissions.refuse(tree, here, &mut self.masters) {
            self.diagnostics.push(because);
        }
        self.group(tree);
    }
}
