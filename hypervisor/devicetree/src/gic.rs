//! Interrupt specifiers of the GIC (bindings `arm,gic.yaml` and `arm,gic-v3.yaml`).

use crate::property::Cells;

/// `compatible` texts of GICs that use the specifier decoded here.
pub(crate) const GIC_COMPATIBLES: [&str; 12] = [
    "arm,gic-v3",
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "arm,cortex-a5-gic",
    "arm,arm11mp-gic",
    "arm,pl390",
    "arm,gic-v2",
    "arm,gic-600",
    "arm,gic-500",
    "qcom,msm-qgic2",
];

/// What makes an interrupt pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A change of the line.
    Edge,
    /// The state of the line.
    Level,
}

/// An interrupt as the GIC numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GicInterrupt {
    /// The interrupt ID (IHI 0069 2.2).
    pub intid: u32,
    /// What makes it pending.
    pub trigger: Trigger,
}

/// A specifier that names no interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GicError {
    /// Too few or too many cells.
    #[error("a GIC interrupt has 3 or 4 cells, not {cells}")]
    CellCount {
        /// How many.
        cells: usize,
    },
    /// The first cell is no kind of interrupt.
    #[error("{kind} is no kind of GIC interrupt (0 SPI, 1 PPI, 2 extended SPI, 3 extended PPI)")]
    Kind {
        /// The cell.
        kind: u32,
    },
    /// The second cell is behind the last interrupt of the kind.
    #[error("interrupt {number} of kind {kind} does not exist; there are {count}")]
    Number {
        /// The first cell.
        kind: u32,
        /// The second cell.
        number: u32,
        /// How many interrupts of the kind an architecture allows.
        count: u32,
    },
    /// The third cell's low bits are no trigger.
    #[error("{flags:#x} is no GIC trigger (1 or 2 edge, 4 or 8 level)")]
    Trigger {
        /// The cell.
        flags: u32,
    },
}

/// Decodes the cells of a GIC's interrupt specifier.
///
/// # Errors
/// The cells name no interrupt.
pub fn decode_gic(cells: &Cells<'_>) -> Result<GicInterrupt, GicError> {
    let (3 | 4, Some(kind), Some(number), Some(flags)) =
        (cells.len(), cells.get(0), cells.get(1), cells.get(2))
    else {
        return Err(GicError::CellCount { cells: cells.len() });
    };
    // IHI 0069 2.2.1: the ranges of interrupt IDs.
    let (first, count) = match kind {
        0 => (32, 988),
        1 => (16, 16),
        2 => (4096, 1024),
        3 => (1056, 64),
        _ => return Err(GicError::Kind { kind }),
    };
    if number >= count {
        return Err(GicError::Number { kind, number, count });
    }
    // Bits 8 and up were a CPU mask on GICv2.
    let trigger = match flags & 0xf {
        1 | 2 => Trigger::Edge,
        4 | 8 => Trigger::Level,
        _ => return Err(GicError::Trigger { flags }),
    };
    Ok(GicInterrupt {
        intid: first + number,
        trigger,
    })
}
