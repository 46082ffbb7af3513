//! The fuzz targets of `fuzz/`, for a moment each: from their seeds on, with changes that are the same every time.
//! `WATCHPOST_FUZZ_RUNS` makes it longer; cargo-fuzz, which sees which code a change reaches, is for nights.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Changed inputs of each target, unless told otherwise, and the time after which it is enough.
const RUNS: u32 = 20_000;
const ENOUGH: Duration = Duration::from_secs(5);
/// Bytes of an input.
const LONGEST: usize = 4_096;
/// Bytes that mean something to somebody.
const WORDS: [&[u8]; 14] = [
    b"\xa7\x57",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x04",
    b"\0\0\0\0",
    b"\xe2\x80\xae",
    b"\r\n",
    b"${",
    b"{{",
    b"`",
    b"\"",
    b"((((((((",
    b"- ",
    b": ",
    b"999999999999999999999",
];

/// Random numbers that are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below a number that is not zero.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}

/// Changes an input in one place.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(16)).min(input.len());
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => drop(input.drain(at..end)),
        3 => input.truncate(at),
        4 => {
            let piece = input[at..end].to_vec();
            drop(input.splice(at..at, piece));
        }
        5 => drop(input.splice(at..end, WORDS[random.below(WORDS.len())].iter().copied())),
        6 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(200)).min(other.len());
            drop(input.splice(at..at, other[from..to].iter().copied()));
        }
        _ => {
            let more: Vec<u8> = (0..random.below(12)).map(|_| random.next() as u8).collect();
            drop(input.splice(at..at, more));
        }
    }
    input.truncate(LONGEST);
}

fn run(name: &str) {
    let target = targets::TARGETS.iter().find(|target| target.name == name).unwrap();
    let told = std::env::var("WATCHPOST_FUZZ_RUNS").ok().map(|runs| runs.parse().unwrap());
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    let mut random = Random(0x5eed);
    let begin = Instant::now();
    let check = |input: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| targets::check(name, input)));
        assert!(outcome.is_ok(), "{name} fails for {}", input.escape_ascii());
    };
    seeds.iter().for_each(|seed| check(seed));
    for _ in 0..told.unwrap_or(RUNS) {
        if told.is_none() && begin.elapsed() > ENOUGH {
            break;
        }
        let mut input = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        for _ in 0..=random.below(6) {
            change(&mut input, other, &mut random);
        }
        check(&input);
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        /// A target that is new has a test, and a file by which cargo-fuzz knows it.
        #[test]
        fn every_target_is_run() {
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            let have: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(have, names);
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
            for name in names {
                let text = std::fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
                assert!(text.contains(&format!("check(\"{name}\", bytes)")), "{text}");
                assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
            }
        }
    };
}

tests! {
    answer_grpc answer_http answer_otlp certificate compose_file compose_interpolation docker_events docker_list ottl pinghosts redirect remote_write
    segment segment_contents segment_damaged traefik_rule traefik_template written
}
