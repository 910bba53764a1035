//! What networks of many hosts cost one of them: rows, their table, and their plot.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::campaign::Instrument;
use super::svg::{document, note, text};
use super::table::{digits, markdown};

/// What one run found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Scale {
    /// The day, as in 2026-01-31.
    pub taken: String,
    /// The kernel's release.
    pub kernel: String,
    /// How the time was taken.
    pub instrument: Instrument,
    /// What was typed.
    pub command: String,
    /// A row for each way and number of hosts.
    pub rows: Vec<Row>,
    /// Sentences on what could not run.
    pub not_run: Vec<String>,
}

/// One way to connect so many hosts.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// The way, for people.
    pub title: String,
    /// Hosts in the network, this one included.
    pub hosts: u32,
    /// Links, addresses, routes, neighbours, forwarding entries, filters and rules of this host.
    pub objects: usize,
    /// What the kernel's memory grew by, in KiB (Slab, Percpu and VmallocUsed of /proc/meminfo). Other work shows in it.
    pub kib: i64,
    /// Seconds to make them.
    pub setup: f64,
    /// Seconds to let one more host join.
    pub join: f64,
    /// Seconds to send a small packet to one of 256 hosts, from a process here to the wire.
    pub packet: f64,
}

/// A panel of the plot: a heading, its upward axis, and what it shows of a row.
type Panel = (&'static str, Upward, fn(&Row) -> f64);

/// A series in a plot: a title, and pairs of hosts and something.
pub type Series = (String, Vec<(f64, f64)>);

impl Scale {
    /// Its page.
    pub fn page(&self, plot: &str) -> String {
        let clock = match self.instrument {
            Instrument::Wall => "by the clock",
            Instrument::Instructions => "by instructions (10^9 of them a second)",
        };
        let mut page = format!(
            "## Linux {}, {clock}\n\nTaken {}. `{}`\n\n![cost by number of hosts]({plot})\n\n{}",
            self.kernel,
            self.taken,
            self.command,
            self.table()
        );
        for reason in &self.not_run {
            let _ = write!(page, "\nNot run: {reason}.\n");
        }
        page
    }

    /// A row for each way and number of hosts.
    pub fn table(&self) -> String {
        let headings =
            ["", "hosts", "objects", "KiB", "set-up, ms", "a host joins, ms", "a packet, \u{b5}s"].map(String::from);
        let rows = self.rows.iter().map(|row| {
            vec![
                row.title.clone(),
                row.hosts.to_string(),
                row.objects.to_string(),
                row.kib.to_string(),
                digits(row.setup * 1e3),
                if row.join > 0.0 { digits(row.join * 1e3) } else { "nothing to do".into() },
                digits(row.packet * 1e6),
            ]
        });
        markdown(&headings, &rows.collect::<Vec<_>>())
    }

    /// Objects, set-up time and time of a packet by number of hosts.
    pub fn plot(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand objects")]
        let panels: [Panel; 3] = [
            ("kernel objects", Upward::Logarithmic, |row| row.objects as f64),
            ("set-up, ms", Upward::Logarithmic, |row| row.setup * 1e3),
            ("a packet, \u{b5}s", Upward::FromZero, |row| row.packet * 1e6),
        ];
        let title =
            format!("What a network of so many hosts costs one of them (Linux {}, {})", self.kernel, self.taken);
        let panels = [0.0, 310.0, 620.0].into_iter().zip(panels).map(|(left, (heading, upward, pick))| {
            let across = Across { title: "hosts", powers: 5 };
            panel(left, heading, across, upward, &self.series(pick))
        });
        svg(&title, &panels.collect::<String>(), &self.series(|_| 0.0))
    }

    fn series(&self, pick: fn(&Row) -> f64) -> Vec<Series> {
        let mut all: Vec<Series> = vec![];
        for row in &self.rows {
            let point = (f64::from(row.hosts), pick(row));
            match all.iter_mut().find(|(title, _)| *title == row.title) {
                Some((_, points)) => points.push(point),
                None => all.push((row.title.clone(), vec![point])),
            }
        }
        all
    }
}

const COLORS: [&str; 4] = ["#e95420", "#6f9fc8", "#8a3b12", "#2f5f88"];

/// The axis across: logarithmic, from 1 to so many powers of ten.
#[derive(Clone, Copy)]
pub struct Across {
    /// What is counted.
    pub title: &'static str,
    /// Of ten.
    pub powers: u8,
}

/// The upward axis.
#[derive(Clone, Copy, PartialEq)]
pub enum Upward {
    /// From zero: where all values are of the same order.
    FromZero,
    /// By powers of ten.
    Logarithmic,
}

/// A plot of three panels that have the same series.
pub fn svg(title: &str, panels: &str, series: &[Series]) -> String {
    let mut body = String::new();
    text(&mut body, (12.0, 18.0), "start", title);
    body.push_str(panels);
    let drawn = series.iter().filter(|(_, points)| !points.is_empty());
    for (index, (title, _)) in drawn.enumerate() {
        let left = 50.0 + [0.0, 230.0, 460.0, 690.0][index % COLORS.len()];
        line(&mut body, index, &[(left, 289.0), (left + 28.0, 289.0)]);
        text(&mut body, (left + 38.0, 293.0), "start", title);
    }
    document((960.0, 304.0), 11, title, &body)
}

/// The line of a series. The third and the fourth are told from the first two without their colours: dashed, with squares.
fn line(svg: &mut String, index: usize, points: &[(f64, f64)]) {
    let color = COLORS[index % COLORS.len()];
    let is_dashed = index % COLORS.len() >= COLORS.len() / 2;
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let dashes = if is_dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let path = path.join("L");
    let _ = writeln!(svg, "<path d=\"M{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>");
    for (x, y) in points {
        let _ = if is_dashed {
            let (x, y) = (x - 3.0, y - 3.0);
            writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"6\" height=\"6\" fill=\"{color}\"/>")
        } else {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>")
        };
    }
}

