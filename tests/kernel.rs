//! What only a kernel can tell, as root.

mod kernel {
    pub mod program;
}

use libtest_mimic::{Arguments, Trial};

fn main() {
    let tests = kernel::program::all();
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
