//! How far people who mark the same items agree: the plain share, and beyond what chance would give.
//!
//! A mark is yes or no. Krippendorff's alpha, for any number of people and with marks missing, is
//! [`crate::metrics::paa::agreement::krippendorff`].

use crate::metrics::bootstrap::{self, Clusters, Column};
use crate::metrics::figure::Figure;

/// Marks of an item; none where somebody gave none.
pub type Marks = Vec<Option<bool>>;

/// Two people on the items that both marked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pairwise {
    /// Share of items with the same mark.
    pub raw: Figure,
    /// The share that chance gives to two people who say yes as often as these do.
    pub by_chance: f64,
    /// Cohen's kappa; none where both always say the same one word, so that chance agrees fully.
    pub kappa: Option<Figure>,
}

/// The share of yes among `marks`, with an interval clustered by `users`; none without a mark.
pub fn accepted(marks: &[Option<bool>], users: &[Option<&str>]) -> Option<Figure> {
    let given: Vec<(bool, Option<&str>)> =
        marks.iter().zip(users).filter_map(|(mark, user)| Some(((*mark)?, *user))).collect();
    let values: Vec<bool> = given.iter().map(|(mark, _)| *mark).collect();
    share(&values, &Clusters::by_user(given.iter().map(|(_, user)| *user)))
}

fn share(values: &[bool], clusters: &Clusters) -> Option<Figure> {
    if values.is_empty() {
        return None;
    }
    let rows: Vec<[f64; 1]> = values.iter().map(|value| [f64::from(u8::from(*value))]).collect();
    let interval = bootstrap::intervals(&rows, [Column::Share], clusters, bootstrap::SEED);
    Some(Figure {
        value: rows.iter().map(|[value]| value).sum::<f64>() / rows.len() as f64,
        low: interval.map(|[interval]| interval.low),
        high: interval.map(|[interval]| interval.high),
        n: rows.len(),
        ties: None,
    })
}

/// Agreement of two people (Cohen, 1960): `kappa = (p_o - p_e) / (1 - p_e)`, where `p_o` is the share of items with the same mark and
/// `p_e` what their shares of yes and no give by chance.
///
/// - `marks`: of each item; an item that one of them did not mark does not count.
/// - `users`: whose each item is; the intervals draw users.
///
/// None where no item was marked by both.
pub fn pairwise(marks: &[[Option<bool>; 2]], users: &[Option<&str>]) -> Option<Pairwise> {
    let both: Vec<([bool; 2], Option<&str>)> = marks
        .iter()
        .zip(users)
        .filter_map(|([one, other], user)| Some(([(*one)?, (*other)?], *user)))
        .collect();
    let clusters = Clusters::by_user(both.iter().map(|(_, user)| *user));
    let same: Vec<bool> = both.iter().map(|([one, other], _)| one == other).collect();
    let raw = share(&same, &clusters)?;
    let (by_chance, value) = kappa(both.iter().map(|(marks, _)| marks));
    let mut of_user = vec![Vec::new(); clusters.count()];
    both.iter().zip(clusters.of_pair()).for_each(|((marks, _), &user)| of_user[user].push(marks));
    let interval = bootstrap::interval_of(of_user.len(), bootstrap::SEED, |drawn| {
        kappa(drawn.iter().flat_map(|&user| of_user[user].iter().copied())).1
    });
    // Where one always says the same, kappa is 0 whoever is drawn: resampling shows nothing.
    let interval = interval.filter(|interval| interval.low < interval.high);
    let kappa = value.is_finite().then(|| Figure {
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        n: both.len(),
        ties: None,
    });
    Some(Pairwise { raw, by_chance, kappa })
}

/// Agreement by chance, and Cohen's kappa, which is NaN where chance agrees fully.
fn kappa<'a>(both: impl Iterator<Item = &'a [bool; 2]>) -> (f64, f64) {
    let (mut n, mut same, mut yes) = (0.0, 0.0, [0.0; 2]);
    for marks in both {
        n += 1.0;
        same += f64::from(u8::from(marks[0] == marks[1]));
        yes.iter_mut().zip(marks).for_each(|(yes, mark)| *yes += f64::from(u8::from(*mark)));
    }
    let [one, other] = yes.map(|yes| yes / n);
    let by_chance = one * other + (1.0 - one) * (1.0 - other);
    (by_chance, (same / n - by_chance) / (1.0 - by_chance))
}

