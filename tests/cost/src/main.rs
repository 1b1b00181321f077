//! Reads one device tree, from a file or generated, while `cargo xtask bench` counts instructions.
//!
//! `cost FILE` reads a blob, `cost --shape NAME COUNT` a generated one with about COUNT of what the shape is about, and
//! `cost --shapes` names the shapes. It prints how many nodes, properties and bytes the blob has, and how many masters
//! the graph has.

#![forbid(unsafe_code)]

mod devices;
mod hosts;
mod shapes;
mod smmus;
mod write;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use devicetree::{Blob, NodeId, Tree};
use topology::{Graph, PciFunction, Room};

use shapes::{Input, SHAPES};
use write::HOST;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String> {
    match arguments {
        ["--shapes"] => Ok(shapes::names()),
        ["--shape", name, count] => {
            let count = count.parse().context("COUNT is no number")?;
            let shape = SHAPES.iter().find(|shape| shape.name == *name);
            let shape = shape.with_context(|| format!("there is no shape {name}"))?;
            measure(&(shape.write)(count)?)
        }
        [file] => {
            let blob = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
            measure(&Input { blob, functions: 0 })
        }
        _ => bail!("usage: cost FILE | cost --shape NAME COUNT | cost --shapes"),
    }
}

/// The figures of an input. Reads it twice, because functions are told by the ID of their host bridge.
fn measure(input: &Input) -> Result<String> {
    let tree = Tree::new(Blob::new(&input.blob)?)?;
    let host = tree.find(HOST).map_or(NodeId::ROOT, |node| node.id());
    let functions: Vec<PciFunction> = (0..input.functions).map(|id| function(host, id)).collect();
    let (tree, graph) = blob_to_graph(&input.blob, &functions)?;
    let blob = tree.blob();
    Ok(format!(
        "{} {} {} {}",
        blob.node_count(),
        blob.property_count(),
        blob.bytes().len(),
        graph.masters().len()
    ))
}

/// What is measured: the counter is switched on by the name of this function, so that it stays one.
#[inline(never)]
fn blob_to_graph(bytes: &[u8], functions: &[PciFunction]) -> Result<(Tree, Graph)> {
    let tree = Tree::new(Blob::new(bytes)?)?;
    let graph = Graph::build_within(&tree, functions, Room::ENDLESS);
    Ok((tree, graph))
}

/// A function with this requester ID. The eight functions of a device may reach each other.
fn function(host_bridge: NodeId, requester: u16) -> PciFunction {
    let [bus, slot] = requester.to_be_bytes();
    PciFunction {
        host_bridge,
        segment: 0,
        bus,
        device: slot >> 3,
        function: slot & 7,
        requester_ids: Vec::new(),
        peers_at: Some(requester & !7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_grows_and_stays_within_the_gate() {
        for shape in &SHAPES {
            let text = run(&["--shape", shape.name, "500"]).unwrap();
            let figures: Vec<usize> = text.split(' ').map(|word| word.parse().unwrap()).collect();
            let [_, _, bytes, masters] = figures[..] else {
                panic!("{text}")
            };
            assert!(masters > 0, "{}: {text}", shape.name);
            let large = Blob::new(&(shape.write)(16000).unwrap().blob).unwrap();
            assert!(large.bytes().len() > 10 * bytes, "{}: {large:?}", shape.name);
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(run(&[]).is_err());
        assert!(run(&["--shape", "nothing", "1"]).is_err());
        assert!(run(&["--shape", "iommus", "x"]).is_err());
        assert!(run(&["Cargo.toml"]).unwrap_err().to_string().contains("magic"));
    }
}
