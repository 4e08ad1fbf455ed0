//! `doctor`: the command around `pki::doctor`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls_pki_types::UnixTime;

use super::{Outcome, now, peer_directory, say};
use crate::pki::PeerTrust;
use crate::pki::doctor::{DoctorTarget, Where, examine};
use crate::pki::verify::TrustFiles;
use crate::sip::net::PeerId;

/// The arguments of `trestle cert doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The peer's name in the configuration.
    pub peer: String,
    /// The configuration that names it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Connect here instead of the peer's next hop.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<String>,
    /// Look at these certificates of the peer instead: its chain, its own certificate first.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Without a configuration: a domain the peer should name; may be repeated.
    #[arg(long = "domain", value_name = "DOMAIN")]
    pub domains: Vec<String>,
    /// Without a configuration: a domain our certificate should name; may be repeated.
    #[arg(long = "our-domain", value_name = "DOMAIN")]
    pub our_domains: Vec<String>,
    /// Seconds to wait for the network, each time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub timeout: u64,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Finds what the configuration says of the peer; the second argument is the directory of certificates.
pub type TargetOf = dyn Fn(&DoctorArgs, &Path) -> Result<DoctorTarget, String>;

/// The peer without a configuration: what was imported for it, and the domains of the command line.
///
/// # Errors
/// When a configuration was named, no domain was, or an imported file cannot be used.
pub fn target_from_files(args: &DoctorArgs, dir: &Path) -> Result<DoctorTarget, String> {
    if args.domains.is_empty() {
        return Err("without a configuration, say which domain the peer should name: --domain DOMAIN".to_owned());
    }
    let imported = peer_directory(dir, &args.peer)?;
    let present = |name: &str| Some(imported.join(name)).filter(|f| f.exists()).into_iter().collect();
    let files = TrustFiles {
        ca: present("ca.pem"),
        pin: present("pin.pem"),
        crl: present("crl.pem"),
    };
    let mut peer = PeerTrust::new(PeerId(0), &args.peer);
    peer.domains = args.domains.iter().map(|d| Arc::from(d.as_str())).collect();
    peer.load(&files).map_err(say)?;
    Ok(DoctorTarget {
        peer: Arc::new(peer),
        certificate: dir.join("bridge.pem"),
        key: dir.join("bridge.key"),
        domains: args.our_domains.iter().map(|d| Arc::from(d.as_str())).collect(),
        next_hop: None,
    })
}

pub(super) fn doctor(args: &DoctorArgs, dir: &Path, target_of: &TargetOf) -> Outcome {
    let target = target_of(args, dir)?;
    let at = Where {
        connect: args.connect.clone(),
        files: args.files.clone(),
        timeout: Duration::from_secs(args.timeout),
    };
    let report = examine(&target, &at, UnixTime::since_unix_epoch(Duration::from_secs(now())))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(say)?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_healthy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
