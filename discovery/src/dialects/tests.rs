use std::fs;
use std::path::Path;

use watchpost_targets::Target;
use watchpost_targets::label::{INTERVAL_HINT, MODULE_HINT};

use crate::hosts::Pattern;
use crate::interpolate::Variables;
use crate::job::{Report, Settings, compose, run};

/// What is found in a compose file beside this `.env`.
fn scan(text: &str, change: impl FnOnce(&mut Settings)) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "compose.yaml", text);
    write(folder.path(), ".env", "DOMAIN=example.net\nEMPTY=\n");
    let mut settings = Settings::new(vec![folder.path().to_owned()]);
    settings.ports_host = "pi".to_owned();
    change(&mut settings);
    compose(&settings, &Variables::new())
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    fs::write(path, text).expect("a file");
}

fn addresses(report: &Report) -> Vec<&str> {
    report.targets.iter().map(|target| target.address.as_str()).collect()
}

fn reasons(report: &Report) -> String {
    report.skipped.iter().map(|s| format!("{}: {}\n", s.service, s.reason)).collect()
}

#[test]
fn traefik_labels() {
    let report = scan(
        r#"
services:
  a:
    labels:
      - traefik.enable=true
      - "traefik.http.routers.a.rule=Host(`a.$DOMAIN`) || Host(`www.${DOMAIN}`)"
      - traefik.http.routers.a.entrypoints=websecure
      - traefik.http.routers.a-web.rule=Host(`a.$DOMAIN`)
      - traefik.http.routers.a-web.entrypoints=web
  b:
    deploy:
      labels: {Traefik.HTTP.Routers.b.Rule: "Host(`b.example.net`) && PathPrefix(`/api`)", traefik.http.routers.b.tls: true}
  c:
    labels: {traefik.http.routers.c.rule: "Host(`c.${NOT_SET}`)"}
  d:
    labels: {traefik.enable: "false", traefik.http.routers.d.rule: "Host(`d.example.net`)"}
  e:
    labels: {traefik.frontend.rule: "Host:e.example.net"}
  f:
    labels:
      traefik.tcp.routers.f.rule: HostSNI(`*`)
      traefik.tcp.routers.f.entrypoints: postgres
      traefik.tcp.routers.g.rule: HostSNI(`g.example.net`)
      traefik.tcp.routers.g.entrypoints: unknown
  h:
    labels: {traefik.http.routers.h.rule: "Host(`h.example.net`) && Header(`X`, `y`)"}
"#,
        |settings| settings.entry_points = [("postgres".to_owned(), 5432)].into(),
    );
    let expected = [
        "https://a.example.net",
        "https://www.example.net",
        "https://b.example.net/api",
        "http://e.example.net",
        "pi:5432",
    ];
    assert_eq!(addresses(&report), expected, "{}", reasons(&report));
    let reasons = reasons(&report);
    for expected in [
        "c: router c: the variable NOT_SET is not set",
        "d: traefik.enable is false",
        "f: router g: the port of its entry point \"unknown\" is not known",
        "h: router h: the rule has a condition",
    ] {
        assert!(reasons.contains(expected), "{expected:?} in\n{reasons}");
    }
    assert_eq!((report.services, report.services_found), (7, 4));
    assert_eq!(report.targets[2].labels["humanname"], "b/api");
}

