//! Which targets a rollout and its groups take, as searches, and how many of them (semantics.md B2). Pure.

use super::{Group, Model};

/// What the filter of a retry is, before the id of the rollout whose failed targets it takes.
const RETRY: &str = "failedrollout==";

/// The rollout whose failed targets this filter means. Not a search: no client may send it.
pub(crate) fn retried(filter: &str) -> Option<i64> {
    let id = filter.strip_prefix(RETRY)?;
    id.bytes().all(|b| b.is_ascii_digit()).then(|| id.parse().ok())?
}

/// The filter of a rollout that retries another.
pub(crate) fn retry_of(rollout: i64) -> String {
    format!("{RETRY}{rollout}")
}

/// The search for all targets of a rollout: those that were there when it was created.
pub(crate) fn base_filter(rollout: &Model) -> String {
    as_of(rollout.target_filter.as_deref().unwrap_or(""), rollout.created_at)
}

pub(super) fn as_of(filter: &str, created_at: Option<i64>) -> String {
    match created_at {
        Some(at) => format!("({filter});createdat=le={at}"),
        None => filter.to_owned(),
    }
}

/// The search for the targets that a group may take: those of `base` that the group's own search finds too.
pub(crate) fn group_filter(base: &str, group: &str) -> String {
    if group.is_empty() { base.to_owned() } else { both(base, group) }
}

/// The search for the targets of a group that an earlier group may have taken.
pub(super) fn overlap_filter(base: &str, group: &str, earlier: &[&str]) -> String {
    if !group.is_empty() && earlier.contains(&group) || earlier.iter().any(|filter| filter.is_empty()) {
        return group_filter(base, group);
    }
    let mut earlier = earlier.to_vec();
    earlier.sort_unstable();
    earlier.dedup();
    both(&group_filter_parts(base, group), &earlier.join("),("))
}

/// As [`group_filter`], without the outer parentheses that [`both`] adds.
fn group_filter_parts(base: &str, group: &str) -> String {
    if group.is_empty() { base.to_owned() } else { format!("{base});({group}") }
}

fn both(left: &str, right: &str) -> String {
    format!("({left});({right})")
}

/// How much of what earlier groups left over a group takes, in percent. `groups` are all of the rollout's, in order.
pub(crate) fn percent_from_rest(rollout: &Model, group: &Group, groups: &[Group]) -> f64 {
    if rollout.is_dynamic.is_none() {
        // Of rollouts made before the peer knew dynamic ones, percentages are of the rest already.
        return group.percentage();
    }
    let earlier = groups.iter().take_while(|earlier| earlier.id != group.id);
    let same = earlier.filter(|earlier| earlier.target_filter == group.target_filter);
    share_of_rest(single(group.percentage()), same.map(|earlier| single(earlier.percentage())))
}

/// As [`percent_from_rest`]: `earlier` are the percentages of the earlier groups that take from the same targets. The
/// peer keeps percentages in single precision and reckons on in double.
pub(super) fn share_of_rest(percentage: f32, earlier: impl Iterator<Item = f32>) -> f64 {
    let rest = earlier.fold(100.0, |rest, taken| rest - f64::from(taken));
    if rest <= 1.0 { 100.0 } else { (f64::from(percentage * 100.0) / rest).min(100.0) }
}

/// How many of `candidates` targets `percent` of them are.
pub(crate) fn expected(percent: f64, candidates: i64) -> i64 {
    round(percent * double(candidates) / 100.0)
}

/// As [`expected`], in the order in which the peer reckons where it checks that explicit groups take all targets.
pub(super) fn planned(percent: f64, candidates: i64) -> i64 {
    round(percent / 100.0 * double(candidates))
}

/// To the nearest whole number; a half goes up, also below zero.
fn round(value: f64) -> i64 {
    let floor = value.floor();
    let nearest = if value - floor >= 0.5 { floor + 1.0 } else { floor };
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, as the peer's rounding does")]
    let nearest = nearest as i64;
    nearest
}

pub(super) fn single(percentage: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "the peer keeps percentages in single precision")]
    let percentage = percentage as f32;
    percentage
}

fn double(count: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no server has 2^53 targets")]
    let count = count as f64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_told_by_the_whole_filter() {
        assert_eq!(retried(&retry_of(17)), Some(17));
        for filter in ["failedrollout==", "failedrollout==1;name==a", "name==failedrollout==1", "failedrollout==-1"] {
            assert_eq!(retried(filter), None, "{filter}");
        }
        assert_eq!(retried("failedrollout==99999999999999999999"), None);
    }

    #[test]
    fn filters_are_joined_as_the_peer_joins_them() {
        let base = as_of("name==a,name==b", Some(5));
        assert_eq!(base, "(name==a,name==b);createdat=le=5");
        assert_eq!(as_of("name==a", None), "name==a");
        assert_eq!(group_filter(&base, ""), base);
        assert_eq!(group_filter("name==a", "id==x"), "(name==a);(id==x)");
    }

    #[test]
    fn what_overlaps_is_searched_for_once() {
        for (group, earlier, expected) in [
            ("id==x", &["id==x"][..], "(b);(id==x)"),
            ("id==x", &["id==y", "id==x"], "(b);(id==x)"),
            ("id==x", &[""], "(b);(id==x)"),
            ("id==x", &["id==z", "id==y", "id==z"], "(b);(id==x);(id==y),(id==z)"),
            ("", &["id==y"], "(b);(id==y)"),
            ("", &["", "id==y"], "b"),
        ] {
            assert_eq!(overlap_filter("b", group, earlier), expected, "{group:?} after {earlier:?}");
        }
    }

    #[test]
    fn percentages_are_of_the_whole() {
        let third = 100.0_f32 / 3.0;
        for (percentage, earlier, expected) in [
            (third, &[][..], 33.333_332_519_531_25),
            (third, &[third], 49.999_997_825_622_6),
            (third, &[third, third], 99.999_989_929_199_98),
            (50.0, &[50.0], 100.0),
            (80.0, &[50.0], 100.0),
            (10.0, &[99.5], 100.0),
            (10.0, &[60.0, 60.0], 100.0),
            (30.0, &[10.0], 33.333_333_333_333_336),
        ] {
            let share = share_of_rest(percentage, earlier.iter().copied());
            assert!((share - expected).abs() < 1e-9, "{percentage} after {earlier:?}: {share}");
        }
    }

    #[test]
    fn halves_go_up() {
        for (value, rounded) in [(2.5, 3), (2.499, 2), (-2.5, -2), (-2.6, -3), (0.499_999_999_999_999_94, 0), (0.0, 0)]
        {
            assert_eq!(round(value), rounded, "{value}");
        }
    }

    #[test]
    fn thirds_of_seven_are_two_two_and_three() {
        let mut left = 7;
        let third = 100.0_f32 / 3.0;
        let taken: Vec<i64> = (0..3)
            .map(|earlier| {
                let count = expected(share_of_rest(third, std::iter::repeat_n(third, earlier)), left);
                left -= count;
                count
            })
            .collect();
        assert_eq!(taken, [2, 2, 3]);
    }
}
