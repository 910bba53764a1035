//! The seeds of the fuzzer (`make fuzz`), among them every input that once did harm, on any toolchain.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn no_seed_does_harm() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}")) {
            let path = entry.expect("a seed").path();
            println!("{}", path.display());
            target(&fs::read(&path).expect("a seed"));
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
    }
}

/// A target that is nowhere run would find nothing.
#[test]
fn every_target_has_a_fuzzer() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let fuzzers: BTreeSet<String> = fs::read_dir(directory)
        .expect("fuzz/fuzz_targets")
        .map(|entry| entry.expect("a file").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(fuzzers, targets::TARGETS.map(|(name, _)| name.to_string()).into());
    for name in &fuzzers {
        let text = fs::read_to_string(format!("{}/fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR")));
        assert!(text.expect("a fuzzer").contains(&format!("fanctl_fuzz::{name}(data)")), "{name}");
    }
}