/// Fleiss' kappa (1971) over the items that all of three people or more marked; none without one, and where all marks are the same.
///
/// `users` as in [`pairwise`].
pub fn fleiss(items: &[Marks], users: &[Option<&str>]) -> Option<Figure> {
    let people = items.first()?.len();
    let whole: Vec<(f64, Option<&str>)> = items
        .iter()
        .zip(users)
        .filter(|(marks, _)| marks.iter().all(Option::is_some))
        .map(|(marks, user)| {
            (marks.iter().filter(|mark| **mark == Some(true)).count() as f64, *user)
        })
        .collect();
    if people < 3 || whole.is_empty() {
        return None;
    }
    let clusters = Clusters::by_user(whole.iter().map(|(_, user)| *user));
    let mut of_user = vec![Vec::new(); clusters.count()];
    whole.iter().zip(clusters.of_pair()).for_each(|((yes, _), &user)| of_user[user].push(*yes));
    let value = fleiss_of(whole.iter().map(|(yes, _)| *yes), people as f64);
    let interval = bootstrap::interval_of(of_user.len(), bootstrap::SEED, |drawn| {
        fleiss_of(drawn.iter().flat_map(|&user| of_user[user].iter().copied()), people as f64)
    });
    value.is_finite().then(|| Figure {
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        n: whole.len(),
        ties: None,
    })
}

/// Kappa of items given as their number of yes, of `people` marks each; NaN where all marks are the same.
fn fleiss_of(items: impl Iterator<Item = f64>, people: f64) -> f64 {
    let (mut n, mut within, mut yes) = (0.0, 0.0, 0.0);
    for count in items {
        let no = people - count;
        within += (count * (count - 1.0) + no * (no - 1.0)) / (people * (people - 1.0));
        yes += count;
        n += 1.0;
    }
    let share = yes / (n * people);
    let by_chance = share.powi(2) + (1.0 - share).powi(2);
    (within / n - by_chance) / (1.0 - by_chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many items as `counts` says of yes/yes, yes/no, no/yes, no/no, each of another user.
    fn items(counts: [usize; 4]) -> Vec<[Option<bool>; 2]> {
        let marks = [[true, true], [true, false], [false, true], [false, false]];
        counts.iter().zip(marks).flat_map(|(&count, marks)| vec![marks.map(Some); count]).collect()
    }

    #[test]
    fn cohens_kappa_is_that_of_the_textbook() {
        // Two people on 50 applications, 20 both yes, 5 and 10 apart, 15 both no: p_o 0.7, p_e 0.5, kappa 0.4.
        let marks = items([20, 5, 10, 15]);
        let found = pairwise(&marks, &vec![None; 50]).unwrap();
        assert!((found.raw.value - 0.7).abs() < 1e-12 && (found.by_chance - 0.5).abs() < 1e-12);
        let kappa = found.kappa.unwrap();
        assert!((kappa.value - 0.4).abs() < 1e-12 && kappa.n == 50, "{kappa:?}");
        assert!(kappa.low.unwrap() < 0.4 && 0.4 < kappa.high.unwrap());
    }

    #[test]
    fn agreeing_always_on_one_word_is_no_agreement_beyond_chance() {
        let found = pairwise(&items([9, 0, 0, 0]), &[None; 9]).unwrap();
        assert_eq!((found.raw.value, found.by_chance, found.kappa), (1.0, 1.0, None));
        let alike = pairwise(&items([5, 0, 0, 5]), &[None; 10]).unwrap().kappa.map(|one| one.value);
        assert_eq!(alike, Some(1.0));
        let one_word = pairwise(&items([8, 2, 0, 0]), &[None; 10]).unwrap().kappa.unwrap();
        assert_eq!((one_word.value, one_word.low), (0.0, None));
    }

    #[test]
    fn an_item_that_one_did_not_mark_counts_for_nothing() {
        let mut marks = items([20, 5, 10, 15]);
        marks.extend([[Some(true), None], [None, None], [None, Some(false)]]);
        assert_eq!(pairwise(&marks, &vec![None; 53]).unwrap().raw.n, 50);
        assert_eq!(pairwise(&[[Some(true), None]], &[None]), None);
        let figure = accepted(&[Some(true), None, Some(false)], &[None; 3]).unwrap();
        assert_eq!((figure.value, figure.n), (0.5, 2));
        assert_eq!(accepted(&[None], &[None]), None);
    }

    #[test]
    fn fleiss_kappa_of_items_counted_by_hand() {
        // Three people, four items with 3, 2, 1, 0 yes: within 1, 1/3, 1/3, 1, mean 2/3; share 1/2, by chance 1/2; kappa 1/3.
        let mark = |yes: usize| (0..3).map(|person| Some(person < yes)).collect::<Marks>();
        let mut items: Vec<Marks> = [3, 2, 1, 0].map(mark).to_vec();
        items.push(vec![Some(true), None, Some(true)]);
        let kappa = fleiss(&items, &[None; 5]).unwrap();
        assert!((kappa.value - 1.0 / 3.0).abs() < 1e-12 && kappa.n == 4, "{kappa:?}");
        assert_eq!(fleiss(&[vec![Some(true); 2]], &[None]), None);
        assert_eq!(fleiss(&[mark(3), mark(3)], &[None; 2]), None);
    }
}
