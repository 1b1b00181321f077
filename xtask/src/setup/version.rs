//! Version numbers, as tools print them.

use std::fmt;

/// Major, minor and patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// The first thing in `text` that looks like `1.2` or `1.2.3`.
    pub(crate) fn find_in(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.')
            .find_map(|word| {
                let mut numbers = word.split('.');
                let major = numbers.next()?.parse().ok()?;
                let minor = numbers.next()?.parse().ok()?;
                let patch = numbers.next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
                Some(Version(major, minor, patch))
            })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[track_caller]
    fn check(text: &str, expected: Option<Version>) {
        assert_eq!(Version::find_in(text), expected);
    }

    #[test]
    fn what_tools_print_is_read() {
        check(
            "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)",
            Some(Version(1, 96, 0)),
        );
        check(
            "rustc 1.97.0-nightly (0123456 2026-06-01)",
            Some(Version(1, 97, 0)),
        );
        check(
            "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright (c) 2003-2025",
            Some(Version(10, 0, 2)),
        );
        check(
            "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u15)",
            Some(Version(7, 2, 17)),
        );
        check("  Candidate: 1:10.0.2+ds-2", Some(Version(10, 0, 2)));
        check(
            "LLD 14.0.6 (compatible with GNU linkers)",
            Some(Version(14, 0, 6)),
        );
        check("QEMU emulator version 9.2", Some(Version(9, 2, 0)));
    }

    #[test]
    fn text_without_a_version_is_none() {
        check("", None);
        check("command not found: 127", None);
        check("...", None);
    }

    #[test]
    fn later_is_greater() {
        assert!(Version(10, 0, 2) > Version(9, 2, 0));
        assert!(Version(9, 1, 9) < Version(9, 2, 0));
    }
}
