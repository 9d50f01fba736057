//! The template engine, set up as transformers sets up its own, within bounds of time and memory.

use std::io;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Value, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, ErrorKind, State, machinery};

use super::python_values::text;
use super::{attributes, operators, python_filters, python_groups, python_json, rewrite, tags};
use crate::data::format::fields::shorten;
use crate::error::InputError;
use crate::error::bounded::bounded;

/// Most steps of a template; one that takes more is refused as endless.
const FUEL: u64 = 10_000_000;

/// The longest source of a template, in bytes; those of the hub's models have up to twenty thousand. The compiler takes time
/// quadratic in the longest expression.
pub(super) const LONGEST_SOURCE: usize = 64 << 10;

/// Stack for compiling the longest source, in bytes; pages that are not used take no memory.
const COMPILER_STACK: usize = 256 << 20;

/// Most memory that compiling a template or rendering one conversation takes, in bytes.
const MOST_MEMORY: usize = 512 << 20;

/// Largest width or precision of a format.
const WIDEST_FORMAT: u64 = 100_000;

/// An engine without templates: blocks on lines of their own leave no line behind, Python's methods, `tojson` and `raise_exception`.
pub(super) fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(|state, value, method, args| {
        if let Some(format) = value.as_str().filter(|_| method == "format") {
            check_widths(format, '{')?;
        }
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
    });
    environment.add_filter(
        "format",
        |state: &mut State<'_, '_>, format: &Value, args: Rest<ValueOrKwargs>| {
            check_widths(format.as_str().unwrap_or_default(), '%')?;
            minijinja::filters::format(state, format, args)
        },
    );
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => Ok(out.write_str(text)?),
        None => Ok(out.write_str(&text(value)?)?),
    });
    environment.add_filter("tojson", python_json::filter);
    python_filters::add(&mut environment);
    python_groups::add(&mut environment);
    attributes::add(&mut environment);
    operators::add(&mut environment);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<(), minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    Ok(environment)
}

fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// Adds a template to `environment`. `name`: for messages.
pub(super) fn compile(
    environment: &mut Environment<'static>,
    title: String,
    source: &str,
    name: &str,
) -> Result<()> {
    if source.len() > LONGEST_SOURCE {
        let found = source.len();
        crate::bail_input!(
            "{name}: a template of {found} bytes, expected at most {LONGEST_SOURCE}"
        );
    }
    let refused = |construct: String| {
        InputError::new(format!(
            "{name}: has {construct}, which is not rendered here as transformers does"
        ))
        .hint("write it otherwise, or render the pairs yourself, as plain strings")
    };
    let source = tags::as_the_engine_reads(source).map_err(refused)?;
    let compile = || -> Result<()> {
        let of_engine = |error| InputError::new(format!("{name}: not a template: {error}"));
        let parsed = machinery::parse(&source, "template", syntax()?).map_err(of_engine)?;
        let rewritten = rewrite::rewritten(&parsed).map_err(refused)?;
        Ok(environment.add_template_owned(title, rewritten).map_err(of_engine)?)
    };
    // The compiler goes as deep as an expression is long.
    let compiled = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(COMPILER_STACK);
        Ok::<_, io::Error>(thread.spawn_scoped(scope, || bounded_for(name, compile))?.join())
    });
    match compiled.context("cannot start a thread")? {
        Ok(compiled) => compiled,
        Err(_) => crate::bail_input!("{name}: not a template"),
    }
}

/// `call` with the template `name`, in [`MOST_MEMORY`] more than there is.
pub(super) fn bounded_for<T>(name: &str, call: impl FnOnce() -> T) -> T {
    let most = MOST_MEMORY >> 20;
    let message = format!("{name}: takes more than {most} MiB of memory for one conversation");
    let error = InputError::new(message)
        .hint("it writes far more than it is given; take the template that came with the model");
    bounded(MOST_MEMORY, &error, call)
}

/// Refuses a format such as `%99999999999d`, which asks for that many characters. `open`: what begins a field of it, `%` or `{`.
fn check_widths(format: &str, open: char) -> Result<(), minijinja::Error> {
    for field in format.split(open).skip(1) {
        let end = match open {
            '{' => field.find('}'),
            _ => {
                let named = field.starts_with('(').then(|| field.find(')')).flatten().unwrap_or(0);
                let flag = |c: char| c.is_ascii_digit() || "()-+ #.*".contains(c);
                field[named..].find(|c| !flag(c)).map(|end| named + end)
            }
        };
        let field = &field[..end.unwrap_or(field.len())];
        let mut numbers = field.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
        let is_wide = |run: &&str| run.parse().map_or(true, |width: u64| width > WIDEST_FORMAT);
        if let Some(width) = numbers.find(is_wide) {
            let message = format!("a format of the width {}", shorten(width));
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::date;
    use super::super::tests::template;
    use super::super::{Variables, message};
    use super::{compile, environment};

    #[test]
    fn a_format_of_any_width_is_refused_and_other_numbers_are_not() {
        let render = |source: &str| template(source).render(&[], &Variables::default(), false);
        for source in [
            "{{ '%99999999999d' | format(1) }}",
            "{{ '%(x)099999999999d' | format(x=1) }}",
            "{{ '%.99999999999f' | format(1.5) }}",
            "{{ '{:>99999999999}'.format(1) }}",
        ] {
            let error = render(source).unwrap_err().to_string();
            assert!(error.contains("a format of the width "), "{source}: {error}");
        }
        assert_eq!(render("{{ '99999999999 %03d' | format(1) }}").unwrap(), "99999999999 001");
        assert_eq!(render("{{ '{0} 99999999999'.format(1) }}").unwrap(), "1 99999999999");
    }

    #[test]
    fn a_template_renders_as_jinja2_does_or_is_refused() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/golden/jinja.json")).unwrap();
        let mut wrong = Vec::new();
        for row in golden["templates"].as_array().unwrap() {
            let source = row[0].as_str().unwrap();
            let mut engine = environment().unwrap();
            date::add(&mut engine, "2026-11-27".parse().unwrap());
            let rendered = compile(&mut engine, "t".to_owned(), source, "t").ok().and_then(|()| {
                let template = engine.get_template("t").ok()?;
                template.render(minijinja::value::Serde(&golden["variables"])).ok()
            });
            let expected = row[1].as_str().filter(|_| row[2] == true);
            if rendered.as_deref() != expected {
                wrong.push(format!("{source}: {rendered:?}, expected {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_mark_of_the_assistants_text_changes_nothing_of_it() {
        let source = "{% for m in messages %}\n{% if m.role == 'assistant' %}\n  {% generation %}\n{{ m.content }}{% set x = 1 %}!{% endgeneration %}\n\
            {{ x }}{% else %}{{ m.content + '\\n' }}{% endif %}{% endfor %}";
        let rendered = template(source).render(
            &[message("user", "q"), message("assistant", "a")],
            &Variables::default(),
            false,
        );
        // As transformers 5.23 renders it, where what the block sets is gone after it.
        assert_eq!(rendered.unwrap(), "q\na!");
    }

    #[test]
    fn a_loop_is_left_and_continued_as_jinja_does() {
        let source = "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}{% if m.role == 'end' %}{% break %}{% endif %}{{ m.content }}{% endfor %}";
        let conversation =
            [("user", "a"), ("tool", "b"), ("user", "c"), ("end", "d"), ("user", "e")];
        let conversation = conversation.map(|(role, content)| message(role, content));
        let rendered = template(source).render(&conversation, &Variables::default(), false);
        assert_eq!(rendered.unwrap(), "ac");
    }
}
