//! Campaigns as Markdown.

use std::fmt::Write as _;

use super::campaign::{Campaign, Instrument, TWINS};
use super::metric::{Better, Metric};
use super::sample::Summary;

/// A campaign's page: how it was taken, the ratios, the figures with their spread, the fan against its twins, and what
/// did not run.
pub fn page(campaign: &Campaign) -> String {
    let mut text = format!("## {}\n\n{}\n\n", title(campaign), provenance(campaign));
    let _ = write!(text, "![ratios to plain routing]({}.svg)\n\n", campaign.slug());
    let _ = write!(text, "### As multiples of plain routing\n\n{}\n", ratios(campaign));
    let _ = write!(text, "### Medians, ± half the range in percent\n\n{}\n", medians(campaign));
    if let Some(twins) = twins(campaign) {
        let _ =
            write!(text, "### The fan against the kernel's static tunnels\n\nAbove 1 the fan is ahead.\n\n{twins}\n");
    }
    for case in &campaign.not_run {
        let _ = writeln!(text, "Not run: {}: {}.", case.title, case.reason);
    }
    text
}

/// The kernel and the instrument.
pub fn title(campaign: &Campaign) -> String {
    match campaign.instrument {
        Instrument::Wall => format!("Linux {}, by the clock", campaign.kernel),
        Instrument::Instructions => format!("Linux {}, by instructions", campaign.kernel),
    }
}

fn provenance(campaign: &Campaign) -> String {
    let instrument = match campaign.instrument {
        Instrument::Wall => "wall clock".into(),
        Instrument::Instructions => {
            "emulated at one instruction a nanosecond, so a second is 10^9 instructions of both hosts together, and no \
             cache misses"
                .to_string()
        }
    };
    format!(
        "Taken {} on {} CPU{}: {instrument}. {} repetitions of {} s for each figure, all cases in turn. `{}`",
        campaign.taken,
        campaign.cpus,
        if campaign.cpus == 1 { "" } else { "s" },
        campaign.repetitions(),
        campaign.seconds,
        campaign.command,
    )
}

/// A row for each case: its figures as multiples of plain routing's.
pub fn ratios(campaign: &Campaign) -> String {
    by_case(campaign, &|metric| metric.heading().into(), &|case, metric| {
        Some(format!("{:.2}", campaign.ratio(&campaign.cases[case], metric)?.median))
    })
}

fn medians(campaign: &Campaign) -> String {
    let heading = |metric: Metric| format!("{}, {}", metric.heading(), metric.unit());
    by_case(campaign, &heading, &|case, metric| {
        let summary = Summary::of(campaign.cases[case].samples.get(&metric)?)?;
        Some(format!("{} ± {:.1}", digits(metric.shown(summary.median)), summary.spread()))
    })
}

fn twins(campaign: &Campaign) -> Option<String> {
    let there: Vec<(&str, &str)> =
        TWINS.into_iter().filter(|(fan, twin)| campaign.case(fan).is_some() && campaign.case(twin).is_some()).collect();
    if there.is_empty() {
        return None;
    }
    let headings = std::iter::once(String::new()).chain(there.iter().map(|(fan, twin)| format!("{fan} / {twin}")));
    let rows = Metric::ALL.into_iter().filter_map(|metric| {
        let leads: Vec<Summary> = there.iter().filter_map(|(fan, twin)| campaign.lead(fan, twin, metric)).collect();
        let cells = leads.iter().map(|lead| format!("{:.2} ({:.2} to {:.2})", lead.median, lead.least, lead.most));
        (!leads.is_empty()).then(|| std::iter::once(metric.heading().to_string()).chain(cells).collect())
    });
    Some(markdown(&headings.collect::<Vec<_>>(), &rows.collect::<Vec<_>>()))
}

type Cell<'a> = &'a dyn Fn(usize, Metric) -> Option<String>;

fn by_case(campaign: &Campaign, heading: &dyn Fn(Metric) -> String, cell: Cell) -> String {
    let measured: Vec<Metric> = Metric::ALL
        .into_iter()
        .filter(|metric| campaign.cases.iter().any(|case| case.samples.contains_key(metric)))
        .collect();
    let arrow = |metric: Metric| match metric.better() {
        Better::Higher => "↑",
        Better::Lower => "↓",
    };
    let headings = measured.iter().map(|&metric| format!("{} {}", heading(metric), arrow(metric)));
    let headings = [String::new(), "MTU".into()].into_iter().chain(headings).collect::<Vec<_>>();
    let rows = campaign.cases.iter().enumerate().map(|(index, case)| {
        let cells = measured.iter().map(|&metric| cell(index, metric).unwrap_or_else(|| "-".into()));
        [case.title.clone(), case.mtu.to_string()].into_iter().chain(cells).collect()
    });
    markdown(&headings, &rows.collect::<Vec<_>>())
}

/// A table: the first column to the left, the others to the right.
pub fn markdown(headings: &[String], rows: &[Vec<String>]) -> String {
    let rule = (0..headings.len()).map(|column| if column == 0 { "---" } else { "--:" }.to_string());
    let head = [headings.to_vec(), rule.collect()];
    let line = |mut text: String, cells: &Vec<String>| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        text
    };
    head.iter().chain(rows).fold(String::new(), line)
}

/// Three significant digits, where there are as many.
pub fn digits(value: f64) -> String {
    let places = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::super::campaign::tests::example;
    use super::*;

    #[test]
    fn a_page_says_all() {
        let page = page(&example());
        for line in [
            "## Linux 6.12.9+deb, by instructions",
            "|  | MTU | 64 B packets ↑ | TCP round trip ↓ |",
            "| the case fan-ipip | 1480 | 0.80 | 2.00 |",
            "|  | MTU | 64 B packets, kpps ↑ | TCP round trip, us ↓ |",
            "| the case fan-ipip | 1480 | 80.0 ± 50.0 | 20.0 ± 0.0 |",
            "| 64 B packets | 2.00 (2.00 to 2.00) |",
            "Not run: WireGuard: none in this kernel.",
        ] {
            assert!(page.lines().any(|found| found == line), "no line {line:?} in\n{page}");
        }
    }

    #[test]
    fn a_figure_that_a_case_lacks_is_a_dash() {
        let mut campaign = example();
        campaign.cases[1].samples.remove(&Metric::Packets);
        assert!(ratios(&campaign).contains("| the case fan-ipip | 1480 | - | 2.00 |"));
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.25, 5.46, 34.9, 1234.0].map(digits), ["0.250", "5.46", "34.9", "1234"]);
    }
}
