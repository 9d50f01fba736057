//! How many of a kind a random draw of people would hold: the null of a share that is laid beside that of a population.

/// The middle 95 % of the number of people of a kind in a random draw.
///
/// - `population`: all people, at least 1; `kind`: those of them that are of the kind.
/// - `drawn`: how many are drawn, without replacement (the hypergeometric distribution); of more than there are, with replacement
///   (the binomial one).
///
/// Exact: the bounds are the smallest numbers at which the cumulative probability reaches 2.5 % and 97.5 %. A draw of everybody has one
/// number alone.
pub fn middle(population: usize, kind: usize, drawn: usize) -> [usize; 2] {
    const TAIL: f64 = 0.025;
    let kind = kind.min(population);
    let others = population - kind;
    let (first, last) = match drawn <= population {
        true => (drawn.saturating_sub(others), kind.min(drawn)),
        false if kind == 0 => (0, 0),
        false if others == 0 => (drawn, drawn),
        false => (0, drawn),
    };
    let logs = log_factorials(population.max(drawn));
    let choose = |n: usize, k: usize| logs[n] - logs[k] - logs[n - k];
    let log_probability = |k: usize| match drawn <= population {
        true => choose(kind, k) + choose(others, drawn - k) - choose(population, drawn),
        false if first == last => 0.0,
        false => {
            let share = kind as f64 / population as f64;
            choose(drawn, k) + k as f64 * share.ln() + (drawn - k) as f64 * (1.0 - share).ln()
        }
    };
    let (mut below, mut bounds) = (0.0, [None; 2]);
    for k in first..=last {
        below += log_probability(k).exp();
        for (bound, at) in bounds.iter_mut().zip([TAIL, 1.0 - TAIL]) {
            if bound.is_none() && below >= at {
                *bound = Some(k);
            }
        }
    }
    // Rounding may leave the sum of all below the upper mark.
    bounds.map(|bound| bound.unwrap_or(last))
}

/// The natural logarithms of 0! to n!.
fn log_factorials(n: usize) -> Vec<f64> {
    let mut logs = vec![0.0];
    let mut sum = 0.0;
    for k in 1..=n {
        sum += (k as f64).ln();
        logs.push(sum);
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_of_everybody_holds_everybody_and_of_nobody_none() {
        assert_eq!(middle(1_500, 297, 1_500), [297, 297]);
        assert_eq!(middle(1_500, 297, 0), [0, 0]);
        assert_eq!(middle(10, 0, 5), [0, 0]);
        assert_eq!(middle(10, 10, 5), [5, 5]);
        assert_eq!((middle(10, 0, 50), middle(10, 10, 50)), ([0, 0], [50, 50]));
    }

    #[test]
    fn bounds_are_those_that_counting_every_draw_gives() {
        // Of 6 people 3 are of the kind, 3 are drawn: 1, 9, 9 and 1 of 20 draws hold 0, 1, 2, 3; 5 % in each tail.
        assert_eq!(middle(6, 3, 3), [0, 3]);
        // Of 10 people 5, 5 drawn: 1, 25, 100, 100, 25, 1 of 252; 0.4 % hold none.
        assert_eq!(middle(10, 5, 5), [1, 4]);
        // Mean 704.5, standard deviation 4.92.
        let [low, high] = middle(1_500, 757, 1_396);
        assert_eq!((low, high), (695, 714));
        // Binomial of 100 at one half: scipy.stats.binom(100, 0.5).ppf([0.025, 0.975]) is 40, 60.
        assert_eq!(middle(2, 1, 100), [40, 60]);
    }
}
