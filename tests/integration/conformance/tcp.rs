//! The TCP and TLS cases.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use watchpost::signal::outcome::Reason;

use super::{Case, lacks, run};
use crate::support::certificates::{Authority, Leaf, days_ahead, pem_file};
use crate::support::dns::{Answer, Dns};
use crate::support::servers::Server;

const IP4: &str = "preferred_ip_protocol: ip4";

/// A case at this host, with a block besides the family.
fn case(id: &'static str, server: Server, host: &str, block: &str) -> Case {
    let target = format!("{host}:{}", server.address.port());
    let block =
        if block.contains("ip_protocol") { block.to_owned() } else { format!("{IP4}, {block}") };
    Case::new(id, "tcp", server, &block, target)
}

/// A server that accepts and closes.
fn closes() -> Server {
    Server::tcp(drop)
}

/// The same after a TLS handshake.
fn shakes(leaf: &Leaf, versions: &[&'static rustls::SupportedProtocolVersion]) -> Server {
    Server::tls(leaf.server(versions, &[]), |stream| {
        // Reads until the client closes, and shakes hands on the way.
        let _ = stream.read(&mut [0; 1]);
    })
}

/// The settings of a server that asks for a certificate, over TLS 1.2, where a handshake without
/// one fails for both.
fn mutual(authority: &Authority, leaf: &Leaf) -> rustls::ServerConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(leaf.chain.clone(), key)
        .unwrap()
}

