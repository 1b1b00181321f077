//! Runs every fixture of a folder: compiles it, describes it, and compares that with the `//>` lines in the file.
//! Included by path, as `blob.rs` is.

use std::format;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use super::source::compile;

/// Compiles all `.dts` files of `tests/dts/<folder>`. `visit` gets the name, the source text and the blob.
pub(crate) fn each(folder: &str, mut visit: impl FnMut(&str, &str, &[u8])) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/dts")
        .join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "dts"));
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {}", path.display());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&file).unwrap();
        let blob = compile(&source).unwrap_or_else(|error| panic!("{name}: {error}"));
        visit(&name, &source, &blob);
    }
}

/// Checks all `.dts` files of `tests/dts/<folder>`. `describe` gets the source text and the blob.
pub(crate) fn check_folder(folder: &str, describe: impl Fn(&str, &[u8]) -> Vec<String>) {
    let mut wrong = Vec::new();
    each(folder, |name, source, blob| {
        let found = describe(source, blob).join("\n");
        let expected: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//> "))
            .collect();
        if expected.is_empty() || found != expected.join("\n") {
            wrong.push(format!(
                "{name} says\n{}\nbut has\n{found}\n",
                expected.join("\n")
            ));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
