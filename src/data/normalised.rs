//! A text reduced to its words, so that two texts can be compared without case, punctuation and white space.

/// The letters and digits of `text` without case, a space between two words. Empty where `text` has neither.
///
/// Case is taken away letter by letter, by upper case first: `ß` is `ss`, and both small forms of `Σ` are one.
pub fn normalised(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_normalised_to_its_words() {
        assert_eq!(normalised("  Why -- is É so? \n"), "why is é so");
        assert_eq!(normalised("?!"), "");
        assert_eq!(normalised("don't"), "don t");
    }

    #[test]
    fn upper_and_lower_case_of_a_text_are_the_same() {
        for text in ["Ο δρόμος", "Straße 7", "naïve Ångström"] {
            assert_eq!(normalised(&text.to_uppercase()), normalised(text), "{text}");
            assert_eq!(normalised(&text.to_lowercase()), normalised(text), "{text}");
        }
        assert_ne!(normalised("Maß"), normalised("Mas"));
    }
}
