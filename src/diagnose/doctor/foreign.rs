//! What others put on a fan's devices, what of it changes which packets the fan's checks see, and settings of the host that
//! matter to them.

use super::{Code, Facts, Finding};
use crate::fan::Fan;
use crate::plan::foreign;
use crate::plan::remarks::{Remark, remarks};

pub(super) fn check(fan: &Fan, facts: Facts) -> Vec<Finding> {
    // `up` tells of routes, and the counters of packets that were dropped.
    let remarks = remarks(fan, facts.host).into_iter();
    let remarks = remarks.filter(|remark| !matches!(remark, Remark::NotListed { .. }));
    let remarks = remarks.map(|remark| {
        Finding::warned(Code::Setting(remark.code()), remark.to_string()).because([remark.code().to_string()])
    });
    let found = foreign::on(fan, facts.host).into_iter();
    found
        .map(|foreign| {
            let verdict = if foreign.is_harmful(fan) { Finding::failed } else { Finding::warned };
            verdict(Code::Foreign(foreign.code()), foreign.to_string()).because([format!(
                "{}; see: {}",
                foreign.code(),
                foreign.look()
            )])
        })
        .chain(remarks)
        .collect()
}
