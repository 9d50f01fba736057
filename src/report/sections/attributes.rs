//! Names of groups: an attribute of a person or a file with a label, such as gender and `Female`.

/// An attribute as a heading: `English proficiency`.
pub fn attribute_title(attribute: &str) -> String {
    if let Some(value) = attribute.strip_prefix("value_") {
        return format!("Stated value: {value}");
    }
    let words = attribute_words(attribute).replace("english", "English");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An attribute in a sentence: `marital status`.
pub fn attribute_words(attribute: &str) -> String {
    attribute.replace('_', " ")
}

/// A group by attribute and label: `value safety: high`.
pub fn group_name(attribute: &str, label: &str) -> String {
    format!("{}: {label}", attribute_words(attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_as_headings() {
        assert_eq!(attribute_title("english_proficiency"), "English proficiency");
        assert_eq!(attribute_title("age"), "Age");
        assert_eq!(attribute_title("value_safety"), "Stated value: safety");
    }
}