fn pem_text(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn seconds(days: i64) -> f64 {
    days_ahead(days).duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn line(reader: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    let _ = reader.read_line(&mut line);
    line
}

/// An IRC server that lets people in, or does not.
fn irc(open: bool) -> Server {
    Server::tcp(move |mut stream: TcpStream| {
        let _ = stream.write_all(b":irc.invalid NOTICE AUTH :*** Looking up\r\n");
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let polite = line(&mut reader) == "NICK prober\n" && line(&mut reader) == "USER a b c :d\n";
        let answer: &[u8] = match (open, polite) {
            (true, true) => b":irc.invalid 001 prober :Welcome\r\n",
            _ => b"ERROR: Your host is not welcome\r\n",
        };
        let _ = stream.write_all(answer);
    })
}

#[test]
fn as_blackbox_exporter_does() {
    let folder = tempfile::tempdir().unwrap();
    let dns = Dns::new([
        (
            "both.test",
            Answer::Addresses(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]),
        ),
        ("six.test", Answer::Addresses(vec!["::1".parse().unwrap()])),
    ]);
    let mut cases = connections();
    cases.extend(certificates(&folder));
    cases.extend(dialogues());
    cases.extend(families());
    run("tcp conformance", &cases, &dns);
}

fn connections() -> Vec<Case> {
    let told = Server::tcp(|mut stream| {
        let _ = writeln!(stream, "{}", stream.peer_addr().unwrap().ip());
    });
    let gone = closes();
    let nobody = format!("127.0.0.1:{}", crate::support::free_port());
    vec![
        case("T-conn", closes(), "127.0.0.1", "")
            .is("ip_protocol", 4.0)
            .is("failed_due_to_regex", 0.0)
            .without("tls_version_info"),
        Case::new("T-bad", "tcp", closes(), IP4, ":0".to_owned()).refused(),
        Case::new("T-refused", "tcp", gone, IP4, nobody)
            .down(Reason::ConnectionRefused)
            .without("failed_due_to_regex"),
        case(
            "T-source",
            told,
            "127.0.0.1",
            "source_ip_address: 127.0.0.2, query_response: [{expect: '^127\\.0\\.0\\.2$'}]",
        ),
    ]
}

fn certificates(folder: &tempfile::TempDir) -> Vec<Case> {
    let authority = Authority::new("root", 30);
    let ca = pem_file(folder, "ca.pem", &authority.pem());
    let tls = |more: &str| format!("tls: true, tls_config: {{ca_file: {}{more}}}", ca.display());
    let leaf = authority.leaf(&["localhost"], -1, 20);
    let old = || shakes(&leaf, &[&rustls::version::TLS12]);
    let good = |case: Case| {
        case.is("tls_version_info{version=\"TLS 1.2\"}", 1.0)
            .is("ssl_last_chain_info{subjectalternative=\"localhost\"}", 1.0)
            .is("failed_due_to_regex", 0.0)
    };
    let expiry = "ssl_earliest_cert_expiry";
    let chain_expiry = "ssl_last_chain_expiry_timestamp_seconds";

    // One key, three certificates: which chain lasts longest is not what is presented.
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let root = |days| Authority::with_key("twins", days, KeyPair::from_pem(&pem).unwrap());
    let (short, long) = (root(1), root(3));
    let both = pem_file(folder, "both.pem", &(long.pem() + &short.pem()));
    let mut twin = short.leaf(&["localhost"], -1, 2);
    twin.chain.push(short.der());

    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from_slice(&[0x0b, 0xff, 0x00, 0x01]));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "CH");
    params.distinguished_name.push(DnType::OrganizationName, "One + Two");
    params.distinguished_name.push(DnType::CommonName, "serial");
    let key = KeyPair::generate().unwrap();
    let serial = params.self_signed(&key).unwrap();
    let serial = Leaf { chain: vec![serial.der().clone()], key };

    // Go has an order of its own for the parts of a name.
    let named = |parts: Vec<(DnType, &str)>| {
        let names = vec!["localhost".to_owned(), "b.invalid".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        parts.into_iter().for_each(|(kind, text)| params.distinguished_name.push(kind, text));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        shakes(&Leaf { chain: vec![certificate.der().clone()], key }, &[])
    };
    let turned = named(vec![
        (DnType::CommonName, "turned"),
        (DnType::OrganizationalUnitName, "Unit"),
        (DnType::OrganizationName, "#Some, Org"),
        (DnType::StateOrProvinceName, "Bern"),
        (DnType::LocalityName, "Thun"),
        (DnType::CountryName, "CH"),
    ]);
    let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
    let mail = named(vec![(mail, "a@b.invalid"), (DnType::CommonName, "mail")]);
    let any = "tls: true, tls_config: {insecure_skip_verify: true}";

    // A server that lets only clients in that its authority knows.
    let person = authority.leaf(&["client"], -1, 20);
    let certificate = pem_file(folder, "client.pem", &pem_text("CERTIFICATE", &person.chain[0]));
    let secret = pem_file(folder, "client.key", &person.key.serialize_pem());
    let identity =
        format!(", cert_file: {}, key_file: {}", certificate.display(), secret.display());
    let asks = || {
        Server::tls(mutual(&authority, &leaf), |stream| {
            let _ = stream.write_all(b"in\n");
        })
    };
    let inside = |more: &str| format!("{}, query_response: [{{expect: '^in$'}}]", tls(more));

    let expired = authority.leaf(&["localhost"], -3, -1);
    vec![
        case("T-TLS by IP", old(), "127.0.0.1", &tls("")).down(Reason::TlsNameMismatch),
        good(case("T-TLS by name", old(), "localhost", &tls(""))),
        good(case("T-TLS server_name", old(), "127.0.0.1", &tls(", server_name: localhost"))),
        case("T-TLS by no version", old(), "localhost", &tls(", min_version: TLS13"))
            .down(Reason::TlsVersion),
        case("T-TLS of nobody", closes(), "localhost", &tls("")).down(Reason::TlsHandshake),
        case("T-TLS with identity", asks(), "localhost", &inside(&identity)),
        case("T-TLS without identity", asks(), "localhost", &inside("")).down(Reason::TlsHandshake),
        case("T-TLS subject turned", turned, "localhost", any)
            .is("ssl_last_chain_info{subjectalternative=\"localhost,b.invalid\"}", 1.0),
        case("T-TLS subject with mail", mail, "localhost", any),
        case("T-TLS expired", shakes(&expired, &[]), "localhost", &tls(""))
            .down(Reason::TlsExpired)
            .without(chain_expiry),
        case(
            "T-chain",
            shakes(&twin, &[]),
            "localhost",
            &format!("tls: true, tls_config: {{ca_file: {}}}", both.display()),
        )
        .about(expiry, seconds(1))
        .about(chain_expiry, seconds(2)),
        case(
            "X-serial",
            shakes(&serial, &[]),
            "localhost",
            "tls: true, tls_config: {insecure_skip_verify: true}",
        )
        .is("ssl_last_chain_info{serialnumber=\"0bff0001\"}", 1.0)
        .without(chain_expiry),
    ]
}

