//! Expressions of a template, with every operator that Python decides otherwise as a filter of [`operators`](super::operators).
//!
//! Filters are postfix, so that a long chain of operators stays as flat as it was.

use std::fmt::Write;

use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, Compare, CompareOpKind, Const, Expr, Filter, UnaryOpKind,
};
use minijinja::value::ValueKind;

use super::operators;
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
    /// An expression between signs of its own.
    pub(super) fn expr(&mut self, expr: &Expr<'a>) -> Result<(), String> {
        match expr {
            Expr::BinOp(op) => self.binary(op),
            Expr::Compare(compare) => self.compare(compare),
            Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => {
                self.put("not ");
                self.operand(&op.expr)
            }
            // A filter after `-x` would be applied to the negated value.
            Expr::UnaryOp(op) => {
                self.put("-(");
                self.expr(&op.expr)?;
                self.put(")");
                Ok(())
            }
            Expr::IfExpr(choice) => {
                self.operand(&choice.true_expr)?;
                self.put(" if ");
                self.operand(&choice.test_expr)?;
                if let Some(other) = &choice.false_expr {
                    self.put(" else ");
                    self.operand(other)?;
                }
                Ok(())
            }
            Expr::Test(test) => {
                self.operand(&test.expr)?;
                let _ = write!(self.text, " is {}", test.name);
                if test.args.is_empty() { Ok(()) } else { self.arguments(&test.args, None) }
            }
            postfix => self.operand(postfix),
        }
    }

    /// An expression to which a filter can be applied.
    pub(super) fn operand(&mut self, expr: &Expr<'a>) -> Result<(), String> {
        match expr {
            Expr::Var(name) => {
                self.names.push(name.id);
                self.put(name.id);
                Ok(())
            }
            Expr::Const(value) => self.constant(value),
            Expr::List(list) => self.items("[", &list.items, "]"),
            Expr::Tuple(tuple) => self.items("(", &tuple.items, ")"),
            Expr::Map(map) => {
                self.put("{");
                for (key, value) in map.keys.iter().zip(&map.values) {
                    self.expr(key)?;
                    self.put(":");
                    self.expr(value)?;
                    self.put(",");
                }
                self.put("}");
                Ok(())
            }
            Expr::GetAttr(attribute) => {
                self.operand(&attribute.expr)?;
                let _ = write!(self.text, "|_attr(\"{}\")", attribute.name);
                Ok(())
            }
            Expr::GetItem(item) => {
                self.operand(&item.expr)?;
                self.put("|_item(");
                self.expr(&item.subscript_expr)?;
                self.put(")");
                Ok(())
            }
            Expr::Slice(slice) => {
                self.operand(&slice.expr)?;
                self.put("|_slice(");
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    match bound {
                        Some(bound) => self.expr(bound)?,
                        None => self.put("none"),
                    }
                    self.put(",");
                }
                self.put(")");
                Ok(())
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Call(call) => self.call(call),
            other => {
                self.put("(");
                self.expr(other)?;
                self.put(")");
                Ok(())
            }
        }
    }

    fn items(&mut self, open: &str, items: &[Expr<'a>], close: &str) -> Result<(), String> {
        self.put(open);
        for item in items {
            self.expr(item)?;
            self.put(",");
        }
        self.put(close);
        Ok(())
    }

    fn binary(&mut self, op: &BinOp<'a>) -> Result<(), String> {
        let (sign, filter) = match op.op {
            BinOpKind::ScAnd => (" and ", None),
            BinOpKind::ScOr => (" or ", None),
            BinOpKind::Add => ("", Some("_add")),
            BinOpKind::Sub => (" - ", None),
            BinOpKind::Mul => (" * ", None),
            BinOpKind::Div => (" / ", None),
            BinOpKind::FloorDiv => (" // ", None),
            BinOpKind::Pow => (" ** ", None),
            BinOpKind::Eq => ("", Some("_eq")),
            BinOpKind::Ne => ("", Some("_ne")),
            BinOpKind::Rem => ("", Some("_mod")),
            BinOpKind::Concat => ("", Some("_text")),
            BinOpKind::In => ("", Some("_in")),
            BinOpKind::Lt => ("", Some("_lt")),
            BinOpKind::Lte => ("", Some("_le")),
            BinOpKind::Gt => ("", Some("_gt")),
            BinOpKind::Gte => ("", Some("_ge")),
        };
        if let Some(filter) = filter {
            self.infix(&op.left, filter, &op.right)
        } else {
            match &op.left {
                // Chains such as `a or b or c` group to the left anyway.
                Expr::BinOp(left)
                    if std::mem::discriminant(&left.op) == std::mem::discriminant(&op.op) =>
                {
                    self.binary(left)?;
                }
                left => self.operand(left)?,
            }
            self.put(sign);
            self.operand(&op.right)
        }
    }

    /// `left|filter(right)`.
    fn infix(&mut self, left: &Expr<'a>, filter: &str, right: &Expr<'a>) -> Result<(), String> {
        match left {
            Expr::BinOp(op)
                if !matches!(
                    op.op,
                    BinOpKind::ScAnd
                        | BinOpKind::ScOr
                        | BinOpKind::Sub
                        | BinOpKind::Mul
                        | BinOpKind::Div
                        | BinOpKind::FloorDiv
                        | BinOpKind::Pow
                ) =>
            {
                self.binary(op)?;
            }
            left => self.operand(left)?,
        }
        let _ = write!(self.text, "|{filter}(");
        self.expr(right)?;
        self.put(")");
        Ok(())
    }

    /// `a < b < c` as `a < b and b < c`.
    fn compare(&mut self, compare: &Compare<'a>) -> Result<(), String> {
        let mut left = &compare.expr;
        for (place, op) in compare.ops.iter().enumerate() {
            if place > 0 && matches!(left, Expr::Call(_)) {
                return Err("a comparison of three with a call in the middle".to_owned());
            }
            let (negation, filter) = match op.op {
                CompareOpKind::Eq => ("", "_eq"),
                CompareOpKind::Ne => ("", "_ne"),
                CompareOpKind::Lt => ("", "_lt"),
                CompareOpKind::Lte => ("", "_le"),
                CompareOpKind::Gt => ("", "_gt"),
                CompareOpKind::Gte => ("", "_ge"),
                CompareOpKind::In => ("", "_in"),
                CompareOpKind::NotIn => ("not ", "_in"),
            };
            self.put(if place > 0 { " and " } else { "" });
            self.put(negation);
            self.infix(left, filter, &op.expr)?;
            left = &op.expr;
        }
        Ok(())
    }

    fn filter(&mut self, filter: &Filter<'a>) -> Result<(), String> {
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
                path.split('.').any(operators::is_method_of_a_dict)
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

    fn call(&mut self, call: &Call<'a>) -> Result<(), String> {
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

    fn constant(&mut self, constant: &Const) -> Result<(), String> {
        match (constant.value.as_str(), constant.value.kind()) {
            (Some(text), _) => self.string(text),
            (None, ValueKind::Number) if !constant.value.is_integer() => {
                let float = f64::try_from(constant.value.clone()).map_err(|e| e.to_string())?;
                if !float.is_finite() {
                    return Err("a number too large for a float".to_owned());
                }
                let _ = write!(self.text, "{float:?}");
            }
            (None, _) => {
                let _ = write!(self.text, "{}", constant.value);
            }
        }
        Ok(())
    }

    /// A string literal.
    pub(super) fn string(&mut self, text: &str) {
        self.put("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.text.push('\\');
                    self.text.push(c);
                }
                c => self.text.push(c),
            }
        }
        self.put("\"");
    }
}
