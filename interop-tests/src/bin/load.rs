//! The load driver: starts servers on loopback, one at a time, gives each the same work, and sets them side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use interop_tests::load::desk::{Desk, judge};
use interop_tests::load::meter::Meter;
use interop_tests::load::report::{Row, table};
use interop_tests::load::servers::Server;
use interop_tests::load::wires::{Trust, Wires};
use interop_tests::load::{Job, Size, Way, presence, registrar, relay};
use interop_tests::net::{Family, free_port};
use interop_tests::{Outcome, find, repository};

/// Compares Trestle with Kamailio: CPU per operation first. Everything is checked; nothing may be lost or out of order.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 well, 1 something was lost, refused or wrong, 2 could not run, 77 kamailio is not installed.
Memory is read over TCP, some seconds after the last answer: over UDP transactions would linger for 32 s.
Other work on the machine spoils rates at once and CPU figures by a fifth or so: compare figures of one run only."
)]
struct Args {
    /// Only these jobs: relay, presence, fan-out, registrar, memory.
    #[arg(long, value_delimiter = ',')]
    jobs: Vec<String>,
    /// Only these transports: udp, tcp, tls.
    #[arg(long, value_delimiter = ',')]
    transports: Vec<String>,
    /// Only these servers: trestle, kamailio.
    #[arg(long, value_delimiter = ',', default_value = "trestle,kamailio")]
    servers: Vec<String>,
    /// smoke (a second a job), quick (all of it in less than two minutes) or full.
    #[arg(long, default_value = "full", value_parser = ["smoke", "quick", "full"])]
    size: String,
    /// The same as --size quick.
    #[arg(long)]
    quick: bool,
    /// The bridge's program; the release build if not given.
    #[arg(long, value_name = "FILE")]
    trestle: Option<PathBuf>,
    /// One JSON object for each job instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.servers.iter().any(|s| s == "kamailio") && find("kamailio").is_none() {
        eprintln!("kamailio is not installed: apt-get install kamailio kamailio-presence-modules kamailio-tls-modules");
        eprintln!("or measure one server alone: --servers trestle");
        return ExitCode::from(77);
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::from(2)
        }
    }
}

fn chosen<T: Copy>(all: &[T], names: &[String], name: impl Fn(T) -> &'static str) -> Outcome<Vec<T>> {
    if let Some(unknown) = names.iter().find(|n| !all.iter().any(|one| name(*one) == n.as_str())) {
        let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        return Err(format!("{unknown} is none of {}", known.join(", ")).into());
    }
    let wanted = |one: &T| names.is_empty() || names.iter().any(|n| n == name(*one));
    Ok(all.iter().copied().filter(wanted).collect())
}

fn servers(args: &Args) -> Outcome<Vec<Server>> {
    let release = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
        target.join("release/trestle")
    };
    let program = args.trestle.clone().unwrap_or_else(release);
    args.servers
        .iter()
        .map(|name| match name.as_str() {
            "trestle" if program.exists() => Ok(Server::Trestle(program.clone())),
            "trestle" => Err(format!("{} is missing: cargo build --release", program.display()).into()),
            "kamailio" => Ok(Server::Kamailio),
            other => Err(format!("{other} is neither trestle nor kamailio").into()),
        })
        .collect()
}

fn run(args: &Args) -> Outcome<bool> {
    let servers = servers(args)?;
    let jobs = chosen(&Job::ALL, &args.jobs, Job::name)?;
    let ways = chosen(&Way::ALL, &args.transports, Way::param)?;
    let (size, quiet) = match args.size.as_str() {
        "smoke" => (Size::SMOKE, Duration::from_millis(200)),
        "full" if !args.quick => (Size::FULL, Duration::from_secs(10)),
        _ => (Size::QUICK, Duration::from_secs(6)),
    };
    let mut rows = Vec::new();
    for job in jobs {
        for way in &ways {
            // Memory of a subscription does not depend on the transport; over TCP no transaction lingers beside it.
            if job == Job::Memory && *way != Way::Tcp && ways.contains(&Way::Tcp) {
                continue;
            }
            for server in &servers {
                let row = one(server, job, *way, &size, quiet);
                if args.json {
                    println!("{}", row.json());
                } else {
                    eprintln!("{} {} {}: {}", server.name(), job.name(), way.param(), verdict(&row));
                }
                rows.push(row);
            }
        }
    }
    if !args.json {
        print!("{}", table(&rows));
    }
    // What another server loses is shown, and is not our failure.
    Ok(rows.iter().all(|r| r.faults.is_empty() || r.server != "trestle"))
}

fn verdict(row: &Row) -> String {
    if row.faults.is_empty() {
        "all well".into()
    } else {
        row.faults.join("; ")
    }
}

/// One job on a fresh server.
fn one(server: &Server, job: Job, way: Way, size: &Size, quiet: Duration) -> Row {
    let (phases, faults) = match play(server, job, way, size, quiet) {
        Ok((phases, Ok(()))) => (phases, Vec::new()),
        Ok((phases, Err(faults))) => (phases, vec![faults.to_string()]),
        Err(problem) => (Vec::new(), vec![format!("{}: {problem}", job.name())]),
    };
    Row {
        server: server.name().into(),
        way: way.param(),
        phases,
        faults,
    }
}

type Played = (Vec<interop_tests::load::report::Phase>, Outcome);

fn play(server: &Server, job: Job, way: Way, size: &Size, quiet: Duration) -> Outcome<Played> {
    let dir = tempfile::tempdir()?;
    let trust = Trust::new()?;
    let (at, listen) = (Family::V4.at(free_port()), Family::V4.at(free_port()));
    let wires = Wires::open(way, at, listen, &trust)?;
    let mut process = server.start(dir.path(), way, at, listen, &trust)?;
    let meter = Meter::new(process.id());
    let mut desk = Desk::new(way, wires, 4)?;
    let phases = match job {
        Job::Relay => relay::run(&mut desk, way, size, meter),
        Job::Presence => presence::run(&mut desk, way, size, meter),
        Job::FanOut => presence::fan_out(&mut desk, way, size, meter),
        Job::Registrar => registrar::run(&mut desk, size, meter),
        Job::Memory => presence::memory(&mut desk, way, size, meter, quiet),
    };
    let phases = phases.map_err(|e| format!("{e}\n{}", process.tail()))?;
    process.stop();
    Ok((phases, judge(&desk.faults)))
}
