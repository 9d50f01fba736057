//! Expressions of a template, with every operator that Python decides otherwise as a filter of [`operators`](super::operators).
//!
//! Filters are postfix, so that a long chain of operators stays as flat as it was.

use std::fmt::Write;

use minijinja::machinery::ast::{
    BinOp, BinOpKind, Compare, CompareOpKind, Const, Expr, UnaryOpKind,
};
use minijinja::value::ValueKind;

use super::rewrite::Printer;

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
