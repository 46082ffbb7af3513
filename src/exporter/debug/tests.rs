use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::clock::Timestamp;
use crate::signal::names::{PROBE_ATTEMPTS, PROBE_SUCCESS};
use crate::signal::series::{Attributes, Series};

fn batch() -> Batch {
    let resource = Arc::new(Resource::new("j", "i", []));
    let own = Attributes::new([("kind", "sched\nuled")]);
    let one = Series::new(
        &PROBE_SUCCESS,
        Attributes::default(),
        Attributes::default(),
        Arc::clone(&resource),
    );
    let other = Series::new(&PROBE_ATTEMPTS, Attributes::default(), own, resource);
    let attempts = Sample {
        series: other,
        start: Some(Timestamp(1)),
        time: Timestamp(2),
        value: Value::Int(3),
    };
    Batch { samples: vec![Sample::number(&one, Timestamp(2), 1.0), attempts], lifetime: None }
}

#[test]
fn three_verbosities() {
    let basic = describe(&batch(), Verbosity::Basic);
    assert_eq!(basic, "metrics: 1 resources, 2 metrics, 2 data points");
    let normal = describe(&batch(), Verbosity::Normal);
    assert_eq!(
        normal,
        format!("{basic}\nprobe.success{{}} 1\nprobe.attempts{{kind=sched\u{fffd}uled}} 3")
    );
    let detailed = describe(&batch(), Verbosity::Detailed);
    for part in [
        "\nResource attributes:\n  -> service.instance.id: i\n  -> service.name: j",
        "\nMetric probe.attempts: sum, monotonic, cumulative, unit \"{attempt}\"",
        "\n    start: 0.000000001\n    time: 0.000000002\n    value: 3",
    ] {
        assert!(detailed.contains(part), "{part} in {detailed}");
    }
}

#[test]
fn what_comes_too_often_is_told_now_and_then() {
    let settings = Settings { verbosity: Verbosity::Basic, initial: 2, thereafter: 3 };
    let debug = Debug::new("debug", settings);
    let told: Vec<bool> = (0..9).map(|_| debug.sampled(BootTime(Duration::from_secs(1)))).collect();
    assert_eq!(told, [true, true, false, false, true, false, false, true, false]);
    assert!(debug.sampled(BootTime(Duration::from_secs(2))), "each second begins anew");
}
