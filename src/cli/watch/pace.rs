//! When one more attempt to put a fan right may be made: [`Backoff`] after those that failed, and [`Brake`] where something
//! else changes the fan again each time. Times are since any fixed moment.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fan::mapping::Overlay;
use crate::plan::diff::Step;
use crate::plan::state::{Object, Owner};

/// How often within how long the same may be done before it is left alone for that long.
const TURNS: usize = 5;
const WHILE: Duration = Duration::from_secs(60);

/// Whether one more attempt is all right after those that succeeded.
#[derive(Debug, Default)]
pub(crate) struct Brake(VecDeque<(Duration, Vec<Step>)>);

impl Brake {
    /// When the next attempt at these steps may be; none for now.
    #[must_use]
    pub(crate) fn rest(&self, now: Duration, steps: &[Step]) -> Option<Duration> {
        let recent = self.0.iter().filter(|(then, other)| *then + WHILE > now && other == steps);
        let same: Vec<_> = recent.collect();
        let (first, _) = same.first()?;
        (same.len() >= TURNS).then(|| *first + WHILE)
    }

    /// Notes an attempt that succeeded.
    pub(crate) fn note(&mut self, now: Duration, steps: &[Step]) {
        self.0.retain(|(then, _)| *then + WHILE > now);
        self.0.push_back((now, steps.to_vec()));
    }
}

/// The least and the longest time between two attempts that fail.
const LEAST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// More plans than these do not fail one after the other, unless each is made by what is in the way.
const PLANS: usize = 8;

/// What failed since an attempt succeeded, and when the next may be. The kernel does not tell of everything that was in the
/// way, such as a UDP port, so time alone brings an attempt; a plan that is another than those that failed need not wait.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// When the first attempt failed.
    since: Option<Duration>,
    next: Duration,
    plans: Vec<Vec<Step>>,
}

impl Backoff {
    /// When the next attempt at these steps may be; none for now.
    #[must_use]
    pub(crate) fn rest(&self, now: Duration, steps: &[Step]) -> Option<Duration> {
        let has_failed = self.plans.len() >= PLANS || self.plans.iter().any(|plan| plan == steps);
        (has_failed && now < self.next).then_some(self.next)
    }

    /// Notes an attempt that failed. The next may be after as long as all have failed, so that what takes something away and
    /// puts it back is done a few times; after a quarter of that where nothing goes.
    pub(crate) fn fail(&mut self, now: Duration, overlay: Overlay, steps: &[Step]) {
        let failing = now.saturating_sub(*self.since.get_or_insert(now));
        let takes = steps.iter().any(|step| takes_device(step, overlay));
        let pause = if takes { failing } else { failing / 4 };
        self.next = now + pause.clamp(LEAST, LONGEST);
        if self.plans.len() < PLANS && !self.plans.iter().any(|plan| plan == steps) {
            self.plans.push(steps.to_vec());
        }
    }

    /// Forgets them: the fan is right.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Whether a step takes a device away, or what packets of the fan pass.
fn takes_device(step: &Step, overlay: Overlay) -> bool {
    let Step::Delete(object) = step else { return false };
    let is_device = matches!(object, Object::Bridge(_) | Object::Tunnel(_) | Object::Up(..) | Object::Filter(_));
    is_device && [Owner::Fan(overlay), Owner::Shared].contains(&object.owner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;
    use crate::plan::desired;
    use crate::plan::host::Host;
    use crate::plan::state::State;

    fn steps(step: fn(Object) -> Step) -> Vec<Step> {
        let owned = desired::with(&State::new(), &announced(), &Host::default());
        owned.into_values().map(step).collect()
    }

    #[test]
    fn the_same_again_and_again_is_braked_and_nothing_else() {
        let steps = steps(Step::Create);
        let seconds = Duration::from_secs;
        let mut brake = Brake::default();
        for number in 0..steps.len() {
            assert_eq!(brake.rest(seconds(0), &steps[..number]), None, "each another");
            brake.note(seconds(0), &steps[..number]);
        }
        let mut brake = Brake::default();
        for second in 0..5 {
            assert_eq!(brake.rest(seconds(second), &steps), None);
            brake.note(seconds(second), &steps);
        }
        assert_eq!(brake.rest(seconds(9), &steps), Some(seconds(60)));
        assert_eq!(brake.rest(seconds(59), &steps), Some(seconds(60)));
        assert_eq!(brake.rest(seconds(60), &steps), None);
        brake.note(seconds(60), &steps);
        assert_eq!(brake.rest(seconds(60), &steps), Some(seconds(61)));
    }

    /// The moments of attempts that all fail, in milliseconds.
    fn attempts(steps: &[Step], within: Duration) -> Vec<u128> {
        let (mut backoff, mut now, mut moments) = (Backoff::default(), Duration::ZERO, Vec::new());
        while now < within {
            assert_eq!(backoff.rest(now, steps), None);
            backoff.fail(now, announced().overlay(), steps);
            moments.push(now.as_millis());
            now = backoff.rest(now, steps).expect("it has failed");
        }
        moments
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_rarely() {
        let minute = Duration::from_secs(60);
        let gentle = attempts(&steps(Step::Create), minute);
        assert_eq!(gentle[..7], [0, 1000, 2000, 3000, 4000, 5000, 6250]);
        assert_eq!(attempts(&steps(Step::Delete), minute), [0, 1000, 2000, 4000, 8000, 16_000, 32_000]);
        let long = attempts(&steps(Step::Create), minute * 60);
        let pauses = long.windows(2).map(|pair| pair[1] - pair[0]);
        assert_eq!(pauses.max(), Some(60_000));
    }

    #[test]
    fn another_plan_need_not_wait_and_success_forgets() {
        let (steps, overlay) = (steps(Step::Create), announced().overlay());
        let (now, mut backoff) = (Duration::from_secs(9), Backoff::default());
        backoff.fail(now, overlay, &steps);
        assert!(backoff.rest(now, &steps).is_some());
        assert_eq!(backoff.rest(now, &steps[1..]), None);
        backoff.fail(now, overlay, &steps[1..]);
        assert!(backoff.rest(now, &steps).is_some() && backoff.rest(now, &steps[1..]).is_some());
        backoff.clear();
        assert_eq!(backoff.rest(now, &steps), None);
        for number in 0..PLANS {
            backoff.fail(now, overlay, &vec![steps[0].clone(); number]);
        }
        assert!(backoff.rest(now, &steps).is_some(), "what is in the way makes each another");
    }
}
