//! Reads certificate files (PEM or DER) and writes new ones whole or not at all.
//!
//! Nothing here judges what a certificate says.

use core::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// A file that cannot be used: which, what is wrong with it, what to do. Local fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; {fix}", file.display())]
pub struct FileProblem {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
    /// Whether it is a key that belongs to another certificate.
    pub is_key_mismatch: bool,
}

impl FileProblem {
    pub(crate) fn new(file: &Path, what: impl fmt::Display, fix: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            what: what.to_string(),
            fix: fix.to_string(),
            is_key_mismatch: false,
        }
    }

    fn io(file: &Path, error: &io::Error) -> Self {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "check the path, or make the file with `trestle cert`",
            io::ErrorKind::PermissionDenied => "let the bridge's user read it",
            _ => "check the file and its disk",
        };
        Self::new(file, error, fix)
    }
}

/// The longest file that is read; a certificate file has a few kilobytes, a large revocation list some megabytes.
const LONGEST: u64 = 64 << 20;

/// Reads a whole file, up to 64 MiB.
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read(file: &Path) -> Result<Vec<u8>, FileProblem> {
    let about = fs::metadata(file).map_err(|e| FileProblem::io(file, &e))?;
    if !about.is_file() {
        return Err(FileProblem::new(file, "not a file", "name a PEM or DER file"));
    }
    if about.len() > LONGEST {
        return Err(FileProblem::new(file, "longer than 64 MiB", "name a PEM or DER file"));
    }
    fs::read(file).map_err(|e| FileProblem::io(file, &e))
}

/// The certificates of a file in their order, at least one.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    certificates_in(file, &read(file)?)
}

pub(crate) fn certificates_in(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    if is_der(bytes) {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(FileProblem::new(
            file,
            "no certificate in it",
            "expected PEM (`-----BEGIN CERTIFICATE-----`) or DER; for PKCS#12 use `openssl pkcs12 -in F -nokeys`",
        )),
        Err(e) => Err(FileProblem::new(
            file,
            format_args!("broken PEM: {e}"),
            "export it again",
        )),
    }
}

/// The revocation lists of a file, at least one.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn revocation_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileProblem> {
    let bytes = read(file)?;
    if is_der(&bytes) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(FileProblem::new(
            file,
            "no revocation list in it",
            "expected PEM (`-----BEGIN X509 CRL-----`) or DER",
        )),
        Err(e) => Err(FileProblem::new(
            file,
            format_args!("broken PEM: {e}"),
            "export it again",
        )),
    }
}

/// The private key of a file.
///
/// # Errors
/// When it cannot be read, holds none, or an encrypted one.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, FileProblem> {
    let bytes = read(file)?;
    if bytes.windows(9).any(|w| w == b"ENCRYPTED") {
        return Err(FileProblem::new(
            file,
            "the key is encrypted",
            "decrypt it (`openssl pkey -in F -out G`) and restrict its mode to 0600",
        ));
    }
    if is_der(&bytes) {
        return PrivateKeyDer::try_from(bytes)
            .map_err(|what| FileProblem::new(file, what, "expected a PKCS#8, PKCS#1 or SEC1 key"));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        FileProblem::new(
            file,
            "no private key in it",
            "expected PEM (`-----BEGIN PRIVATE KEY-----`) or DER",
        )
    })
}

/// PEM (RFC 7468) of one DER object.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - group.len()));
            for place in 0..4 {
                let sextet = (bits >> (18 - 6 * place)) & 63;
                out.push(if place > group.len() {
                    '='
                } else {
                    char::from(ALPHABET[sextet as usize])
                });
            }
        }
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

/// Whether others than the owner may read the file. A missing file is not.
#[must_use]
pub fn is_readable_by_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
}

/// Writes a file whole or not at all: to a temporary name beside it, to the disk, then renamed.
///
/// # Errors
/// When it exists already and `force` is not set, or cannot be written.
pub fn write(file: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<(), FileProblem> {
    if !force && file.exists() {
        return Err(FileProblem::new(
            file,
            "exists already",
            "use --force to replace it, or another directory",
        ));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = file.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&temporary, bytes, mode).and_then(|()| {
        if force {
            fs::rename(&temporary, file)
        } else {
            // A link fails when the name has appeared meanwhile; a rename would replace it. Some file systems have no links.
            match fs::hard_link(&temporary, file) {
                Ok(()) => fs::remove_file(&temporary),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(e),
                Err(_) => fs::rename(&temporary, file),
            }
        }
    });
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        FileProblem::io(file, &e)
    })
}

fn write_new(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(file);
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)?;
    out.set_permissions(fs::Permissions::from_mode(mode))?;
    out.write_all(bytes)?;
    out.sync_all()
}

/// Makes a directory and those above it, mode 0755.
///
/// # Errors
/// When it cannot be made.
pub fn make_directory(directory: &Path) -> Result<(), FileProblem> {
    fs::create_dir_all(directory).map_err(|e| FileProblem::io(directory, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_once_whole_and_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bridge.key");
        write(&file, b"one", 0o600, false).unwrap();
        assert!(
            write(&file, b"two", 0o600, false)
                .unwrap_err()
                .what
                .contains("exists already")
        );
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert!(!is_readable_by_others(&file));
        write(&file, b"two", 0o644, true).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(is_readable_by_others(&file));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn pem_reads_back_at_every_length() {
        for length in [1, 2, 3, 47, 48, 49, 100] {
            let der: Vec<u8> = (0..length).map(|i| (i * 37) as u8).collect();
            let text = pem("CERTIFICATE", &der);
            assert_eq!(
                certificates_in(Path::new("x"), text.as_bytes()).unwrap()[0].as_ref(),
                der
            );
        }
    }

    #[test]
    fn a_problem_names_the_file_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pem");
        assert!(
            certificates(&file)
                .unwrap_err()
                .to_string()
                .contains("x.pem: No such file")
        );
        fs::write(&file, "hello").unwrap();
        assert!(
            certificates(&file)
                .unwrap_err()
                .to_string()
                .contains("no certificate in it")
        );
        assert!(
            private_key(&file)
                .unwrap_err()
                .to_string()
                .contains("no private key in it")
        );
        assert!(
            revocation_lists(&file)
                .unwrap_err()
                .to_string()
                .contains("no revocation list in it")
        );
        fs::write(&file, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
        assert!(private_key(&file).unwrap_err().what.contains("encrypted"));
    }
}
