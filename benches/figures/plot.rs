//! Campaigns as SVG: a panel for each figure, a bar for each case, as multiples of plain routing.

use std::fmt::Write as _;

use super::campaign::{Campaign, REFERENCE};
use super::metric::{Better, Metric};
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
const NAMES: f64 = 210.0;
const BAR: f64 = 20.0;
const HEAD: f64 = 44.0;

/// The ratios of a campaign. Bars reach the median, whiskers go from the least to the most.
pub fn ratios(campaign: &Campaign) -> String {
    let rows = PANELS.len().div_ceil(COLUMNS);
    let height = HEAD + count(campaign.cases.len()) * BAR + 12.0;
    let (width, total) = (NAMES + count(COLUMNS) * PANEL, count(rows) * height + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {total}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, (12.0, 22.0), "start", &format!("{}: multiples of plain routing", title(campaign)));
    for (index, metric) in PANELS.into_iter().enumerate() {
        let (column, row) = (index % COLUMNS, index / COLUMNS);
        let corner = (NAMES + count(column) * PANEL, 34.0 + count(row) * height);
        if column == 0 {
            names(&mut svg, campaign, corner);
        }
        panel(&mut svg, campaign, metric, corner);
    }
    let foot = format!("taken {}, {} repetitions, {}", campaign.taken, campaign.repetitions(), campaign.command);
    text(&mut svg, (12.0, total - 8.0), "start", &foot);
    svg + "</svg>\n"
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
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#777\" font-size=\"10\">{better}</text>",
        corner.0,
        corner.1 + 32.0
    );
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
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {y2:.1}H{:.1}\" stroke=\"black\"/>",
            corner.0 + long(bar.least),
            corner.0 + long(bar.most),
            y2 = y + BAR / 2.0 - 0.5
        );
        let end = corner.0 + long(bar.median.max(bar.most)) + 4.0;
        text(svg, (end, y + 13.0), "start", &format!("{:.2}", bar.median));
    }
    let one = corner.0 + scale;
    let (top, bottom) = (corner.1 + HEAD - 2.0, corner.1 + HEAD + count(bars.len()) * BAR);
    let _ = writeln!(svg, "<path d=\"M{one:.1} {top:.1}V{bottom:.1}\" stroke=\"#999\" stroke-dasharray=\"3 3\"/>");
}

fn color(case: &str) -> &'static str {
    match case {
        REFERENCE => "#bbbbbb",
        fan if fan.starts_with("fan-") => "#e95420",
        _ => "#6f9fc8",
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
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
    fn words_do_not_become_elements() {
        let mut svg = String::new();
        text(&mut svg, (0.0, 0.0), "start", "a < b & c");
        assert!(svg.contains("a &lt; b &amp; c"));
    }
}