fn dialogues() -> Vec<Case> {
    let irc_steps = "query_response: [{send: NICK prober}, {send: 'USER a b c :d'}, \
                     {expect: '^:[^ ]+ 001'}]";
    let ssh = || {
        Server::tcp(|mut stream| {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
            let said = line(&mut BufReader::new(&stream));
            let _ = (&stream).write_all(if said == "CONFIRM OpenSSH_9.2p1\n" {
                b"OK\n"
            } else {
                b"NO\n"
            });
        })
    };
    let steps = "query_response: [{expect: '^SSH-2.0-([^ ]+)(?: (.*))?$', send: 'CONFIRM ${1}'}, \
                 {expect: '^OK$'}]";
    let says = |text: &'static str| {
        Server::tcp(move |mut stream| {
            let _ = stream.write_all(text.as_bytes());
        })
    };
    let here = "127.0.0.1";
    let expect = |regex: &str| format!("query_response: [{{expect: '{regex}'}}]");
    let bad = Reason::UnexpectedResponse;
    vec![
        case("T-IRC ok", irc(true), here, irc_steps).is("failed_due_to_regex", 0.0),
        case("T-IRC refused", irc(false), here, irc_steps).down(bad).is("failed_due_to_regex", 1.0),
        case("T-capture", ssh(), here, steps).is("failed_due_to_regex", 0.0),
        // `${v}` would be a variable of the environment to ours.
        case(
            "T-capture named",
            ssh(),
            here,
            &steps.replace("([^ ]+)", "(?P<v>[^ ]+)").replace("${1}", "$v"),
        )
        .is("failed_due_to_regex", 0.0),
        case("T-capture bare", ssh(), here, &steps.replace("${1}", "$1")),
        case("T-silent", closes(), here, &expect("^hello$")).down(Reason::Eof),
        case("T-last line", says("one\r\ntwo"), here, &expect("^two$")),
        case("T-empty line", says("one\n\ntwo\n"), here, &expect("^$")),
        case("T-other line", says("one\ntwo\n"), here, &expect("^three$"))
            .down(bad)
            .is("failed_due_to_regex", 1.0),
    ]
}

fn families() -> Vec<Case> {
    let at = |id, host: &str, block: &str| {
        case(id, Server::tcp_on("[::]:0".parse().unwrap(), drop), host, block)
    };
    let only4 = "preferred_ip_protocol: ip4, ip_protocol_fallback: false";
    let only6 = "preferred_ip_protocol: ip6, ip_protocol_fallback: false";
    let neither = "ip_protocol_fallback: false";
    vec![
        at("T-family 4", "localhost", only4).is("ip_protocol", 4.0),
        at("T-family 6", "localhost", only6).is("ip_protocol", 6.0).alone(lacks::HOSTS),
        at("T-family none", "localhost", neither).is("ip_protocol", 6.0).alone(lacks::HOSTS),
        at("T-family 4 of both", "both.test", only4).is("ip_protocol", 4.0).alone(lacks::NAMES),
        at("T-family 6 of both", "both.test", only6).is("ip_protocol", 6.0).alone(lacks::NAMES),
        at("T-family none of both", "both.test", neither)
            .is("ip_protocol", 6.0)
            .alone(lacks::NAMES),
        at("T-family 6 literal", "[::1]", only6).is("ip_protocol", 6.0),
        at("T-family 4 for 6", "127.0.0.1", only6).down(Reason::NoAddress).is("ip_protocol", 0.0),
        at("F-1", "six.test", IP4).is("ip_protocol", 6.0).alone(lacks::NAMES),
        at("F-1 literal", "[::1]", IP4).is("ip_protocol", 6.0),
        at("F-2", "six.test", only4)
            .down(Reason::NoAddress)
            .is("ip_protocol", 0.0)
            .alone(lacks::NAMES),
        at("F-2 literal", "[::1]", only4).down(Reason::NoAddress).is("ip_protocol", 0.0),
    ]
}
