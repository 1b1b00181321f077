//! `msi-map` and `msi-parent`: who takes messages (`pci-msi.txt`, `msi.txt`).
//!
//! A defect here costs a device its messages, never its isolation. Of disabled nodes nothing is read.

use alloc::boxed::Box;
use alloc::vec::Vec;

use devicetree::{Node, NodeId, Problem, Property};

use super::iommu_map::{mask_of, narrow_tuples};
use crate::claims::Builder;
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::map::{BadTuple, Map, Place, Tuple, build};
use crate::messages::{MsiIndex, MsiRoute};

const MAP: &str = "msi-map";
const MASK: &str = "msi-map-mask";
const PARENT: &str = "msi-parent";
/// The most controllers of one list that are read; real devices name one or two. On a bus each function has them all.
const MAX_PARENTS: usize = 64;

/// Reads the map of a bus, if it has one that can be read.
pub(crate) fn read_map(builder: &mut Builder<'_>, node: Node<'_>, highest: u32) -> Option<Map<MsiIndex>> {
    let tree = builder.tree;
    let property = Some(tree.node(node.id()))
        .filter(Node::is_enabled)?
        .property(MAP)?;
    let read = mask_of(&property, MASK, Effect::NoMessages).and_then(|mask| {
        let tuples = narrow_tuples(&property, MAP, Effect::NoMessages)?;
        Ok((mask, tuples))
    });
    let (mask, tuples) = match read {
        Ok(read) => read,
        Err(diagnostic) => {
            builder.report(*diagnostic);
            return None;
        }
    };
    // Controllers are entered beforehand: a map is made without changing anything else.
    let targets: Vec<Result<MsiIndex, Defect>> = tuples
        .iter()
        .map(|tuple| builder.msi_controller(tuple.phandle).map(|(index, _)| index))
        .collect();
    let place = Place {
        property: &property,
        name: MAP,
        mask,
        highest,
        malformed: Effect::NoMessages,
    };
    let resolve = |_: &Builder<'_>, tuple: &Tuple, _| {
        let target = targets.get(tuple.cell / super::iommu_map::NARROW).cloned();
        target
            .unwrap_or(Err(Defect::EmptyEntry))
            .map_err(|defect| BadTuple {
                cell: 1,
                defect,
                effect: Effect::NoMessages,
            })
    };
    Some(build(builder, &place, &tuples, resolve, |_, _| None))
}

/// Reads `msi-parent` of a node, if it has one. Entries behind one of unknown length are lost.
pub(crate) fn read_parents(builder: &mut Builder<'_>, node: NodeId) -> Vec<MsiRoute> {
    let node = Some(builder.tree.node(node)).filter(Node::is_enabled);
    let Some(property) = node.and_then(|node| node.property(PARENT)) else {
        return Vec::new();
    };
    let mut routes = Vec::new();
    if let Err(diagnostic) = read_entries(builder, &property, &mut routes) {
        builder.report(*diagnostic);
    }
    routes
}

fn read_entries(
    builder: &mut Builder<'_>,
    property: &Property<'_>,
    routes: &mut Vec<MsiRoute>,
) -> Result<(), Box<Diagnostic>> {
    let cells = property.cells().map_err(|error| {
        let defect = Defect::Unreadable(error.problem);
        Box::new(Diagnostic::at_property(
            property,
            PARENT,
            defect,
            Effect::NoMessages,
        ))
    })?;
    let mut at = 0;
    while let Some(phandle) = cells.get(at) {
        let fail = |defect| {
            Box::new(Diagnostic::at_cell(
                property,
                PARENT,
                at,
                defect,
                Effect::NoMessages,
            ))
        };
        if routes.len() == MAX_PARENTS {
            let (entries, limit) = (routes.len() + 1, MAX_PARENTS);
            return Err(fail(Defect::Unreadable(Problem::TooMany { entries, limit })));
        }
        let (controller, length) = builder.msi_controller(phandle).map_err(fail)?;
        if cells.len() - at - 1 < length {
            let left = cells.len() - at - 1;
            return Err(fail(Defect::Truncated { wanted: length, left }));
        }
        let device_id = if length == 0 { None } else { cells.get(at + 1) };
        routes.push(MsiRoute {
            controller,
            device_id,
        });
        at += 1 + length;
    }
    if cells.is_empty() {
        let defect = Defect::EmptyList;
        return Err(Diagnostic::at_property(property, PARENT, defect, Effect::NoMessages).into());
    }
    Ok(())
}
