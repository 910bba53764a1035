//! What is measured for each way to connect two containers, in which unit, and which end of the scale is the good one.

use serde::{Deserialize, Serialize};

/// A quantity. Samples are kept in SI units: bits a second, packets a second, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Bits a second of one TCP stream; the wire carries 64 KiB packets, as a network card does that segments tunnels.
    TcpOne,
    /// The same of four streams together.
    TcpFour,
    /// Bits a second of one TCP stream over a wire that segments nothing: packets are cut before it, merged after it.
    TcpCut,
    /// Packets a second with 64 bytes of UDP payload, none lost, to a receiver that has answered once.
    Packets,
    /// The same to a receiver that has never answered.
    PacketsUnanswered,
    /// Seconds from a request over an open TCP connection to its answer, 64 bytes each: the median.
    TcpRoundTrip,
    /// The same at the 99th percentile.
    TcpRoundTripSlow,
    /// Seconds from a UDP request to its answer, 64 bytes each: the median.
    UdpRoundTrip,
    /// The same at the 99th percentile.
    UdpRoundTripSlow,
    /// Processor seconds of the whole machine for 10^9 bytes of one TCP stream.
    CpuPerGigabyte,
    /// Processor seconds of the whole machine for 10^6 of the small packets.
    CpuPerMegapacket,
}

/// Which end of the scale is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Of rates.
    Higher,
    /// Of times and costs.
    Lower,
}

impl Metric {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::TcpOne,
        Self::TcpFour,
        Self::TcpCut,
        Self::Packets,
        Self::PacketsUnanswered,
        Self::TcpRoundTrip,
        Self::TcpRoundTripSlow,
        Self::UdpRoundTrip,
        Self::UdpRoundTripSlow,
        Self::CpuPerGigabyte,
        Self::CpuPerMegapacket,
    ];

    /// A short heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::TcpOne => "TCP, 1 stream",
            Self::TcpFour => "TCP, 4 streams",
            Self::TcpCut => "TCP, wire segmented",
            Self::Packets => "64 B packets",
            Self::PacketsUnanswered => "the same, unanswered",
            Self::TcpRoundTrip => "TCP round trip",
            Self::TcpRoundTripSlow => "TCP p99",
            Self::UdpRoundTrip => "UDP round trip",
            Self::UdpRoundTripSlow => "UDP p99",
            Self::CpuPerGigabyte => "CPU per GB",
            Self::CpuPerMegapacket => "CPU per M packets",
        }
    }

    /// The unit it is shown in.
    pub fn unit(self) -> &'static str {
        match self {
            Self::TcpOne | Self::TcpFour | Self::TcpCut => "Gbit/s",
            Self::Packets | Self::PacketsUnanswered => "kpps",
            Self::TcpRoundTrip | Self::TcpRoundTripSlow | Self::UdpRoundTrip | Self::UdpRoundTripSlow => "us",
            Self::CpuPerGigabyte | Self::CpuPerMegapacket => "s",
        }
    }

    /// A sample in the unit it is shown in.
    pub fn shown(self, sample: f64) -> f64 {
        match self.unit() {
            "Gbit/s" => sample / 1e9,
            "kpps" => sample / 1e3,
            "us" => sample * 1e6,
            _ => sample,
        }
    }

    /// Which end is the good one.
    pub fn better(self) -> Better {
        match self.unit() {
            "Gbit/s" | "kpps" => Better::Higher,
            _ => Better::Lower,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_shown_in_the_units_of_people() {
        let close =
            |metric: Metric, sample, shown: f64| assert!((metric.shown(sample) - shown).abs() < 1e-9, "{metric:?}");
        close(Metric::TcpOne, 5.46e9, 5.46);
        close(Metric::Packets, 34_900.0, 34.9);
        close(Metric::TcpRoundTrip, 91.8e-6, 91.8);
        close(Metric::CpuPerGigabyte, 0.25, 0.25);
    }

    #[test]
    fn rates_are_better_high_and_costs_low() {
        let high: Vec<Metric> = Metric::ALL.into_iter().filter(|metric| metric.better() == Better::Higher).collect();
        let tcp = [Metric::TcpOne, Metric::TcpFour, Metric::TcpCut];
        assert_eq!(high, [&tcp[..], &[Metric::Packets, Metric::PacketsUnanswered]].concat());
    }

    #[test]
    fn all_are_all_and_in_order() {
        assert!(Metric::ALL.is_sorted());
        assert!(Metric::ALL.iter().all(|metric| !metric.heading().is_empty()));
    }
}