#[test]
fn other_dialects() {
    let report = scan(
        r#"
services:
  caddy:
    labels:
      caddy: whoami.example.net, http://plain.example.net:8080/x
      caddy_1: "*.example.net"
      caddy_ingress_network: web
      caddy.email: me@example.net
      caddy_2: (snippet)
  nginx:
    environment:
      - VIRTUAL_HOST=n.example.net, , ~^regex,
      - LETSENCRYPT_HOST=n.example.net
  many:
    environment:
      VIRTUAL_HOST_MULTIPORTS: |-
        m.example.net:
          "/":
          "/x": {port: 90}
  start:
    labels: {homepage.name: Start, homepage.href: "https://start.example.net/", homepage.group: G}
  half:
    labels: {homepage.href: /sonarr}
  kuma:
    labels:
      kuma.web.http.name: Web
      kuma.web.http.url: https://k.example.net
      kuma.web.http.interval: 20
      kuma.db.port.hostname: db.example.net
      kuma.db.port.port: 5432
      kuma.gate.ping.hostname: 192.0.2.1
      kuma.all.group.name: All
      kuma.c.docker.name: x
      kuma.__web: '"a", 443'
  ts:
    labels: {tsdproxy.name: x}
  cool:
    environment: [SERVICE_FQDN_APP_3000]
  plain:
    ports: ["8080:80"]
"#,
        |_| {},
    );
    let expected = [
        "https://whoami.example.net",
        "http://plain.example.net:8080/x",
        "192.0.2.1",
        "db.example.net:5432",
        "https://k.example.net",
        "http://m.example.net",
        "http://m.example.net/x",
        "https://n.example.net",
        "https://start.example.net/",
    ];
    let mut found = addresses(&report);
    let mut expected = expected.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{}", reasons(&report));
    let by = |address: &str| report.targets.iter().find(|t| t.address == address).expect("found");
    assert_eq!(by("https://start.example.net/").labels["humanname"], "Start");
    assert_eq!(by("https://k.example.net").labels["humanname"], "Web");
    assert_eq!(by("https://k.example.net").hints[INTERVAL_HINT], "20s");
    let reasons = reasons(&report);
    for expected in [
        "caddy: caddy_1: *.example.net is a pattern",
        "nginx: VIRTUAL_HOST: ~^regex is a pattern",
        "half: homepage.href: \"/sonarr\" is no whole URL",
        "kuma: kuma.c.docker: monitors of this type are not read",
        "kuma: kuma.__web: snippets are not read",
        "ts: labels of tsdproxy are not read",
        "cool: variables of coolify are not read",
        "plain: no label names an address; it publishes ports",
    ] {
        assert!(reasons.contains(expected), "{expected:?} in\n{reasons}");
    }
}

#[test]
fn our_own_labels_win() {
    let report = scan(
        r#"
services:
  a:
    labels:
      traefik.http.routers.a.rule: Host(`a.example.net`)
      watchpost.address: https://other.example.net/health
      watchpost.name: The A
      watchpost.module: http_service
      watchpost.interval: 30s
      watchpost.labels.routing: external
      watchpost.labels: team=home, floor=2
  b:
    profiles: [debug]
    labels: {watchpost.address: "192.0.2.1:1", watchpost.enable: "true"}
  c:
    labels: {traefik.http.routers.c.rule: Host(`c.example.net`), watchpost.enable: "false"}
  d:
    labels: {watchpost.adress: x, watchpost.enable: maybe, watchpost.labels.1x: y}
"#,
        |settings| {
            settings.labels = [("routing".to_owned(), "internal".to_owned())].into();
            settings.limits.modules.insert("http_service".to_owned());
        },
    );
    assert_eq!(addresses(&report), ["https://other.example.net/health", "192.0.2.1:1"]);
    let target = &report.targets[0];
    assert_eq!(
        (target.labels["humanname"].as_str(), target.labels["routing"].as_str()),
        ("The A", "internal"),
        "labels of the job win"
    );
    assert_eq!((target.labels["team"].as_str(), target.labels["floor"].as_str()), ("home", "2"));
    assert_eq!(
        (target.hints[MODULE_HINT].as_str(), target.hints[INTERVAL_HINT].as_str()),
        ("http_service", "30s")
    );
    let reasons = reasons(&report);
    assert!(reasons.contains("c: watchpost.enable is false"), "{reasons}");
    for wrong in
        ["watchpost.adress: there is enable", "watchpost.enable: \"maybe\"", "watchpost.labels.1x"]
    {
        assert!(reasons.contains(wrong), "{wrong} in {reasons}");
    }
}

#[test]
fn ports_when_they_are_wanted() {
    let text = r#"
services:
  web: {ports: ["8080:80", "127.0.0.1:9000:9000", "53:53/udp", 80, "9001-9002:1-2"]}
  long: {ports: [{target: 80, published: 8090}, {target: 81, published: "8091", protocol: udp}]}
  inside: {network_mode: "service:vpn", ports: ["1:1"]}
  host: {network_mode: host}
"#;
    let report = scan(text, |settings| settings.ports = true);
    let expected = ["pi:8090", "pi:8080", "127.0.0.1:9000", "pi:9001", "pi:9002"];
    assert_eq!(addresses(&report), expected, "{}", reasons(&report));
    let reasons = reasons(&report);
    for expected in [
        "web: a port of udp cannot be asked",
        "web: a port without one on the host",
        "inside: its ports are those of the service vpn",
        "host: no label names an address",
    ] {
        assert!(reasons.contains(expected), "{expected:?} in\n{reasons}");
    }
}

