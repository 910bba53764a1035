//! What others put on a fan's devices, and what of it changes which packets the fan's checks see.

use super::{Facts, Finding};
use crate::fan::Fan;
use crate::foreign;

pub(super) fn check(fan: &Fan, facts: Facts) -> Vec<Finding> {
    let found = foreign::on(fan, facts.host).into_iter();
    found
        .map(|foreign| {
            let verdict = if foreign.is_harmful(fan) {
                Finding::failed
            } else {
                Finding::warned
            };
            verdict("foreign", foreign.to_string()).because([format!("{}; see: {}", foreign.code(), foreign.look())])
        })
        .collect()
}
