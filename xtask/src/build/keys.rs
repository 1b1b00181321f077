//! The key that signs components.
//!
//! The first build makes a development key pair in `target/keys`. It is no secret worth keeping: whoever
//! can build can sign. The core prints the key's label, so that nobody takes such an image for a product.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use component_loader::signed_message;
use ed25519_dalek::{SECRET_KEY_LENGTH, Signer};

use super::{Member, write_if_changed};

const SECRET: &str = "development.key";
const PUBLIC: &str = "development.pub";

/// Signs components; the core holds the public half.
#[derive(Debug)]
pub(crate) struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public_path: PathBuf,
}

impl SigningKey {
    /// The development key in `folder`, made on first use.
    pub(crate) fn load_or_generate(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let secret_path = folder.join(SECRET);
        let secret = if secret_path.exists() {
            load(&secret_path)?
        } else {
            generate(&secret_path)?
        };
        let key = ed25519_dalek::SigningKey::from_bytes(&secret);
        let public_path = folder.join(PUBLIC);
        write_if_changed(&public_path, key.verifying_key().as_bytes())?;
        Ok(SigningKey { key, public_path })
    }

    /// The file with the 32 bytes of the public key.
    pub(crate) fn public_path(&self) -> &Path {
        &self.public_path
    }

    /// What messages call this key.
    pub(crate) fn label(&self) -> &'static str {
        "development key"
    }

    /// The member that goes beside `component` into a bundle: 64 bytes of ed25519.
    pub(crate) fn signature_of(&self, component: &Member) -> Member {
        let signature = self.key.sign(&signed_message(&component.bytes));
        Member {
            name: format!("{}.sig", component.name),
            bytes: signature.to_bytes().to_vec(),
        }
    }
}

fn load(path: &Path) -> Result<[u8; SECRET_KEY_LENGTH]> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "{} may be read by others (mode {mode:o}): `chmod 600` it, or delete it to get a new one",
        path.display()
    );
    let bytes = fs::read(path)?;
    bytes.as_slice().try_into().ok().with_context(|| {
        format!(
            "{} has {} bytes, not {SECRET_KEY_LENGTH}: delete it to get a new key",
            path.display(),
            bytes.len()
        )
    })
}

fn generate(path: &Path) -> Result<[u8; SECRET_KEY_LENGTH]> {
    let mut secret = [0; SECRET_KEY_LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    // Written beside and renamed, so that an interrupted first build leaves no half of a key.
    let unfinished = path.with_extension("new");
    let _stale = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    file.write_all(&secret)?;
    fs::rename(&unfinished, path)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use component_loader::{TrustedKey, verify};

    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_generated_key_is_kept_private_and_the_loader_accepts_its_signatures() {
        let folder = temporary("keys");
        let key = SigningKey::load_or_generate(&folder).unwrap();
        let mode = fs::metadata(folder.join(SECRET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let component = Member {
            name: "components/x.elf".to_string(),
            bytes: b"an ELF".to_vec(),
        };
        let signature = key.signature_of(&component);
        assert_eq!(signature.name, "components/x.elf.sig");
        let public: [u8; 32] = fs::read(key.public_path()).unwrap().try_into().unwrap();
        let trusted = TrustedKey::new(&public, "test key").unwrap();
        assert!(verify(&component.bytes, &signature.bytes, &trusted).is_ok());
        assert!(verify(b"another ELF", &signature.bytes, &trusted).is_err());

        let again = SigningKey::load_or_generate(&folder).unwrap();
        assert_eq!(again.signature_of(&component), signature);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = temporary("open-keys");
        SigningKey::load_or_generate(&folder).unwrap();
        fs::set_permissions(folder.join(SECRET), fs::Permissions::from_mode(0o644)).unwrap();
        let error = SigningKey::load_or_generate(&folder).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
