//! Filters and calls of a template's expressions, and their arguments.

use std::fmt::Write;

use minijinja::machinery::ast::{Call, CallArg, Expr, Filter};

use super::attributes;
use super::rewrite::Printer;

/// Filters of the engine that read all of what they are given, nothing for none.
const READERS: [&str; 9] =
    ["list", "map", "select", "reject", "selectattr", "rejectattr", "sum", "batch", "slice"];

/// Filters whose result Python computes when it is read, once.
const LAZY: [&str; 9] =
    ["map", "select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "items"];

/// Filters of the engine that read an attribute of each item, by its key alone.
const BY_KEY: [&str; 4] = ["map", "selectattr", "rejectattr", "sum"];

impl<'a> Printer<'a> {
    pub(super) fn filter(&mut self, filter: &Filter<'a>) -> Result<(), String> {
        if filter.name.starts_with('_') {
            return Err(format!("the filter `{}`", filter.name));
        }
        if let Some(expr) = &filter.expr {
            self.operand(expr)?;
            self.put("|");
        }
        if READERS.contains(&filter.name) {
            self.put("_iter|");
        }
        let is_method = |argument: &CallArg<'a>| match argument {
            CallArg::Pos(Expr::Const(name)) | CallArg::Kwarg("attribute", Expr::Const(name)) => {
                let path = name.value.as_str().unwrap_or_default();
                path.split('.').any(attributes::is_method_of_a_dict)
            }
            _ => false,
        };
        if BY_KEY.contains(&filter.name) && filter.args.iter().any(is_method) {
            return Err(format!(
                "the filter `{}` of an attribute that is a method of a mapping",
                filter.name
            ));
        }
        self.put(filter.name);
        self.arguments(&filter.args, None)?;
        if LAZY.contains(&filter.name) {
            self.put("|_lazy");
        }
        Ok(())
    }

    /// The filters of `{% filter %}` and of `{% set %}`, which have nothing before them.
    pub(super) fn filter_chain(&mut self, chain: &Expr<'a>) -> Result<(), String> {
        match chain {
            Expr::Filter(filter) => self.filter(filter),
            other => Err(format!("a {} for a filter", other.description())),
        }
    }

    pub(super) fn call(&mut self, call: &Call<'a>) -> Result<(), String> {
        match &call.expr {
            Expr::Var(name) => {
                self.names.push(name.id);
                self.put(name.id);
                self.arguments(&call.args, Some(name.id))
            }
            Expr::GetAttr(method) if !matches!(&method.expr, Expr::Var(v) if v.id == "self") => {
                self.operand(&method.expr)?;
                let _ = write!(self.text, "|_call(\"{}\",", method.name);
                self.listed(&call.args, None)?;
                self.put(")");
                Ok(())
            }
            Expr::GetAttr(block) => {
                let _ = write!(self.text, "self.{}", block.name);
                self.arguments(&call.args, None)
            }
            other => {
                self.put("(");
                self.expr(other)?;
                self.put(")");
                self.arguments(&call.args, None)
            }
        }
    }

    /// The arguments of a call in parentheses. `called`: the name of a macro or function, if it is one.
    pub(super) fn arguments(
        &mut self,
        arguments: &[CallArg<'a>],
        called: Option<&str>,
    ) -> Result<(), String> {
        self.put("(");
        self.listed(arguments, called)?;
        self.put(")");
        Ok(())
    }

    fn listed(&mut self, arguments: &[CallArg<'a>], called: Option<&str>) -> Result<(), String> {
        for (place, argument) in arguments.iter().enumerate() {
            let (before, value) = match argument {
                CallArg::Pos(value) => (String::new(), value),
                CallArg::Kwarg(name, value) => (format!("{name}="), value),
                CallArg::PosSplat(value) => ("*".to_owned(), value),
                CallArg::KwargSplat(value) => ("**".to_owned(), value),
            };
            self.put(&before);
            let has_default = match argument {
                CallArg::Pos(_) => self.has_default(called, |parameters| parameters.get(place)),
                CallArg::Kwarg(name, _) => {
                    self.has_default(called, |parameters| parameters.iter().find(|p| *p == name))
                }
                _ => false,
            };
            if has_default || (called == Some("loop") && matches!(argument, CallArg::Pos(_))) {
                self.operand(value)?;
                self.put(if has_default { "|_given" } else { "|_iter" });
            } else {
                self.expr(value)?;
            }
            self.put(",");
        }
        Ok(())
    }

    /// Whether a macro `called` gives the parameter that `find` picks a default, which the engine takes for an undefined argument too.
    fn has_default<'b>(
        &'b self,
        called: Option<&str>,
        find: impl Fn(&'b [&'a str]) -> Option<&'b &'a str>,
    ) -> bool {
        self.macros.iter().filter(|known| Some(known.name) == called).any(|known| {
            let required = known.parameters.len() - known.defaults;
            find(&known.parameters).is_some_and(|name| known.parameters[required..].contains(name))
        })
    }
}
