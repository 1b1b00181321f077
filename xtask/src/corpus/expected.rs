//! Compares the second reading of a tree with what a third reader wrote down.

use anyhow::Result;
use second_reading::Facts;
use serde_json::Value;

use super::EXPECTED;
use crate::project::counted;

/// How many differences of one tree are told.
const SHOWN: usize = 3;
/// How many characters of a value are shown.
const LONGEST: usize = 120;

/// Where the two say different things, and what each says: the first of them, and how many more there are.
pub(super) fn differences(read: &Facts, expected: &Facts) -> Result<Vec<String>> {
    let mut found = Vec::new();
    compare(
        "",
        &serde_json::to_value(read)?,
        &serde_json::to_value(expected)?,
        &mut found,
    );
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    if more > 0 {
        found.push(format!("and {}", counted(more, "more difference")));
    }
    Ok(found)
}

/// Adds what differs in two values of the field called `name`.
fn compare(name: &str, read: &Value, expected: &Value, found: &mut Vec<String>) {
    match (read, expected) {
        (Value::Object(ours), Value::Object(theirs)) if ours.keys().eq(theirs.keys()) => {
            let dot = if name.is_empty() { "" } else { "." };
            for ((field, one), other) in ours.iter().zip(theirs.values()) {
                compare(&format!("{name}{dot}{field}"), one, other, found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for (index, (one, other)) in ours.iter().zip(theirs).enumerate() {
                compare(&format!("{name}[{index}]"), one, other, found);
            }
            if ours.len() != theirs.len() {
                let (ours, theirs) = (ours.len(), theirs.len());
                found.push(format!(
                    "{name}: entries that are read: {ours}, in {EXPECTED}: {theirs}"
                ));
            }
        }
        _ if read == expected => {}
        _ => found.push(format!(
            "{name}: {} is read, {EXPECTED} says {}",
            shortened(read),
            shortened(expected)
        )),
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use second_reading::Tree;

    fn facts(stream: u32, more: &str) -> Facts {
        let text = format!(
            "/dts-v1/;
/ {{
    iommu@0 {{ compatible = \"arm,smmu-v3\"; #iommu-cells = <0x01>; phandle = <0x02>; }};
    dma@1 {{ iommus = <0x02 {stream:#x}>; }};
    {more}
}};"
        );
        Facts::of(&Tree::parse(&text).unwrap())
    }

    #[test]
    fn differences_name_the_field_and_both_values() {
        let said = |read: &Facts, expected: &Facts| differences(read, expected).unwrap();
        assert_eq!(said(&facts(3, ""), &facts(3, "")), [""; 0]);
        let one = said(&facts(3, ""), &facts(4, ""));
        assert!(one.len() == 1 && one[0].starts_with("iommus[0]."), "{one:?}");
        assert!(one[0].ends_with(": 3 is read, expected.json says 4"), "{one:?}");
        let more = "dma@2 { iommus = <0x02 0x5>; };";
        assert_eq!(
            said(&facts(3, ""), &facts(3, more)),
            ["iommus: entries that are read: 1, in expected.json: 2"]
        );
    }
}
