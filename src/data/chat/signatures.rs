//! The macros of a template: what a call must know of each before it is rewritten.

use minijinja::machinery::ast::{Expr, Macro, Stmt};

/// The macros of a template, wherever they stand: name, parameters and how many of them have a default.
pub(super) fn macros<'a>(body: &[Stmt<'a>], found: &mut Vec<Signature<'a>>) {
    for statement in body {
        match statement {
            Stmt::Template(template) => macros(&template.children, found),
            Stmt::ForLoop(for_loop) => {
                macros(&for_loop.body, found);
                macros(&for_loop.else_body, found);
            }
            Stmt::IfCond(condition) => {
                macros(&condition.true_body, found);
                macros(&condition.false_body, found);
            }
            Stmt::WithBlock(with) => macros(&with.body, found),
            Stmt::SetBlock(set) => macros(&set.body, found),
            Stmt::Macro(declared) => {
                found.push(Signature::of(declared));
                macros(&declared.body, found);
            }
            Stmt::CallBlock(call) => {
                found.push(Signature::of(&call.macro_decl));
                macros(&call.macro_decl.body, found);
            }
            _ => {}
        }
    }
}

/// The parameters' names.
pub(super) fn parameters<'a>(declared: &Macro<'a>) -> Vec<&'a str> {
    let name = |parameter: &Expr<'a>| match parameter {
        Expr::Var(name) => Some(name.id),
        _ => None,
    };
    declared.args.iter().filter_map(name).collect()
}

/// What a call of a macro must know of it.
pub(super) struct Signature<'a> {
    pub(super) name: &'a str,
    pub(super) parameters: Vec<&'a str>,
    pub(super) defaults: usize,
}

impl<'a> Signature<'a> {
    fn of(declared: &Macro<'a>) -> Self {
        let (parameters, defaults) = (parameters(declared), declared.defaults.len());
        Self { name: declared.name, parameters, defaults }
    }
}
