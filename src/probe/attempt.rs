//! One attempt: one try at one address, within its time.

use std::time::Duration;

use crate::base::duration;
use crate::net::dial;
use crate::net::resolve::{Family, Resolver};
use crate::net::tls;
use crate::probe::address::Address;
use crate::probe::icmp::Engine;
use crate::probe::module::{LazyTls, Module, Prober};
use crate::probe::trace::{Stop, Trace, Wait};
use crate::probe::{fault, http, icmp, tcp};
use crate::signal::outcome::{Phase, Skip, SlotResult, Tls};

/// What attempts share.
#[derive(Clone)]
pub struct Tools {
    /// Asks for names.
    pub resolver: Resolver,
    /// Sends echoes.
    pub icmp: Engine,
}

/// Makes one attempt. Never takes longer than `timeout`, and never fails: what went wrong is in the
/// result.
pub async fn attempt(
    module: &Module,
    address: &Address,
    timeout: Duration,
    tools: &Tools,
) -> SlotResult {
    let mut trace = Trace::new();
    let work = async {
        match (&module.prober, address) {
            (Prober::Http(module), Address::Url(url)) => {
                http::probe(module, url, tools, &mut trace).await
            }
            (Prober::Tcp(module), Address::HostPort(host, port)) => {
                tcp::probe(module, host, *port, tools, &mut trace).await
            }
            (Prober::Icmp(module), Address::Host(host)) => {
                icmp::probe(module, host, timeout, tools, &mut trace).await
            }
            // Planning reads the address by the module's prober.
            _ => unreachable!("an address is read by the prober of its module"),
        }
    };
    let stopped = match tokio::time::timeout(timeout, work).await {
        Ok(Ok(())) => return SlotResult::Outcome(Box::new(trace.finish(Ok(())))),
        Ok(Err(stopped)) => stopped,
        Err(_) => match (trace.broken.take(), trace.waits) {
            (Some((reason, detail)), _) => {
                trace.begin(Phase::Processing);
                Stop::down(reason, detail)
            }
            (None, Some(wait)) => wait.ran_out(timeout),
            (None, None) => {
                let (phase, within) = (trace.phase(), duration::format(timeout));
                let detail = format!("no end within {within} while {}", phase.plain());
                Stop::down(fault::timed_out(phase), detail)
            }
        },
    };
    match stopped {
        Stop::Down(reason, detail) => {
            SlotResult::Outcome(Box::new(trace.finish(Err((reason, detail)))))
        }
        Stop::Skip(skip, detail) => SlotResult::Skipped(skip, detail),
    }
}

/// Looks a name up, as a phase.
pub(super) async fn resolve(
    host: &str,
    family: Family,
    tools: &Tools,
    trace: &mut Trace,
) -> Result<std::net::IpAddr, Stop> {
    trace.waits = Some(Wait::Names);
    tools.resolver.ready(host).await;
    trace.waits = None;
    trace.begin(Phase::Resolve);
    let found = tools.resolver.resolve(host, family).await;
    let took = trace.end();
    trace.lookup.get_or_insert(took);
    let address = found?;
    trace.address.get_or_insert(address);
    Ok(address)
}

/// Connects, as a phase.
pub(super) async fn connect(
    to: std::net::SocketAddr,
    source: Option<std::net::IpAddr>,
    trace: &mut Trace,
) -> Result<dial::Connection, Stop> {
    trace.begin(Phase::Connect);
    let stream = dial::connect(to, source).await?;
    trace.end();
    Ok(stream)
}

/// Shakes hands, as a phase, and keeps what was shown. The certificate has been judged when this
/// returns; nothing has been sent.
pub(super) async fn handshake(
    settings: &LazyTls,
    stream: dial::Connection,
    host: &str,
    trace: &mut Trace,
) -> Result<(tls::Stream, bool), Stop> {
    trace.waits = Some(Wait::Files);
    let client = settings.client().await.map_err(|why| Stop::Skip(Skip::NoCredentials, why))?;
    trace.waits = None;
    trace.begin(Phase::Tls);
    let unjudged = client.shake(stream, host).await?;
    trace.end();
    trace.waits = Some(Wait::Judge);
    let (stream, shown) = unjudged.judge().await?;
    trace.waits = None;
    let leaf = shown.leaf.unwrap_or_default();
    trace.tls = Some(Box::new(Tls {
        version: shown.version.to_owned(),
        cipher: shown.cipher,
        earliest_expiry: shown.earliest_expiry.unwrap_or_default(),
        chain_expiry: shown.chain_expiry,
        fingerprint_sha256: leaf.fingerprint_sha256,
        subject: leaf.subject,
        issuer: leaf.issuer,
        subject_alternative: leaf.dns_names,
        serial_number: leaf.serial_number,
        not_after: leaf.not_after,
        not_before: leaf.not_before,
    }));
    shown.verdict?;
    Ok((stream, shown.alpn.as_deref() == Some(b"h2")))
}
