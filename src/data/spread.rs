//! Some of many places, evenly spaced.

/// At most `most` of `length` places, spread evenly over them, so that nobody chose them.
pub fn spread(length: usize, most: usize) -> impl Iterator<Item = usize> + Clone {
    let count = most.min(length);
    (0..count).map(move |i| i * length / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_the_whole_list() {
        let places = |length, most| spread(length, most).collect::<Vec<_>>();
        assert_eq!(places(10, 3), [0, 3, 6]);
        assert_eq!(places(3, 20), [0, 1, 2]);
        assert_eq!((places(0, 5), places(5, 0)), (vec![], vec![]));
    }
}
