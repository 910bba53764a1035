//! Figures: what was measured, what follows from it, and how it is shown. Pure; the programs beside it measure.
//!
//! As a test of its own (`cargo test --test figures`) this file is its own crate.

#![allow(clippy::must_use_candidate, reason = "as a test of its own this is no library")]

pub mod campaign;
pub mod commands;
pub mod kallsyms;
pub mod metric;
pub mod plot;
pub mod sample;
pub mod scale;
pub mod svg;
pub mod table;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{campaign::Campaign, commands::Commands, plot, scale::Scale};

    fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
        let file = format!("{}/docs/bench/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&fs::read_to_string(file).expect("a file")).expect("figures")
    }

    /// `REDRAW=1 cargo test --test figures` draws them.
    #[test]
    fn the_plots_of_docs_bench_are_drawn_of_its_figures() {
        let mut plots = vec![("commands".to_string(), read::<Commands>("commands").plot())];
        for machine in ["6.1", "6.12", "here"] {
            let campaign: Campaign = read(&format!("datapath-{machine}"));
            plots.push((campaign.slug(), plot::ratios(&campaign)));
            let scale: Scale = read(&format!("scale-{machine}"));
            let series: Vec<&str> = scale.kernel.split('.').take(2).collect();
            plots.push((format!("scale-{}", series.join(".")), scale.plot()));
        }
        for (name, plot) in plots {
            let file = format!("{}/docs/bench/{name}.svg", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("REDRAW").is_some() {
                fs::write(&file, &plot).expect("a file");
            }
            assert!(fs::read_to_string(&file).is_ok_and(|there| there == plot), "{name}.svg: REDRAW=1 draws it anew");
        }
    }
}