/// A round number of an axis.
fn tick(value: f64) -> String {
    if value >= 1e3 { format!("{}k", value / 1e3) } else { ((value * 1e6).round() / 1e6).to_string() }
}

/// A step between ticks, 1, 2 or 5 times a power of ten, of which four or fewer reach this far.
fn step(far: f64) -> f64 {
    let power = 10_f64.powf((far / 4.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| step * 4.0 >= far).unwrap_or(far)
}

/// A panel 300 pixels wide, whose upward axis holds all points. A series without points has no line.
pub fn panel(left: f64, heading: &str, across: Across, upward: Upward, series: &[Series]) -> String {
    let mut svg = String::new();
    let values = series.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let on_axis = |value: f64| if upward == Upward::FromZero { value } else { value.max(1e-9).log10() };
    let (low, high, step) = match upward {
        Upward::FromZero => (0.0, step(high.max(1e-9)) * 4.0, step(high.max(1e-9))),
        Upward::Logarithmic => (on_axis(low).floor(), on_axis(high).ceil().max(on_axis(low).floor() + 1.0), 1.0),
    };
    let x = |number: f64| left + 50.0 + number.log10() / f64::from(across.powers) * 230.0;
    let at = |place: f64| 230.0 - (place - low) / (high - low) * 180.0;
    let _ = writeln!(svg, "<text x=\"{}\" y=\"40\" font-weight=\"bold\">{heading}</text>", left + 50.0);
    for number in (0..=across.powers).map(|power| 10_f64.powi(power.into())) {
        text(&mut svg, (x(number), 246.0), "middle", &tick(number));
    }
    note(&mut svg, (left + 165.0, 262.0), "middle", across.title);
    let mut place = low;
    while place <= high + step / 2.0 {
        let value = if upward == Upward::FromZero { place } else { 10_f64.powf(place) };
        let (from, to, y) = (left + 50.0, left + 280.0, at(place));
        let _ = writeln!(svg, "<path d=\"M{from:.1} {y:.1}H{to:.1}\" class=\"grid\"/>");
        text(&mut svg, (left + 46.0, y + 4.0), "end", &tick(value));
        place += step;
    }
    for (index, (_, points)) in series.iter().filter(|(_, points)| !points.is_empty()).enumerate() {
        let points: Vec<_> = points.iter().map(|(number, value)| (x(*number), at(on_axis(*value)))).collect();
        line(&mut svg, index, &points);
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Scale {
        let row = |title: &str, hosts, objects, join| Row {
            title: title.into(),
            hosts,
            objects,
            kib: 7,
            setup: 0.05,
            join,
            packet: 2e-6,
        };
        Scale {
            taken: "2026-01-31".into(),
            kernel: "6.12.9".into(),
            instrument: Instrument::Wall,
            command: "make bench".into(),
            rows: vec![
                row("fan", 2, 20, 0.0),
                row("fan", 4096, 20, 0.0),
                row("static", 2, 10, 0.001),
                row("static", 4096, 4100, 0.001),
            ],
            not_run: vec!["65534 hosts over IPIP: too long".into()],
        }
    }

    #[test]
    fn a_row_for_each_number_of_hosts() {
        let page = example().page("scale.svg");
        assert!(page.contains("| fan | 4096 | 20 | 7 | 50.0 | nothing to do | 2.00 |"), "{page}");
        assert!(page.contains("| static | 4096 | 4100 | 7 | 50.0 | 1.00 | 2.00 |"), "{page}");
        assert!(page.ends_with("Not run: 65534 hosts over IPIP: too long.\n"), "{page}");
    }

    #[test]
    fn an_axis_has_round_steps() {
        for (far, wanted) in [(8.2, 5.0), (4.0, 1.0), (7.9, 2.0), (0.3, 0.1), (120.0, 50.0)] {
            assert!((step(far) - wanted).abs() < 1e-9, "{far}: {}", step(far));
        }
        assert_eq!([tick(100_000.0), tick(0.1), tick(10.0)], ["100k", "0.1", "10"]);
    }

    #[test]
    fn what_is_constant_is_a_level_line() {
        let svg = example().plot();
        let line = svg.lines().find(|line| line.contains("fill=\"none\"")).unwrap();
        let points: Vec<&str> = line.split('"').nth(1).unwrap().trim_start_matches('M').split('L').collect();
        assert_eq!(points.len(), 2);
        assert_eq!(points[0].split(' ').nth(1), points[1].split(' ').nth(1), "{line}");
    }
}
