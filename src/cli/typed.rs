//! The command line as a shell would read it again, for the run folder.

use std::path::Path;

/// This process's command: the program without its folder, then its arguments as they were typed, quoted where a shell needs it.
pub(super) fn command() -> String {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    line(&arguments)
}

fn line(arguments: &[String]) -> String {
    let Some((program, rest)) = arguments.split_first() else { return String::new() };
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
    let words = rest.iter().map(|argument| quoted(argument));
    std::iter::once(name.unwrap_or_else(|| program.clone()))
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(argument: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:=,+@%".contains(letter);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_line_as_the_same_arguments() {
        let arguments = ["/opt/x/train", "--set", "data.train=[\"a b\"]", "--output", "it's", ""];
        let arguments = arguments.map(str::to_owned);
        assert_eq!(line(&arguments), r#"train --set 'data.train=["a b"]' --output 'it'\''s' ''"#);
    }
}
