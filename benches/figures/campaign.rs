//! One run of the benchmark on one kernel: every case, what was measured of it, and what could not run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metric::{Better, Metric};
use super::sample::{Summary, paired};

/// How the time was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Instrument {
    /// The machine's clock.
    Wall,
    /// A processor emulated so that every instruction takes one nanosecond.
    Instructions,
}

/// Everything one run found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Campaign {
    /// The day, as in 2026-01-31.
    pub taken: String,
    /// The kernel's release.
    pub kernel: String,
    /// How the time was taken.
    pub instrument: Instrument,
    /// What was typed.
    pub command: String,
    /// How many processors the machine has.
    pub cpus: usize,
    /// Seconds that each figure was measured for, in each repetition.
    pub seconds: f64,
    /// The cases, in the order in which they took turns.
    pub cases: Vec<Case>,
    /// What this kernel cannot do.
    pub not_run: Vec<NotRun>,
}

/// One way to connect two containers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Case {
    /// For machines and for `--case`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Bytes that a packet of the container may have, seen to pass.
    pub mtu: u32,
    /// A sample for each repetition, in SI units.
    pub samples: BTreeMap<Metric, Vec<f64>>,
}

/// A case that this kernel cannot run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NotRun {
    /// For people.
    pub title: String,
    /// Why, as the rest of a sentence.
    pub reason: String,
}

/// The case that all are compared with.
pub const REFERENCE: &str = "routing";

/// The fan and the static tunnels of the kernel that do the same on the wire.
pub const TWINS: [(&str, &str); 4] = [
    ("fan-ipip", "static-ipip"),
    ("fan-ipip", "static-ipip-nat"),
    ("fan-vxlan", "static-vxlan"),
    ("fan-vxlan", "static-vxlan-nat"),
];

impl Campaign {
    /// A case by its name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// A case's figure as a multiple of plain routing's in the same repetition.
    pub fn ratio(&self, case: &Case, metric: Metric) -> Option<Summary> {
        paired(case.samples.get(&metric)?, self.case(REFERENCE)?.samples.get(&metric)?)
    }

    /// How far one case is ahead of another: above 1 it is better, whichever end of the scale that is.
    pub fn lead(&self, one: &str, other: &str, metric: Metric) -> Option<Summary> {
        let (one, other) = (self.case(one)?.samples.get(&metric)?, self.case(other)?.samples.get(&metric)?);
        match metric.better() {
            Better::Higher => paired(one, other),
            Better::Lower => paired(other, one),
        }
    }

    /// How often each figure was measured.
    pub fn repetitions(&self) -> usize {
        let lengths = self.cases.iter().flat_map(|case| case.samples.values().map(Vec::len));
        lengths.max().unwrap_or_default()
    }

    /// A name for its files: the kernel's series and the instrument.
    pub fn slug(&self) -> String {
        let series: Vec<&str> = self.kernel.split('.').take(2).collect();
        let instrument = match self.instrument {
            Instrument::Wall => "wall",
            Instrument::Instructions => "instructions",
        };
        format!("{}-{instrument}", series.join("."))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two cases and one that did not run.
    pub fn example() -> Campaign {
        let case = |name: &str, packets: [f64; 3], round_trip: [f64; 3]| Case {
            name: name.into(),
            title: format!("the case {name}"),
            mtu: 1480,
            samples: BTreeMap::from([(Metric::Packets, packets.to_vec()), (Metric::TcpRoundTrip, round_trip.to_vec())]),
        };
        Campaign {
            taken: "2026-01-31".into(),
            kernel: "6.12.9+deb".into(),
            instrument: Instrument::Instructions,
            command: "make bench".into(),
            cpus: 1,
            seconds: 0.5,
            cases: vec![
                case(REFERENCE, [100e3, 200e3, 100e3], [10e-6, 10e-6, 10e-6]),
                case("fan-ipip", [80e3, 160e3, 80e3], [20e-6, 20e-6, 20e-6]),
                case("static-ipip", [40e3, 80e3, 40e3], [25e-6, 25e-6, 25e-6]),
            ],
            not_run: vec![NotRun { title: "WireGuard".into(), reason: "none in this kernel".into() }],
        }
    }

    #[test]
    fn a_ratio_is_to_plain_routing() {
        let all = example();
        let ratio = all.ratio(&all.cases[1], Metric::Packets).unwrap();
        assert!((ratio.median - 0.8).abs() < 1e-9);
        assert_eq!(all.ratio(&all.cases[1], Metric::TcpOne), None);
    }

    #[test]
    fn to_lead_is_to_be_above_one_whichever_end_is_good() {
        let all = example();
        let lead = |metric| all.lead("fan-ipip", "static-ipip", metric).unwrap().median;
        assert!((lead(Metric::Packets) - 2.0).abs() < 1e-9);
        assert!((lead(Metric::TcpRoundTrip) - 1.25).abs() < 1e-9);
        assert_eq!(all.lead("fan-vxlan", "static-vxlan", Metric::Packets), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = serde_json::to_string(&example()).unwrap();
        assert!(text.contains(r#""packets":[100000.0"#), "{text}");
        let read: Campaign = serde_json::from_str(&text).unwrap();
        assert_eq!(read.slug(), "6.12-instructions");
        assert_eq!(read.repetitions(), 3);
    }
}
