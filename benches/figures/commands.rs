//! What commands cost, beside a script that makes the same: rows, their tables, and their plot.

use serde::{Deserialize, Serialize};

use super::sample::{Summary, paired};
use super::scale::{Across, Series, Upward, panel, svg};
use super::table::{digits, markdown};

/// Processes that `up`, `show` and `down` of Ubuntu's fanctl 0.3.0 (July 2015, the last whose source is about) were, with one
/// fan and with more: counted by strace with `ip`, `brctl` and `iptables` that do nothing, its subshells among them. It made
/// less: no programs, which the patched kernel had, no guard, and no table of its own.
const ORIGINALS: [(&str, [usize; 2]); 3] = [("up", [34, 29]), ("show", [2, 2]), ("down", [53, 48])];

/// What one run found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Commands {
    /// The day, as in 2026-01-31.
    pub taken: String,
    /// The kernel's release.
    pub kernel: String,
    /// A row for each command and number of fans.
    pub rows: Vec<Row>,
    /// Addresses that `map` read from a file in each run.
    pub addresses: u32,
    /// Nanoseconds of `Mapping::host`.
    pub mapping: f64,
}

/// One command.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// What was run: `up`, `up again`, `show`, `down`, or with ` by script` behind it; or something else.
    pub command: String,
    /// Fans on the host, the one that comes and goes included.
    pub fans: usize,
    /// Processes, itself included.
    pub processes: usize,
    /// What each run cost.
    pub runs: Vec<Cost>,
}

/// One run of a command, of the programs that it ran too.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Cost {
    /// Of the clock.
    pub milliseconds: f64,
    /// Of processor time.
    pub cpu_milliseconds: f64,
    /// The largest resident set of any of them.
    pub kib: i64,
}

const BY_SCRIPT: &str = " by script";
/// The command of the row of `map`.
pub const MAP: &str = "map";

impl Row {
    fn of(&self, pick: fn(&Cost) -> f64) -> Vec<f64> {
        self.runs.iter().map(pick).collect()
    }
}

impl Commands {
    /// Its page.
    pub fn page(&self, plot: &str) -> String {
        let runs = self.rows.iter().map(|row| row.runs.len()).max().unwrap_or_default();
        format!(
            "# The commands\n\nTaken {} on Linux {}, by the clock, `make bench`. Medians of {runs} runs, ± half the range; the most \
             memory of any process.\nThe number of fans includes the one that comes and goes. A script makes the same objects with a \
             process each.\n\n![time of commands by number of fans]({plot})\n\n## Against a script\n\nAs multiples of the script's, run \
             by run: less than 1 is in favour of `fanctl`. The processes are those of `fanctl`, of the\nscript, and of Ubuntu's fanctl \
             0.3.0 of 2015, which made less: no programs and no rules but those for NAT.\n\n{}\n## All figures\n\n{}\nAn address to its host: {:.0} ns \
             by `fanctl map`, which reads and prints, {:.1} ns as a function.\n",
            self.taken,
            self.kernel,
            self.against_the_script(),
            self.table(),
            self.map() * 1e6 / f64::from(self.addresses),
            self.mapping
        )
    }

