use super::*;
use crate::signal::outcome::{Kind, Outcome, Phase, Phases, Reason};
use crate::signal::payload::{Event, TargetRef, What};

const NOW: Timestamp = Timestamp(100_000_000_000);

fn slot(board: &Board, name: &str, verdict: Verdict, due: u64, took: u64) {
    let target = Arc::new(TargetRef {
        expected: true,
        job: "ports".into(),
        instance: format!("127.0.0.1:{}", name.len()),
        module: "tcp_connect".into(),
        name: Some(name.into()),
    });
    let outcome = Outcome {
        verdict,
        detail: "".into(),
        started: NOW,
        duration: Duration::from_micros(took),
        phases: Phases::default(),
        lookup: None,
        address: None,
        failed_due_to_regex: None,
        http: None,
        tls: None,
        icmp: None,
    };
    let result = Arc::new(SlotResult::Outcome(Box::new(outcome)));
    let what = What::Slot { kind: Kind::Scheduled, result };
    board.apply(&[Event { target, due: Timestamp(due * 1_000_000_000), what }]);
}

#[test]
fn the_table_shows_state_latency_and_past() {
    let board = Board::default();
    let down = Verdict::Down { reason: Reason::ConnectionRefused, phase: Phase::Connect };
    for (n, took) in [100, 800, 450].into_iter().enumerate() {
        slot(&board, "web", Verdict::Up, 10 + n as u64, took);
    }
    slot(&board, "database", Verdict::Up, 60, 90);
    slot(&board, "database", down, 65, 90);
    slot(&board, "evil\x1b[2J", Verdict::Up, 60, 90);
    let address = "127.0.0.1:9115".parse().expect("an address");
    let lines = render(
        &board.rows(),
        &["a log line".into()],
        Style::new(false),
        (address, ""),
        (24, 100),
        NOW,
    );
    let text = lines.join("\n");
    for expected in
        ["2 up  1 down", "web ", "450 µs", "▁█▅", "▁× connection_refused 35s", "a log line"]
    {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colour and nothing of a stranger: {text:?}");
    assert!(lines.iter().all(|line| line.chars().count() < 100), "{text}");
}

#[test]
fn a_small_terminal_is_not_overrun() {
    let board = Board::default();
    for n in 0..200 {
        slot(&board, &"x".repeat(n + 1), Verdict::Up, 1, 10);
    }
    let address = "127.0.0.1:9115".parse().expect("an address");
    let lines =
        render(&board.rows(), &[], Style::new(false), (address, "vm  CPU 12 %"), (10, 60), NOW);
    assert!(lines.len() < 10, "{}", lines.len());
    assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
    assert!(lines.last().expect("some").contains("more"));
}
