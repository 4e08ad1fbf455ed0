//! `import` and `export`: what two organisations give each other. Never a key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Outcome, now, peer_directory, say};
use crate::pki::crl::Crl;
use crate::pki::doctor::inspect::{View, inspect, is_authority};
use crate::pki::files::{self, pem};
use crate::pki::names::names_of;
use crate::pki::{PeerTrust, Pin};
use crate::sip::net::PeerId;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The peer's name in the configuration.
    peer: String,
    /// Its authority's certificate, its own certificate, or a revocation list; PEM or DER.
    file: PathBuf,
    /// Replace what was imported before.
    #[arg(long)]
    force: bool,
}

pub(super) fn import(args: &ImportArgs, dir: &Path) -> Outcome {
    let to = peer_directory(dir, &args.peer)?;
    if let Ok(lists) = Crl::load(&args.file) {
        let text: String = files::revocation_lists(&args.file)
            .map_err(say)?
            .iter()
            .map(|d| pem("X509 CRL", d))
            .collect();
        let revoked: usize = lists.iter().map(|l| l.revoked).sum();
        return keep(
            args,
            &to,
            "crl.pem",
            &text,
            &format!("a revocation list, {revoked} revoked"),
            "crl",
        );
    }
    let chain = files::certificates(&args.file).map_err(say)?;
    for der in &chain {
        names_of(der).map_err(|e| format!("{}: {e}", args.file.display()))?;
    }
    let text: String = chain.iter().map(|d| pem("CERTIFICATE", d)).collect();
    if chain.iter().all(|der| is_authority(der)) {
        chain.iter().for_each(|der| {
            println!(
                "digest {}: compare it with the peer over another way",
                Pin::certificate(der)
            )
        });
        return keep(args, &to, "ca.pem", &text, "an authority", "ca");
    }
    import_leaf(args, &to, &chain, &text)
}

fn import_leaf(args: &ImportArgs, to: &Path, chain: &[CertificateDer<'_>], text: &str) -> Outcome {
    let Some(leaf) = chain.first() else {
        return Err("no certificate in it".to_owned());
    };
    let pin = Pin::certificate(leaf);
    let mut trust = PeerTrust::new(PeerId(0), &args.peer);
    trust.pins.push(pin);
    let time = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now()));
    let found = inspect(chain, &View::theirs(&trust, time));
    found.iter().for_each(|f| println!("{}: {}; {}", f.id, f.what, f.fix));
    if found.iter().any(|f| f.severity == crate::pki::doctor::Severity::Error) {
        return Err(format!("{}: not imported, it could never be used", args.file.display()));
    }
    let names = names_of(leaf).map_err(say)?;
    println!("names: {names}");
    println!("digest {pin}: compare it with the peer over another way");
    println!("a pin must be replaced whenever the peer renews its certificate; its authority (`ca`) need not");
    keep(args, to, "pin.pem", text, "a certificate", "pin")
}

fn keep(args: &ImportArgs, to: &Path, name: &str, text: &str, what: &str, key: &str) -> Outcome {
    files::make_directory(to).map_err(say)?;
    let file = to.join(name);
    files::write(&file, text.as_bytes(), 0o644, args.force).map_err(say)?;
    println!("{} is {what}, kept as {}", args.file.display(), file.display());
    println!("\nadd to the peer in config/bridge.yaml, then `trestle ctl reload`:\n");
    println!(
        "  - name: {}\n    tls:\n      {key}: [../{}]",
        args.peer,
        file.display()
    );
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Our certificate; DIR/bridge.pem if it is left out.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Write to a file instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only the authority, which is all that a peer needs to trust.
    #[arg(long)]
    ca: bool,
}

pub(super) fn export(args: &ExportArgs, dir: &Path) -> Outcome {
    let mut text = String::new();
    let mut add = |file: &Path| -> Result<(), String> {
        for der in files::certificates(file).map_err(say)? {
            let names = names_of(&der).map_err(|e| format!("{}: {e}", file.display()))?;
            text += &format!("# {names}\n# {}\n{}", Pin::certificate(&der), pem("CERTIFICATE", &der));
        }
        Ok(())
    };
    if !args.ca {
        add(args.certificate.as_ref().unwrap_or(&dir.join("bridge.pem")))?;
    }
    let ca = dir.join("ca.pem");
    if args.ca || ca.exists() {
        add(&ca)?;
    }
    match &args.out {
        Some(file) => files::write(file, text.as_bytes(), 0o644, false).map_err(say)?,
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}
