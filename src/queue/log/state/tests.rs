use super::*;
use crate::base::clock::BootTime;
use crate::pipeline::selfmetrics::Meter;
use crate::queue::books::{Batching, Books};
use crate::queue::log::DEFAULT_SAMPLES;
use crate::signal::names::PROBE_SUCCESS;
use crate::signal::series::{Attributes, Resource, Series};

/// While the disk cannot be written to, memory drops its oldest; what is on the disk can be read still.
#[test]
fn a_disk_that_cannot_be_written_keeps_its_backlog() {
    let meter = Arc::new(Meter::new(Resource::new("watchpost", "h", []), Timestamp(0)));
    let found = Recovered { end: 1_000, ..Recovered::default() };
    let mut state = State::recovered(vec![(0, 1_000)], found);
    let seat = |name| Seat::new(Books::new(&meter, name, "metrics"), Batching::default(), None);
    let behind = state.sit(seat("behind"));
    let ahead = state.sit(seat("ahead"));
    state.orphans.insert("behind".to_owned(), (Position::at(0), Timestamp(0)));
    state.begin(behind);
    state.begin(ahead);
    state.mode = Mode::Degraded;
    let none = Attributes::default();
    let about = Arc::new(Resource::new("j", "i", []));
    let series = Series::new(&PROBE_SUCCESS, none.clone(), none, about);
    let samples = (0..1_000).map(|n| Sample::number(&series, Timestamp(n), 1.0)).collect();
    let batch = [Batch { samples, lifetime: None }];
    let captured = Captured { boot: BootTime::default(), wall: Timestamp(0), synchronized: true };
    for _ in 0..DEFAULT_SAMPLES / 1_000 + 10 {
        state.append(&batch, captured);
    }
    assert!(state.tail.samples() <= DEFAULT_SAMPLES);
    let position = |id| state.seats[&id].position.clone().unwrap();
    assert_eq!((position(behind).next, position(behind).dropped), (0, 0));
    let lost = position(ahead).dropped;
    assert!((9_000..12_000).contains(&lost), "{lost}");
    // The one that is behind finds the gap when it comes there.
    assert_eq!(state.pass(behind, 0, 0), 0);
    assert!(state.seats.values().all(|s| s.position.as_ref().unwrap().is_balanced(state.end)));
}

/// Samples whose series are large are dropped before there are many.
#[test]
fn memory_is_bounded_in_bytes() {
    let mut state = State::empty(Mode::Memory);
    let meter = Arc::new(Meter::new(Resource::new("watchpost", "h", []), Timestamp(0)));
    let seat = Seat::new(Books::new(&meter, "away", "metrics"), Batching::default(), None);
    let away = state.sit(seat);
    state.begin(away);
    let about = Arc::new(Resource::new("j", "i", []));
    let captured = Captured { boot: BootTime::default(), wall: Timestamp(0), synchronized: true };
    for n in 0..3_000 {
        let own = Attributes::new([("subject", format!("{n:064000}"))]);
        let series = Series::new(&PROBE_SUCCESS, Attributes::default(), own, Arc::clone(&about));
        let samples = vec![Sample::number(&series, Timestamp(n), 1.0)];
        state.append(&[Batch { samples, lifetime: None }], captured);
    }
    assert!(state.tail.bytes() <= 64 << 20, "{}", state.tail.bytes());
    assert!((900..1_100).contains(&state.tail.samples()), "{}", state.tail.samples());
    let before = state.tail.bytes();
    assert!(state.shed(1 << 20) >= 16 && state.tail.bytes() <= before - (1 << 20));
}

/// Who does not know where it stood needs all there is, until it begins, or it is known that it will not.
#[test]
fn a_lost_position_keeps_everything() {
    let meter = Arc::new(Meter::new(Resource::new("watchpost", "h", []), Timestamp(0)));
    let recovered = || {
        let mut found = Recovered { end: 1_000, ..Recovered::default() };
        found.lost_positions.insert("lost".to_owned());
        found.positions.insert("well".to_owned(), (Position::at(1_000), Timestamp(0)));
        State::recovered(vec![(200, 1_000)], found)
    };
    let seat = |name| Seat::new(Books::new(&meter, name, "metrics"), Batching::default(), None);
    let mut state = recovered();
    let well = state.sit(seat("well"));
    state.begin(well);
    assert_eq!((state.needed(), state.needed_after_all()), (200, 200));
    let lost = state.sit(seat("lost"));
    state.begin(lost);
    assert_eq!(state.needed(), 200);
    assert_eq!(state.seats[&lost].position.as_ref().unwrap().queued(1_000), 800);
    // Without it the rest is kept for as long as that of any exporter that is gone.
    let mut state = recovered();
    let well = state.sit(seat("well"));
    state.begin(well);
    state.complete(Timestamp(5));
    assert_eq!(state.needed(), 200);
    assert_eq!(state.orphans["lost"].0.queued(1_000), 800);
    assert!(matches!(&state.tasks[..], [Task::Save(name, _)] if name == "lost"));
}
