//! Campaigns as SVG: a panel for each figure, a bar for each case, as multiples of plain routing.

use std::fmt::Write as _;

use super::campaign::{Campaign, REFERENCE};
use super::metric::{Better, Metric};
use super::svg::{document, note, text};
use super::table::title;

/// The figures that have a panel.
const PANELS: [Metric; 6] = [
    Metric::TcpOne,
    Metric::TcpCut,
    Metric::Packets,
    Metric::TcpRoundTrip,
    Metric::UdpRoundTrip,
    Metric::CpuPerGigabyte,
];
const COLUMNS: usize = 3;
/// Pixels: of a panel with its margin, of the names beside the first, of a bar with its margin.
const PANEL: f64 = 240.0;
const NAMES: f64 = 280.0;
const BAR: f64 = 20.0;
const HEAD: f64 = 44.0;

/// The ratios of a campaign. Bars reach the median, whiskers go from the least to the most.
pub fn ratios(campaign: &Campaign) -> String {
    let rows = PANELS.len().div_ceil(COLUMNS);
    let height = HEAD + count(campaign.cases.len()) * BAR + 12.0;
    let (width, total) = (NAMES + count(COLUMNS) * PANEL, count(rows) * height + 60.0);
    let heading = format!("{}: multiples of plain routing", title(campaign));
    let mut svg = String::new();
    text(&mut svg, (12.0, 22.0), "start", &heading);
    for (index, metric) in PANELS.into_iter().enumerate() {
        let (column, row) = (index % COLUMNS, index / COLUMNS);
        let corner = (NAMES + count(column) * PANEL, 34.0 + count(row) * height);
        if column == 0 {
            names(&mut svg, campaign, corner);
        }
        panel(&mut svg, campaign, metric, corner);
    }
    let foot = format!("taken {}, {} repetitions, {}", campaign.taken, campaign.repetitions(), campaign.command);
    note(&mut svg, (12.0, total - 8.0), "start", &foot);
    document((width, total), 12, &heading, &svg)
}

fn names(svg: &mut String, campaign: &Campaign, corner: (f64, f64)) {
    for (index, case) in campaign.cases.iter().enumerate() {
        let at = (corner.0 - 8.0, corner.1 + HEAD + count(index) * BAR + 13.0);
        text(svg, at, "end", &case.title);
    }
}

fn panel(svg: &mut String, campaign: &Campaign, metric: Metric, corner: (f64, f64)) {
    let bars: Vec<_> = campaign.cases.iter().map(|case| campaign.ratio(case, metric)).collect();
    // What is several times worse than all others would leave these no room; its bar is cut and its number says so.
    let longest = bars.iter().flatten().map(|bar| bar.median).fold(1.0, f64::max).min(2.5);
    let scale = (PANEL - 70.0) / longest;
    let better = match metric.better() {
        Better::Higher => "longer is better",
        Better::Lower => "shorter is better",
    };
    text(svg, (corner.0, corner.1 + 18.0), "start", metric.heading());
    note(svg, (corner.0, corner.1 + 32.0), "start", better);
    for (index, (bar, case)) in bars.iter().zip(&campaign.cases).enumerate() {
        let y = corner.1 + HEAD + count(index) * BAR;
        let Some(bar) = bar else {
            text(svg, (corner.0 + 4.0, y + 13.0), "start", "-");
            continue;
        };
        let long = |ratio: f64| ratio.min(longest) * scale;
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            corner.0,
            y + 2.0,
            long(bar.median),
            BAR - 5.0,
            color(&case.name)
        );
        let middle = y + BAR / 2.0 - 0.5;
        let (least, most) = (corner.0 + long(bar.least), corner.0 + long(bar.most));
        let _ = writeln!(svg, "<path d=\"M{least:.1} {middle:.1}H{most:.1}\" class=\"axis\"/>");
        let is_cut = bar.median.max(bar.most) > longest;
        if is_cut {
            break_mark(svg, (corner.0 + long(longest), y));
        }
        let end = corner.0 + long(bar.median.max(bar.most)) + if is_cut { 8.0 } else { 4.0 };
        text(svg, (end, y + 13.0), "start", &format!("{:.2}", bar.median));
    }
    let one = corner.0 + scale;
    let (top, bottom) = (corner.1 + HEAD - 2.0, corner.1 + HEAD + count(bars.len()) * BAR);
    let _ = writeln!(
        svg,
        "<path d=\"M{one:.1} {top:.1}V{bottom:.1}\" class=\"axis\" opacity=\"0.5\" stroke-dasharray=\"3 3\"/>"
    );
}

fn color(case: &str) -> &'static str {
    match case {
        REFERENCE => "#bbbbbb",
        fan if fan.starts_with("fan-") => "#e95420",
        _ => "#6f9fc8",
    }
}

/// Two slanted strokes at the end of what is longer than its panel.
fn break_mark(svg: &mut String, (x, y): (f64, f64)) {
    for x in [x - 4.0, x] {
        let (top, bottom) = (y + 1.0, y + BAR - 2.0);
        let _ = writeln!(svg, "<path d=\"M{:.1} {bottom:.1}L{:.1} {top:.1}\" class=\"axis\"/>", x - 2.0, x + 2.0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen bars")]
fn count(things: usize) -> f64 {
    things as f64
}

#[cfg(test)]
mod tests {
    use super::super::campaign::tests::example;
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_case_of_each_figure_measured() {
        let svg = ratios(&example());
        let bars = svg.lines().filter(|line| line.starts_with("<rect x=")).count();
        assert_eq!(bars, 2 * 3, "two figures of three cases\n{svg}");
        assert!(svg.contains(">0.80<") && svg.contains(">2.00<"), "{svg}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }

    #[test]
    fn the_fan_stands_out() {
        assert_ne!(color("fan-ipip"), color("static-ipip"));
        assert_ne!(color(REFERENCE), color("static-ipip"));
    }

    #[test]
    fn what_leaves_its_panel_has_a_break_mark() {
        let mut campaign = example();
        let marks = |campaign: &Campaign| ratios(campaign).matches("class=\"axis\"/>").count();
        let before = marks(&campaign);
        for case in &mut campaign.cases {
            for samples in case.samples.values_mut() {
                for sample in &mut *samples {
                    *sample *= if case.name == REFERENCE { 1.0 } else { 9.0 };
                }
            }
        }
        assert!(marks(&campaign) > before);
    }
}
