//! What networks of many hosts cost one of them: rows, their table, and their plot.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::campaign::Instrument;
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

/// A panel of the plot: a heading, and what it shows of a row.
type Panel = (&'static str, fn(&Row) -> f64);

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
            ["", "hosts", "objects", "KiB", "set-up, ms", "a host joins, ms", "a packet, us"].map(String::from);
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

    /// Objects, set-up time and time of a packet by number of hosts, on logarithmic axes.
    pub fn plot(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand objects")]
        let panels: [Panel; 3] = [
            ("kernel objects", |row| row.objects as f64),
            ("set-up, ms", |row| row.setup * 1e3),
            ("a packet, us", |row| row.packet * 1e6),
        ];
        let title =
            format!("What a network of so many hosts costs one of them (Linux {}, {})", self.kernel, self.taken);
        let panels = [0.0, 310.0, 620.0]
            .into_iter()
            .zip(panels)
            .map(|(left, (heading, pick))| panel(left, heading, 5, &self.series(pick)));
        svg(&title, &panels.collect::<String>())
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

/// A plot of three panels.
pub fn svg(title: &str, panels: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 300\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"18\">{title}</text>\n{panels}</svg>\n"
    )
}

/// A panel 300 pixels wide: from 1 to so many powers of ten, and powers of ten that hold all points. A series without
/// points has no line.
pub fn panel(left: f64, heading: &str, powers: u8, series: &[Series]) -> String {
    let mut svg = String::new();
    let values = series.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = (low.max(1e-9).log10().floor(), high.max(1e-9).log10().ceil());
    let high = high.max(low + 1.0);
    let x = |number: f64| left + 50.0 + number.log10() / f64::from(powers) * 230.0;
    let y = |value: f64| 230.0 - (value.max(1e-9).log10() - low) / (high - low) * 180.0;
    let _ = writeln!(svg, "<text x=\"{}\" y=\"40\" font-weight=\"bold\">{heading}</text>", left + 50.0);
    for number in (0..=powers).map(|power| 10_f64.powi(power.into())) {
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"246\" text-anchor=\"middle\">{number}</text>", x(number));
    }
    let mut power = low;
    while power <= high {
        let (value, at) = (10_f64.powf(power), y(10_f64.powf(power)));
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left + 50.0,
            left + 280.0,
            left + 46.0,
            at + 4.0,
            (value * 1e6).round() / 1e6
        );
        power += 1.0;
    }
    let drawn = series.iter().filter(|(_, points)| !points.is_empty());
    for (index, ((title, points), color)) in drawn.zip(COLORS.into_iter().cycle()).enumerate() {
        let path: Vec<String> = points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>", path.join("L"));
        for point in points {
            let _ =
                writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>", x(point.0), y(point.1));
        }
        let row = [266.0, 282.0][index % 2];
        let column = left + 50.0 + if index < 2 { 0.0 } else { 120.0 };
        let _ = writeln!(svg, "<text x=\"{column:.1}\" y=\"{row}\" fill=\"{color}\">{title}</text>");
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
    fn what_is_constant_is_a_level_line() {
        let svg = example().plot();
        let line = svg.lines().find(|line| line.contains("fill=\"none\"")).unwrap();
        let points: Vec<&str> = line.split('"').nth(1).unwrap().trim_start_matches('M').split('L').collect();
        assert_eq!(points.len(), 2);
        assert_eq!(points[0].split(' ').nth(1), points[1].split(' ').nth(1), "{line}");
    }
}