#[test]
fn projects_of_several_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    write(
        root,
        "app/compose.yml",
        "services:\n  a:\n    image: x\n    labels: {watchpost.address: \"one:1\"}\n  gone: {profiles: [x]}\n",
    );
    write(
        root,
        "app/compose.override.yml",
        "services:\n  a:\n    labels: [watchpost.address=two:2]\n",
    );
    write(
        root,
        "docker-compose-host.yml",
        "include:\n  - parts/$HOST/b.yml\n  - path: [parts/c.yml]\n    env_file: parts/c.env\n",
    );
    write(
        root,
        "parts/pi/b.yml",
        "services:\n  b: {extends: {file: ../shared/compose.yml, service: base}, labels: {watchpost.name: B}}\n",
    );
    write(
        root,
        "parts/shared/compose.yml",
        "services:\n  base: {labels: {watchpost.address: \"base:1\"}}\n",
    );
    write(root, "parts/c.yml", "services:\n  c: {labels: {watchpost.address: \"$NAME:1\"}}\n");
    write(root, "parts/c.env", "NAME=c\n");
    write(
        root,
        "loop/compose.yml",
        "include: [compose.yml]\nservices:\n  l: {extends: {service: l}, labels: {watchpost.address: \"l:1\"}}\n",
    );
    write(
        root,
        "old/docker-compose.yml",
        "v1:\n  image: x\n  labels: {watchpost.address: \"old:1\"}\n",
    );
    write(root, "bad/compose.yml", "services:\n  %HOST%:\n    a: b\n");
    let settings = Settings::new(vec![root.to_owned()]);
    let environment = Variables::from([("HOST".to_owned(), "pi".to_owned())]);
    let report = compose(&settings, &environment);
    let mut found = addresses(&report);
    found.sort_unstable();
    // The base is a file of its own, too, and its service runs.
    assert_eq!(found, ["base:1", "c:1", "l:1", "old:1", "two:2"], "{report:#?}");
    let problems: Vec<String> =
        report.problems.iter().map(|p| format!("{}:{}", p.file.display(), p.message)).collect();
    let problems = problems.join("\n");
    for expected in ["it includes itself", "l extends itself", "bad/compose.yml"] {
        assert!(problems.contains(expected), "{expected} in\n{problems}");
    }
}

#[test]
fn profiles_that_the_user_has_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "services:\n  a: {profiles: [core, all], labels: {watchpost.address: \"a:1\"}}\n  \
                b: {profiles: [\"\", other], labels: {watchpost.address: \"b:1\"}}\n";
    write(folder.path(), "set/compose.yaml", text);
    write(folder.path(), "set/.env", "COMPOSE_PROFILES=media,all\n");
    write(folder.path(), "unset/compose.yaml", text);
    let look = |name| {
        let settings = Settings::new(vec![folder.path().join(name)]);
        let report = compose(&settings, &Variables::new());
        addresses(&report).join(" ")
    };
    assert_eq!((look("set").as_str(), look("unset").as_str()), ("a:1", "b:1"));
}

#[test]
fn what_is_no_address_is_told() {
    let report = scan(
        r#"
services:
  empty: {labels: {watchpost.address: "", traefik.http.routers.a.rule: Host(`a.example.net`)}}
  spaces: {labels: {homepage.href: "http://two words"}}
  parted: {labels: {kuma.p.http.url: "http://u:S3CRET@h;x"}}
  default: {labels: [traefik.enable=true]}
  proxied: {environment: [VIRTUAL_HOST=]}
"#,
        |_| {},
    );
    assert_eq!(addresses(&report), ["http://a.example.net"]);
    let reasons = reasons(&report);
    for expected in [
        "empty: watchpost.address: \"\" makes no sense",
        "spaces: \"http://two words\": its address has ' ' in it",
        "parted: \"http://h;x\": its address has a ; in it",
        "default: no rule of traefik",
        "proxied: VIRTUAL_HOST is empty",
    ] {
        assert!(reasons.contains(expected), "{expected:?} in\n{reasons}");
    }
}

