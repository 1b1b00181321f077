//! Devices that a device tree disables, though the machine may have them.

use super::{Dtb, DtbError, Token};

/// Why a node cannot be enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnableError {
    /// It is no tree.
    #[error(transparent)]
    Tree(#[from] DtbError),
    /// There is no such node.
    #[error("the device tree has no node {0}")]
    NoNode(String),
    /// Its status does not disable it: there is nothing to enable.
    #[error("{0} is not disabled in the device tree")]
    NotDisabled(String),
}

/// The tree with these nodes, by their full paths, enabled: each has a status that disables it.
///
/// # Errors
/// One is not there, or not disabled.
pub fn enable(blob: &[u8], paths: &[String]) -> Result<Vec<u8>, EnableError> {
    const STATUS: &str = "status";
    let mut dtb = Dtb::parse(blob)?;
    for path in paths {
        let node = dtb
            .find_path(path)
            .ok_or_else(|| EnableError::NoNode(path.clone()))?;
        let status = dtb.position(node, STATUS).and_then(|at| dtb.tokens.get(at));
        let is_disabled =
            matches!(status, Some(Token::Property { value, .. }) if value.as_slice() == b"disabled\0");
        if !is_disabled {
            return Err(EnableError::NotDisabled(path.clone()));
        }
        dtb.set(node, STATUS, b"okay\0".to_vec());
    }
    Ok(dtb.emit())
}

impl Dtb {
    /// The token that begins the node of this full path.
    fn find_path(&self, path: &str) -> Option<usize> {
        let mut names: Vec<&[u8]> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Begin(name) => {
                    names.push(name);
                    // The root's name is empty.
                    if names.len() > 1 && names.join(&b'/') == path.as_bytes() {
                        return Some(at);
                    }
                }
                Token::End => {
                    names.pop();
                }
                Token::Property { .. } | Token::Nop => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtb::tests::blob;

    /// The tree of all these tests, with one node disabled.
    fn disabled(path: &str) -> Vec<u8> {
        let mut dtb = Dtb::parse(&blob()).unwrap();
        let node = dtb.find_path(path).unwrap();
        dtb.set(node, "status", b"disabled\0".to_vec());
        dtb.emit()
    }

    #[test]
    fn what_is_disabled_is_enabled_and_nothing_else_changes() {
        let path = "/intc@8000000/its@8080000";
        let paths = [path.to_string()];
        let before = disabled(path);
        let after = enable(&before, &paths).unwrap();
        let mut expected = Dtb::parse(&before).unwrap();
        let node = expected.find_path(path).unwrap();
        expected.set(node, "status", b"okay\0".to_vec());
        assert_eq!(Dtb::parse(&after).unwrap(), expected);
        let error = enable(&after, &paths).unwrap_err();
        assert_eq!(error, EnableError::NotDisabled(path.to_string()));
    }

    #[test]
    fn what_is_not_there_cannot_be_enabled() {
        // The name is right, and the path is not; and the root needs no enabling.
        for path in ["/its@8080000", "/intc@8000000/its", "/", ""] {
            let error = enable(&blob(), &[path.to_string()]).unwrap_err();
            assert_eq!(error, EnableError::NoNode(path.to_string()));
        }
    }
}
