//! Template source -> the same template with every operator, attribute, loop and lazy filter as a call of [`operators`](super::operators).
//!
//! The engine has hooks for filters and tests and none for its operators, which decide some cases otherwise than Python's do.

use std::fmt::Write;

use minijinja::machinery::ast::{Expr, Macro, Stmt};

use super::signatures::{Signature, macros, parameters};

/// The source that `template` stands for; an error names the construct that is refused.
pub(super) fn rewritten(template: &Stmt<'_>) -> Result<String, String> {
    let mut printer = Printer::default();
    macros(std::slice::from_ref(template), &mut printer.macros);
    printer.statement(template)?;
    Ok(printer.text)
}

/// Begins the names of the values of `{% with %}` before they are assigned.
const WITHIN: &str = "__with";

/// Writes a template anew. Expressions are in [`expressions`](super::expressions).
#[derive(Default)]
pub(super) struct Printer<'a> {
    pub(super) text: String,
    pub(super) macros: Vec<Signature<'a>>,
    /// Every variable read so far.
    pub(super) names: Vec<&'a str>,
    /// Loops, macros and blocks around the statement, whose variables a `block` does not see.
    depth: usize,
}

impl<'a> Printer<'a> {
    pub(super) fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn block(&mut self, body: &[Stmt<'a>]) -> Result<(), String> {
        body.iter().try_for_each(|statement| self.statement(statement))
    }

    /// A body with variables of its own.
    fn inner(&mut self, body: &[Stmt<'a>]) -> Result<(), String> {
        self.depth += 1;
        let done = self.block(body);
        self.depth -= 1;
        done
    }

    /// The parameters of a macro, without their defaults: the engine would compute those outside the macro, and for an argument
    /// that is given and not defined too.
    fn declare(&mut self, declared: &Macro<'a>) {
        let _ = write!(self.text, "({})", parameters(declared).join(","));
    }

    /// What begins the body of a macro: the defaults of the parameters that are not given.
    fn defaults(&mut self, declared: &Macro<'a>) -> Result<(), String> {
        let names = parameters(declared);
        let required = names.len() - declared.defaults.len();
        for (name, default) in names[required..].iter().zip(&declared.defaults) {
            let _ = write!(self.text, "{{%if {name} is undefined%}}{{%set {name}=");
            self.expr(default)?;
            let _ = write!(self.text, "%}}{{%else%}}{{%set {name}={name}|_taken%}}{{%endif%}}");
        }
        Ok(())
    }

    fn macro_body(&mut self, declared: &Macro<'a>) -> Result<(), String> {
        let read = self.names.len();
        self.defaults(declared)?;
        self.inner(&declared.body)?;
        let variadic = |name: &&&str| ["varargs", "kwargs"].contains(*name);
        match self.names[read..].iter().find(variadic) {
            Some(name) => Err(format!("a macro that reads `{name}`")),
            None => Ok(()),
        }
    }

    /// A tag with an expression in it.
    fn tag(&mut self, open: &str, expr: &Expr<'a>, close: &str) -> Result<(), String> {
        self.put(open);
        self.expr(expr)?;
        self.put(close);
        Ok(())
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Result<(), String> {
        match statement {
            Stmt::Template(template) => self.block(&template.children),
            Stmt::EmitRaw(raw) => {
                self.put("{{");
                self.string(raw.raw);
                self.put("}}");
                Ok(())
            }
            Stmt::EmitExpr(emit) => self.tag("{{ ", &emit.expr, " }}"),
            Stmt::ForLoop(for_loop) => {
                self.put("{%for ");
                self.target(&for_loop.target)?;
                self.put(" in ");
                self.operand(&for_loop.iter)?;
                self.put("|_iter");
                if let Some(filter) = &for_loop.filter_expr {
                    self.tag(" if ", filter, "")?;
                }
                self.put(if for_loop.recursive { " recursive%}" } else { "%}" });
                self.inner(&for_loop.body)?;
                if !for_loop.else_body.is_empty() {
                    self.put("{%else%}");
                    self.inner(&for_loop.else_body)?;
                }
                self.put("{%endfor%}");
                Ok(())
            }
            Stmt::IfCond(condition) => {
                self.put("{%if ");
                self.operand(&condition.expr)?;
                self.put("%}");
                self.block(&condition.true_body)?;
                if !condition.false_body.is_empty() {
                    self.put("{%else%}");
                    self.block(&condition.false_body)?;
                }
                self.put("{%endif%}");
                Ok(())
            }
            Stmt::WithBlock(with) => {
                // Jinja2 computes every value before the first is assigned; the engine computes one after the other.
                self.put("{%with ");
                for (place, (_, value)) in with.assignments.iter().enumerate() {
                    let _ =
                        write!(self.text, "{}{WITHIN}{place}=", if place > 0 { "," } else { "" });
                    self.expr(value)?;
                }
                self.put("%}{%with ");
                for (place, (target, _)) in with.assignments.iter().enumerate() {
                    self.put(if place > 0 { "," } else { "" });
                    self.target(target)?;
                    let _ = write!(self.text, "={WITHIN}{place}");
                }
                self.put("%}");
                self.inner(&with.body)?;
                self.put("{%endwith%}{%endwith%}");
                Ok(())
            }
            Stmt::Set(set) => {
                self.put("{%set ");
                self.target(&set.target)?;
                self.tag("=", &set.expr, "%}")
            }
            Stmt::SetBlock(set) => {
                self.put("{%set ");
                self.target(&set.target)?;
                if let Some(filter) = &set.filter {
                    self.put("|");
                    self.filter_chain(filter)?;
                }
                self.put("%}");
                self.block(&set.body)?;
                self.put("{%endset%}");
                Ok(())
            }
            Stmt::FilterBlock(filter) => {
                self.put("{%filter ");
                self.filter_chain(&filter.filter)?;
                self.put("%}");
                self.block(&filter.body)?;
                self.put("{%endfilter%}");
                Ok(())
            }
            Stmt::Macro(declared) => {
                let _ = write!(self.text, "{{%macro {}", declared.name);
                self.declare(declared);
                self.put("%}");
                self.macro_body(declared)?;
                self.put("{%endmacro%}");
                Ok(())
            }
            Stmt::CallBlock(call) => {
                self.put("{%call");
                self.declare(&call.macro_decl);
                let Expr::Var(called) = &call.call.expr else {
                    return Err("`{% call %}` of something that is not a macro's name".to_owned());
                };
                let _ = write!(self.text, " {}", called.id);
                self.arguments(&call.call.args, Some(called.id))?;
                self.put("%}");
                self.macro_body(&call.macro_decl)?;
                self.put("{%endcall%}");
                Ok(())
            }
            Stmt::Block(block) => {
                if self.depth > 0 {
                    return Err("`{% block %}` within another statement".to_owned());
                }
                let _ = write!(self.text, "{{%block {}%}}", block.name);
                self.inner(&block.body)?;
                self.put("{%endblock%}");
                Ok(())
            }
            Stmt::Continue(_) => {
                self.put("{%continue%}");
                Ok(())
            }
            Stmt::Break(_) => {
                self.put("{%break%}");
                Ok(())
            }
            Stmt::AutoEscape(_) => Err("the tag `autoescape`".to_owned()),
            Stmt::Do(_) => Err("the tag `do`, which transformers does not have".to_owned()),
            Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {
                Err("a tag that reads another template".to_owned())
            }
        }
    }

    /// What is assigned to: names, a tuple of them, or an attribute of a namespace.
    fn target(&mut self, target: &Expr<'a>) -> Result<(), String> {
        match target {
            Expr::Var(name) => self.put(name.id),
            Expr::GetAttr(attribute) => {
                self.target(&attribute.expr)?;
                let _ = write!(self.text, ".{}", attribute.name);
            }
            Expr::List(list) => {
                self.put("(");
                for name in &list.items {
                    self.target(name)?;
                    self.put(",");
                }
                self.put(")");
            }
            other => return Err(format!("an assignment to a {}", other.description())),
        }
        Ok(())
    }
}
