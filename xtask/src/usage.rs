//! What is said of a command line that is wrong: one line, with what may have been meant.

use std::fmt;

use strsim::levenshtein;

use crate::flags;

/// A command line that cannot be meant, whatever is in the files: the exit status is 2.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// An error that says what is wrong with the command line.
pub(crate) fn wrong(text: impl fmt::Display) -> anyhow::Error {
    Wrong(text.to_string()).into()
}

/// The line. `error` is the parser's.
pub(crate) fn explain(arguments: &[String], error: &str) -> String {
    let subcommands = flags::subcommands();
    let subcommand = arguments
        .first()
        .filter(|name| subcommands.contains(&name.as_str()));
    let help = match subcommand {
        Some(name) => format!("`cargo xtask {name} --help` lists what there is"),
        None => "`cargo xtask --help` lists what there is".to_string(),
    };
    let known = subcommand.map_or_else(Vec::new, |name| flags::names(name));
    let quoted = |prefix: &str| Some(error.strip_prefix(prefix)?.trim_matches(['`', '"']));
    if let Some(flag) = quoted("unexpected flag: ") {
        let (name, value) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value)));
        if let (true, Some(value)) = (known.contains(&name), value) {
            return format!(
                "{flag} has `=` in it: a flag and its value are written apart, `{name} {value}`; {help}"
            );
        }
        return format!("there is no flag {flag}{}; {help}", suggestion(name, &known));
    }
    if let Some(argument) = quoted("unexpected argument: ") {
        return match subcommand {
            Some(_) => format!("{argument} is one argument too many; {help}"),
            None => format!(
                "there is no subcommand {argument}{}; {help}",
                suggestion(argument, &subcommands)
            ),
        };
    }
    if let Some(name) = quoted("flag is required: ") {
        return format!("{name} is missing; {help}");
    }
    format!("{error}; {help}")
}

/// A question about the known name that is most like `name`, if one is much like it.
fn suggestion(name: &str, known: &[&str]) -> String {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let likeness = |known: &&&str| {
        let begins = name.len() > 3 && known.starts_with(name);
        if begins { 0 } else { levenshtein(name, known) }
    };
    match known.iter().min_by_key(likeness) {
        Some(nearest) if likeness(&nearest) <= most => format!(" (did you mean {nearest}?)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a command line.
    fn said(line: &str) -> String {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let given = arguments.iter().map(Into::into).collect();
        let error = flags::Xtask::from_vec(given).unwrap_err();
        explain(&arguments, &error.to_string())
    }

    #[test]
    fn the_flag_that_may_be_meant_is_named() {
        let topology = "`cargo xtask topology --help` lists what there is";
        for (line, expected) in [
            (
                "topology x --jsno",
                "there is no flag --jsno (did you mean --json?)",
            ),
            (
                "topology x --match 4",
                "there is no flag --match (did you mean --match-registers?)",
            ),
            ("topology x --verbosity", "there is no flag --verbosity"),
            ("topology x -j", "there is no flag -j"),
            (
                "topology x --svg=y.svg",
                "--svg=y.svg has `=` in it: a flag and its value are written apart, `--svg y.svg`",
            ),
            (
                "topology x --svgs=y",
                "there is no flag --svgs=y (did you mean --svg?)",
            ),
            ("topology x y", "y is one argument too many"),
            ("topology", "file is missing"),
            ("topology x --svg", "expected a value for `--svg`"),
        ] {
            assert_eq!(said(line), format!("{expected}; {topology}"), "{line}");
        }
        // What another subcommand takes is no proposal.
        assert_eq!(
            said("setup --verbos"),
            "there is no flag --verbos; `cargo xtask setup --help` lists what there is"
        );
    }

    #[test]
    fn the_subcommand_that_may_be_meant_is_named() {
        for (line, expected) in [
            (
                "topologie x",
                "there is no subcommand topologie (did you mean topology?)",
            ),
            ("fly", "there is no subcommand fly"),
            ("", "subcommand is required"),
            ("--check", "there is no flag --check"),
        ] {
            assert_eq!(
                said(line),
                format!("{expected}; `cargo xtask --help` lists what there is")
            );
        }
    }
}
