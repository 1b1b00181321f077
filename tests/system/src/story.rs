//! Stories: what has to be seen on the console, in which order, and what must not be.
//!
//! Guests, core and devices run side by side, so a story is no list of lines in one order: an expectation
//! may come at any time unless it names others in `after`.

use regex_lite::Regex;
use serde::Deserialize;

use crate::attacks::Attacks;
use crate::watcher::Watcher;

/// A story as its file has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    expect: Vec<ExpectedLine>,
    #[serde(default)]
    never: Vec<LabelledLine>,
    #[serde(default)]
    summary: Vec<LabelledLine>,
    attacks: Option<Attacks>,
}

/// A line that has to be seen, as a file has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedLine {
    /// Its name, for `after`.
    pub name: String,
    /// A regular expression that is found in the line.
    pub line: String,
    /// What it means, for people.
    pub says: String,
    /// The names of those that have to come first.
    #[serde(default)]
    pub after: Vec<String>,
}

/// A line and its meaning, as a file has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledLine {
    /// A regular expression that is found in the line.
    pub line: String,
    /// What it means, for people.
    pub says: String,
}

/// What a run has to tell.
#[derive(Debug, Clone)]
pub struct Story {
    /// What it is about.
    pub title: String,
    /// What has to be seen.
    pub expectations: Vec<Expectation>,
    /// What must not be seen.
    pub nevers: Vec<Pattern>,
    /// What the run's summary is made of.
    pub summary: Vec<Pattern>,
    /// The attacks that have to be reported.
    pub attacks: Option<Attacks>,
}

/// A line that has to be seen.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Its name, for `after`.
    pub name: String,
    /// The line, and what it means.
    pub pattern: Pattern,
    /// Indices of the expectations that have to be met first.
    pub after: Vec<usize>,
}

/// A line and its meaning.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The line.
    pub line: Regex,
    /// What it means, for people.
    pub says: String,
}

/// Why a file is no story.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The file has the wrong form.
    #[error("story {story}: {error}")]
    Form {
        /// The story.
        story: String,
        /// What is wrong.
        error: Box<toml::de::Error>,
    },
    /// A pattern is no regular expression.
    #[error("story {story}: {line:?} is no regular expression: {error}")]
    Pattern {
        /// The story.
        story: String,
        /// The pattern.
        line: String,
        /// What is wrong.
        error: regex_lite::Error,
    },
    /// Two expectations of one name.
    #[error("story {story}: two expectations are called {name:?}")]
    DuplicateName {
        /// The story.
        story: String,
        /// The name.
        name: String,
    },
    /// An `after` that names no earlier expectation.
    #[error("story {story}: {name:?} comes after {after:?}, which is no expectation above it")]
    UnknownAfter {
        /// The story.
        story: String,
        /// The expectation.
        name: String,
        /// What it names.
        after: String,
    },
    /// The file cannot be read.
    #[error("story {story}: {error}")]
    Read {
        /// The story.
        story: String,
        /// Why.
        error: std::io::Error,
    },
    /// Included stories that include.
    #[error("story {story} is included and includes others; include those directly")]
    Nested {
        /// The story.
        story: String,
    },
}

impl Story {
    /// Reads the story `name` and what it includes, each by `read`.
    ///
    /// # Errors
    /// The first defect found, with the story's name.
    pub fn load(name: &str, read: &dyn Fn(&str) -> std::io::Result<String>) -> Result<Story, StoryError> {
        let mut file = File::load(name, read)?;
        let mut story = Story {
            title: file.title.clone(),
            expectations: Vec::new(),
            nevers: Vec::new(),
            summary: Vec::new(),
            attacks: file.attacks.take(),
        };
        for included in &file.include {
            let included_file = File::load(included, read)?;
            if !included_file.include.is_empty() {
                return Err(StoryError::Nested {
                    story: included.clone(),
                });
            }
            story.add(included, included_file)?;
        }
        story.add(name, file)?;
        Ok(story)
    }

    /// Watches a run for this story.
    pub fn watch(&self) -> Watcher<'_> {
        Watcher::new(self)
    }

    /// Adds lines that have to be seen; `name` is for errors.
    ///
    /// # Errors
    /// A line is no regular expression, or its name or order is wrong.
    pub fn expect(&mut self, name: &str, lines: Vec<ExpectedLine>) -> Result<(), StoryError> {
        for raw in lines {
            let position = |wanted: &str| self.expectations.iter().position(|other| other.name == wanted);
            if position(&raw.name).is_some() {
                return Err(StoryError::DuplicateName {
                    story: name.to_string(),
                    name: raw.name,
                });
            }
            let mut after = Vec::new();
            for earlier in raw.after {
                let index = position(&earlier);
                after.push(index.ok_or_else(|| StoryError::UnknownAfter {
                    story: name.to_string(),
                    name: raw.name.clone(),
                    after: earlier,
                })?);
            }
            self.expectations.push(Expectation {
                name: raw.name,
                pattern: pattern(name, raw.line, raw.says)?,
                after,
            });
        }
        Ok(())
    }

    /// Adds lines that must not be seen; `name` is for errors.
    ///
    /// # Errors
    /// A line is no regular expression.
    pub fn forbid(&mut self, name: &str, lines: Vec<LabelledLine>) -> Result<(), StoryError> {
        for raw in lines {
            self.nevers.push(pattern(name, raw.line, raw.says)?);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, file: File) -> Result<(), StoryError> {
        self.expect(name, file.expect)?;
        self.forbid(name, file.never)?;
        for raw in file.summary {
            self.summary.push(pattern(name, raw.line, raw.says)?);
        }
        Ok(())
    }
}

impl File {
    fn load(name: &str, read: &dyn Fn(&str) -> std::io::Result<String>) -> Result<File, StoryError> {
        let text = read(name).map_err(|error| StoryError::Read {
            story: name.to_string(),
            error,
        })?;
        toml::from_str(&text).map_err(|error| StoryError::Form {
            story: name.to_string(),
            error: Box::new(error),
        })
    }
}

fn pattern(story: &str, line: String, says: String) -> Result<Pattern, StoryError> {
    match Regex::new(&line) {
        Ok(line) => Ok(Pattern { line, says }),
        Err(error) => Err(StoryError::Pattern {
            story: story.to_string(),
            line,
            error,
        }),
    }
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
