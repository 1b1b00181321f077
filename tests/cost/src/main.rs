//! Reads one device tree, from a file or generated, while `cargo xtask bench` counts instructions.
//!
//! `cost FILE` reads a blob, `cost --shape NAME COUNT` a generated one with about COUNT of what the shape is about, and
//! `cost --shapes` names the shapes. It prints how many nodes, properties and bytes the blob has, and how many masters
//! the graph has.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cost::{Input, SHAPES};
use devicetree::{Blob, Tree};
use topology::{Graph, PciFunction, Room};

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
        ["--shapes"] => Ok(cost::names()),
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
    let functions = input.functions(&tree);
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
