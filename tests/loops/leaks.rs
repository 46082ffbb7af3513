//! An attempt owns all that it starts: descriptors, tasks and memory are the same after a thousand hostile attempts as
//! after two hundred. `WATCHPOST_HOSTILE=1000` makes a thousand of each kind.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use watchpost::app::loops;
use watchpost::config::{self, Environment, Sources, Strictness};
use watchpost::net::resolve::Resolver;
use watchpost::probe::{PlannedTarget, Tools, attempt};

use crate::corpus::Corpus;
use crate::{alone, counting, support};

/// Attempts that are made at one time.
const AT_ONCE: usize = 64;
/// Names the configuration and the targets to the process that makes the attempts.
const PLAN: &str = "WATCHPOST_TEST_PLAN";

#[test]
fn hostile_attempts_leave_nothing_behind() {
    let _alone = alone();
    let corpus = Corpus::new();
    let folder = tempfile::tempdir().unwrap();
    let each = std::env::var("WATCHPOST_HOSTILE").ok().and_then(|n| n.parse::<usize>().ok());
    let configuration = format!(
        "resolver: {{nameservers: ['{}'], timeout: 500ms, attempts: 1}}\nmodules:\n{}",
        corpus.dns,
        corpus.modules()
    );
    std::fs::write(folder.path().join("watchpost.yaml"), configuration).unwrap();
    let kinds: Vec<Vec<String>> = match each {
        Some(_) => {
            corpus.list.iter().map(|h| vec![format!("{};;;;{}", h.target, h.module)]).collect()
        }
        None => vec![corpus.list.iter().map(|h| format!("{};;;;{}", h.target, h.module)).collect()],
    };
    for (index, targets) in kinds.iter().enumerate() {
        std::fs::write(folder.path().join("targets"), targets.join("\n")).unwrap();
        // In a process of its own: nothing else opens descriptors there.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "leaks::attempts_of_another_process", "--nocapture"])
            .env(PLAN, folder.path())
            .env("WATCHPOST_TEST_ATTEMPTS", each.unwrap_or(1_000).to_string())
            .output()
            .unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        let name = if kinds.len() > 1 { corpus.list[index].name } else { "all kinds" };
        eprintln!("{name}: {}", said.lines().find(|l| l.starts_with("left:")).unwrap_or_default());
        assert!(output.status.success() && said.contains("1 passed"), "{name}: {said}");
    }
}

/// The resources of a process.
#[derive(Debug, PartialEq)]
struct Held {
    descriptors: usize,
    tasks: usize,
}

fn held() -> Held {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    Held { descriptors, tasks: Handle::current().metrics().num_alive_tasks() }
}

/// Resident memory in KiB, without pages of the program, which come as they are first needed.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn plans(folder: &Path) -> (Vec<Arc<PlannedTarget>>, Resolver) {
    let file = folder.join("watchpost.yaml").display().to_string();
    let sources = Sources { configs: vec![file], sets: Vec::new() };
    let loaded = config::load(&sources, &Environment::new(), Strictness::Run);
    let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let receiver = support::receiver();
    let lines = std::fs::read_to_string(folder.join("targets")).unwrap();
    let targets = lines.lines().map(|line| {
        let origin = watchpost_targets::Origin { file: "test".into(), line: 1 };
        let target = watchpost_targets::parse_line(line, &Default::default(), origin).unwrap();
        Arc::new(config::targets::plan_target(&receiver, &plan.modules, &target, None).unwrap())
    });
    (targets.collect(), Resolver::new(plan.resolver.clone()))
}

/// Makes so many attempts, some at one time.
async fn make(count: usize, targets: &[Arc<PlannedTarget>], tools: &Tools) {
    let mut running = tokio::task::JoinSet::new();
    for n in 0..count {
        while running.len() >= AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        let (target, tools) = (Arc::clone(&targets[n % targets.len()]), tools.clone());
        running.spawn(async move {
            drop(attempt(&target.module, &target.address, target.timeout, &tools).await);
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

/// Called by the test above in a process of its own.
#[test]
fn attempts_of_another_process() {
    let Some(folder) = std::env::var_os(PLAN) else { return };
    let count: usize = std::env::var("WATCHPOST_TEST_ATTEMPTS").unwrap().parse().unwrap();
    let (targets, resolver) = plans(Path::new(&folder));
    let tools = Tools { resolver, icmp: Default::default() };
    loops::runtime().unwrap().block_on(async {
        counting::count(true);
        let early = (count / 5).max(targets.len());
        make(early, &targets, &tools).await;
        let first = settled(None).await;
        let (before, resident) = (counting::counts().live, memory());
        make(count.saturating_sub(early).max(1), &targets, &tools).await;
        let last = settled(Some(&first)).await;
        let more = counting::counts().live - before;
        println!("left: {last:?} and {more} bytes more; before: {first:?}; {resident} KiB resident, then {}", memory());
        assert_eq!(last, first);
        // Resident memory includes what the allocator keeps for later: a few MiB, now more, now less.
        assert!(more <= 256 << 10, "{more} bytes more are allocated");
        assert!(memory() <= resident + (16 << 10), "{resident} KiB, then {}", memory());
    });
}

/// The resources once nothing changes any more, or the expected ones are reached.
async fn settled(expected: Option<&Held>) -> Held {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut last = held();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = held();
        let rests = match expected {
            Some(expected) => now == *expected,
            None => now == last,
        };
        if rests || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}
