use super::*;

#[test]
fn the_hosts_file_names_a_host_fully() {
    let hosts =
        "127.0.0.1 localhost\n127.0.1.1 pi.home.invalid pi # pi.other.invalid\n10.0.0.1 web\n";
    assert_eq!(qualified_by_hosts(hosts, "pi").as_deref(), Some("pi.home.invalid"));
    assert_eq!(qualified_by_hosts(hosts, "web"), None);
    assert_eq!(qualified_by_hosts(hosts, "127.0.0.1"), None);
}

fn detection(settings: Settings, server: std::net::SocketAddr) -> Detection {
    let settings_of_names = crate::net::resolve::ResolverSettings {
        nameservers: vec![server],
        timeout: Some(std::time::Duration::from_millis(100)),
        attempts: Some(1),
    };
    Detection {
        name: "resource_detection".to_owned(),
        settings,
        resolver: Resolver::new(settings_of_names),
        facts: Arc::default(),
    }
}

fn settings(sources: Vec<HostnameSource>) -> Settings {
    Settings {
        detectors: vec![Detector::System],
        overrides: true,
        timeout: std::time::Duration::from_millis(300),
        refresh: None,
        hostname_sources: sources,
        system: BTreeSet::from(["host.name", "os.type", "host.arch"]),
        only: None,
    }
}

#[tokio::test]
async fn a_source_that_does_not_answer_leaves_the_others() {
    // Somebody who listens and never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let server = silent.local_addr().expect("an address");
    let detection = |sources| detection(settings(sources), server);
    let (found, failed) = detection(vec![HostnameSource::Lookup, HostnameSource::Os]).all().await;
    let get = |name: &str| found.iter().find(|(have, _)| **have == *name).map(|(_, v)| v.text());
    assert_eq!(get("host.name").as_deref(), Some(facts::host_name().as_str()));
    assert_eq!(get("os.type").as_deref(), Some("linux"));
    assert!(failed.is_empty(), "{failed:?}");
    let (found, failed) = detection(vec![HostnameSource::Lookup]).all().await;
    assert!(!found.iter().any(|(name, _)| &**name == "host.name"));
    assert!(failed[0].contains("Lookup"), "{failed:?}");
    assert!(found.iter().any(|(name, _)| &**name == "os.type"), "one failure hides nothing else");
}

#[tokio::test]
async fn only_what_is_wanted() {
    let server = "127.0.0.1:1".parse().expect("an address");
    let only = Some(BTreeSet::from(["host.name".to_owned()]));
    let settings = Settings { only, ..settings(vec![HostnameSource::Os]) };
    let (found, _) = detection(settings, server).all().await;
    assert_eq!(found.len(), 1);
}
