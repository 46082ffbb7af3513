use super::*;
use crate::interpolate::fill;
use crate::job::{Settings, run};

fn list(text: &str) -> Result<Containers, String> {
    read(text.as_bytes(), &Endpoint::Unix("/x.sock".into()))
}

fn refused(text: &str) -> String {
    match list(text) {
        Ok(found) => panic!("{} services", found.services.len()),
        Err(why) => why,
    }
}

#[test]
fn what_is_read_of_containers() {
    let found = list(
        r#"[
        {"Id": "1", "Names": ["/new", "/other"], "Created": 9, "Status": "Up (healthy)",
         "Labels": {"Watchpost.Address": "a:$1", "org.example": "no", "com.docker.compose.service": "a",
                    "com.docker.compose.project": "p", "watchpost.name": 7},
         "Ports": [{"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 9}, 7]},
        {"Names": ["/old"], "Created": 3, "Labels": null, "Ports": {}, "Status": 7},
        {"Names": ["/0123456789ab_old"], "Created": 1},
        {"Names": "x"}, {"Names": []}, {"Names": [7]}, {}, [], 7, null, "x", true, -1, 1.5
    ]"#,
    )
    .expect("a list");
    let names: Vec<&str> = found.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["old", "a"], "the oldest first");
    assert_eq!((found.health["healthy"], found.health["none"]), (1, 13));
    let service = &found.services[1];
    assert_eq!((service.project.as_deref(), service.labels.len()), (Some("p"), 3));
    let address = &service.labels["watchpost.address"];
    assert_eq!(fill(&address.text, &|_| None).text, "a:$1", "a dollar is a dollar");
    assert!(
        matches!(&service.ports[..], [Port::Long { published: Some(port), .. }] if port.text == "8080")
    );
}

#[test]
fn too_many_are_not_used() {
    let repeated = |one: &str, n: usize| format!("[{}]", vec![one; n].join(","));
    assert!(refused(&repeated("{}", 10_001)).contains("more than 10000 containers"));
    let labels: Vec<String> = (0..2_001).map(|n| format!("\"kuma.{n}\":\"\"")).collect();
    let one = |labels: &[String]| format!("{{\"Labels\":{{{}}}}}", labels.join(","));
    assert!(refused(&format!("[{}]", one(&labels))).contains("more than 2000 labels"));
    let many = repeated(&one(&labels[..2_000]), 51);
    assert!(refused(&many).contains("more than 100000 labels and ports"));
    let port = repeated("{\"PublicPort\":1}", 2_001);
    assert!(refused(&format!("[{{\"Ports\":{port}}}]")).contains("more than 2000 ports"));
    for wrong in ["", "{}", "7", "[", "[{\"Names\":[\"/a\"]}", "[{\"a\":}]", "[] []"] {
        assert!(refused(wrong).starts_with("this is no list of containers: "), "{wrong}");
    }
}

#[test]
fn the_same_service_of_a_file_and_of_the_engine_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("My.Stack")).expect("a folder");
    let text = "services: {web: {labels: {traefik.http.routers.r.rule: Host(`a.example.net`)}}}";
    std::fs::write(folder.path().join("My.Stack/compose.yaml"), text).expect("a file");
    let container = |name: &str, project: &str, created: u64| {
        format!(
            "{{\"Names\":[\"/{name}\"],\"Created\":{created},\"Labels\":{{\"com.docker.compose.project\":\"{project}\",\
             \"com.docker.compose.service\":\"web\",\"traefik.http.routers.r.rule\":\"Host(`a.example.net`)\",\
             \"watchpost.labels.from\":\"{name}\"}}}}"
        )
    };
    let look = |paths: Vec<std::path::PathBuf>, containers: &[String]| {
        let containers = list(&format!("[{}]", containers.join(","))).expect("a list");
        let report = run(&Settings::new(paths), &Variables::new(), Some(&containers), &|_| Ok(()));
        let reasons: Vec<String> = report.skipped.iter().map(|s| s.reason.clone()).collect();
        assert_eq!(report.targets.len(), 1);
        (report.targets[0].clone(), reasons.join("\n"))
    };
    let paths = || vec![folder.path().to_owned()];
    let (target, reasons) = look(paths(), &[container("web", "mystack", 1)]);
    assert!(reasons.is_empty() && target.origin.line > 0, "{reasons}");
    let (target, reasons) = look(paths(), &[container("web", "other", 1)]);
    assert!(
        reasons.starts_with("its address is that of web (")
            && reasons.contains("compose.yaml:1, traefik)"),
        "{reasons}"
    );
    assert!(!target.labels.contains_key("from"));
    // Of two containers the older one has it, whatever the engine names first.
    let (target, reasons) = look(Vec::new(), &[container("b", "x", 9), container("a", "y", 5)]);
    assert_eq!(target.labels["from"], "a");
    assert!(reasons.contains("(unix:///x.sock, traefik)"), "{reasons}");
    // Replicas are one.
    let replica = container("a", "y", 5);
    let (_, reasons) =
        look(Vec::new(), &[replica.clone(), replica.replace("[\"/a\"]", "[\"/a-2\"]")]);
    assert_eq!(reasons, "");
}