    /// Each command that there is a script for, as a multiple of it.
    pub fn against_the_script(&self) -> String {
        let headings = ["", "fans", "time", "CPU", "processes", "script", "Ubuntu's"].map(String::from);
        let lines = self.rows.iter().filter_map(|row| {
            let name = format!("{}{BY_SCRIPT}", row.command);
            let script = self.rows.iter().find(|other| other.command == name && other.fans == row.fans)?;
            let ratio = |pick| {
                let ratio = paired(&row.of(pick), &script.of(pick))?;
                Some(format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most))
            };
            let original = ORIGINALS.iter().find(|(command, _)| *command == row.command);
            Some(vec![
                row.command.clone(),
                row.fans.to_string(),
                ratio(|run| run.milliseconds)?,
                ratio(|run| run.cpu_milliseconds)?,
                row.processes.to_string(),
                script.processes.to_string(),
                original.map_or("-".into(), |(_, counts)| counts[usize::from(row.fans > 1)].to_string()),
            ])
        });
        markdown(&headings, &lines.collect::<Vec<_>>())
    }

    /// Milliseconds of a run of `map`.
    fn map(&self) -> f64 {
        let row = self.rows.iter().find(|row| row.command == MAP);
        row.map_or(f64::NAN, |row| middle(&row.of(|run| run.milliseconds)))
    }

    fn table(&self) -> String {
        let headings = ["", "fans", "processes", "ms", "± %", "CPU ms", "MiB"].map(String::from);
        let lines = self.rows.iter().filter_map(|row| {
            let of = |pick| Summary::of(&row.of(pick));
            let (time, cpu) = (of(|run| run.milliseconds)?, of(|run| run.cpu_milliseconds)?);
            #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 KiB")]
            let memory = of(|run| run.kib as f64 / 1024.0)?;
            Some(vec![
                row.command.clone(),
                row.fans.to_string(),
                row.processes.to_string(),
                digits(time.median),
                format!("{:.0}", time.spread()),
                digits(cpu.median),
                digits(memory.most),
            ])
        });
        markdown(&headings, &lines.collect::<Vec<_>>())
    }

    /// Time, processor time and processes of `up` and `down` by number of fans, on logarithmic axes.
    pub fn plot(&self) -> String {
        let title = format!(
            "fanctl and a script of ip, tc and nft calls, by number of fans on the host (Linux {}, {})",
            self.kernel, self.taken
        );
        #[expect(clippy::cast_precision_loss, reason = "a few processes")]
        let panels = [
            ("time, ms", self.series(|row| middle(&row.of(|run| run.milliseconds)))),
            ("CPU, ms", self.series(|row| middle(&row.of(|run| run.cpu_milliseconds)))),
            ("processes", self.series(|row| row.processes as f64)),
        ];
        let across = Across { title: "fans on the host", powers: 2 };
        let drawn = panels.iter().zip([0.0, 310.0, 620.0]);
        let drawn = drawn.map(|((heading, series), left)| panel(left, heading, across, Upward::Logarithmic, series));
        svg(&title, &drawn.collect::<String>(), &panels[0].1)
    }

    fn series(&self, pick: fn(&Row) -> f64) -> Vec<Series> {
        let names = ["up", "up by script", "down", "down by script"];
        let all = names.map(|name| {
            let rows = self.rows.iter().filter(|row| row.command == name);
            #[expect(clippy::cast_precision_loss, reason = "a few fans")]
            let points = rows.map(|row| (row.fans as f64, pick(row))).collect();
            (name.to_string(), points)
        });
        all.into()
    }
}

fn middle(samples: &[f64]) -> f64 {
    Summary::of(samples).map_or(f64::NAN, |summary| summary.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Commands {
        let row = |command: &str, fans, processes, milliseconds| Row {
            command: command.into(),
            fans,
            processes,
            runs: vec![Cost { milliseconds, cpu_milliseconds: milliseconds / 2.0, kib: 2048 }; 3],
        };
        Commands {
            taken: "2026-01-31".into(),
            kernel: "6.12.9".into(),
            rows: vec![
                row("up", 1, 2, 10.0),
                row("up by script", 1, 20, 40.0),
                row("up", 10, 2, 10.0),
                row("up by script", 10, 20, 50.0),
                row(MAP, 0, 1, 3.0),
            ],
            addresses: 1000,
            mapping: 1.5,
        }
    }

    #[test]
    fn a_command_stands_beside_its_script_and_the_original() {
        let page = example().page("commands.svg");
        for line in [
            "| up | 1 | 0.25 (0.25 to 0.25) | 0.25 (0.25 to 0.25) | 2 | 20 | 34 |",
            "| up | 10 | 0.20 (0.20 to 0.20) | 0.20 (0.20 to 0.20) | 2 | 20 | 29 |",
            "| up by script | 10 | 20 | 50.0 | 0 | 25.0 | 2.00 |",
            "An address to its host: 3000 ns by `fanctl map`, which reads and prints, 1.5 ns as a function.",
        ] {
            assert!(page.lines().any(|found| found == line), "no line {line:?} in\n{page}");
        }
    }

    #[test]
    fn each_command_has_a_line_in_each_panel() {
        let svg = example().plot();
        assert_eq!(svg.matches("fill=\"none\"").count(), 3 * 2 + 2, "of the legend, too\n{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