#[test]
fn files_that_include_each_other_are_read_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, other) in [("a", "b"), ("b", "a"), ("z", "a")] {
        let text = format!(
            "include: [{other}-compose.yml]\nservices:\n  {name}: {{labels: {{watchpost.address: \"{name}:1\"}}}}\n"
        );
        write(folder.path(), &format!("{name}-compose.yml"), &text);
    }
    let report = compose(&Settings::new(vec![folder.path().to_owned()]), &Variables::new());
    assert_eq!((addresses(&report), report.services), (vec!["a:1", "b:1", "z:1"], 3));
}

/// Values of variables, users and queries may be secret: they are in no reason and in no name.
#[test]
fn secrets_stay_out_of_reasons_and_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "services:\n  a: {labels: {homepage.href: \"ftp://${TOKEN}@x\"}}\n  b: {labels: {watchpost.address: \"https://me:pw@wiki.example.net/?t=${TOKEN}\"}}\n";
    write(folder.path(), "compose.yaml", text);
    write(folder.path(), ".env", "TOKEN=sekrit123\n");
    let report = compose(&Settings::new(vec![folder.path().to_owned()]), &Variables::new());
    assert!(!reasons(&report).contains("sekrit"), "{}", reasons(&report));
    assert_eq!(report.targets[0].labels["humanname"], "wiki");
}

#[test]
fn addresses_of_ip_version_6() {
    let report = scan(
        r#"
services:
  kuma:
    labels:
      kuma.a.port.hostname: "fe80::1"
      kuma.a.port.port: 53
      kuma.b.port.hostname: "[fe80::2]"
      kuma.b.port.port: 53
      kuma.b.port.interval: 0
  tcp:
    labels:
      traefik.tcp.routers.t.rule: HostSNI(`fe80::3`)
      traefik.tcp.routers.t.entrypoints: https
      traefik.http.routers.h.rule: Host(`fe80::4`)
  caddy: {labels: {caddy: "[::1] http://[fe80::7]:8080 https://[fe80::5]/x [fe80::6]:x"}}
"#,
        |settings| {
            let allow = ["fe80::/10", "::1"].map(|text| Pattern::parse(text).expect("good"));
            settings.limits.hosts.allow = allow.to_vec();
        },
    );
    let mut found = addresses(&report);
    found.sort_unstable();
    let expected = [
        "[fe80::1]:53",
        "[fe80::2]:53",
        "[fe80::3]:443",
        "http://[fe80::4]",
        "http://[fe80::7]:8080",
        "https://[::1]",
        "https://[fe80::5]/x",
    ];
    assert_eq!(found, expected, "{}", reasons(&report));
    let reasons = reasons(&report);
    for expected in ["caddy: [fe80::6]:x is a pattern", "kuma.b.port.interval: \"0\" is no number"]
    {
        assert!(reasons.contains(expected), "{expected:?} in\n{reasons}");
    }
    assert!(report.targets.iter().all(|target| target.hints.is_empty()), "{report:?}");
}

#[test]
fn what_cannot_be_probed_is_no_target() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "services:\n  a: {labels: {watchpost.address: \"a:99999\"}}\n  b: {labels: {watchpost.address: \"b:1\"}}\n";
    write(folder.path(), "compose.yaml", text);
    let toml = "[http.routers.c]\nrule = \"Host(`c.example.net`)\"\n";
    write(folder.path(), "dynamic.toml", toml);
    let settings = Settings::new(vec![folder.path().to_owned()]);
    let check = |target: &Target| match target.address.as_str() {
        "b:1" => Ok(()),
        _ => Err("nobody can ask it".to_owned()),
    };
    let report = run(&settings, &Variables::new(), None, &check);
    assert_eq!((addresses(&report), report.services_found), (vec!["b:1"], 1));
    assert_eq!(reasons(&report), "a: nobody can ask it\nc: nobody can ask it\n");
}
