//! The gradients of attention in tiles (see [`Pass::QueryGradient`](super::Pass::QueryGradient) and
//! [`Pass::KeyGradient`](super::Pass::KeyGradient) for the formulas).

use super::super::super::text::{Text, VEC4};
use super::{Tiled, column, row};

impl Tiled {
    pub(super) fn query_gradient(&self, t: &mut Text) {
        let [q, g] = ["q", "g"].map(|buffer| row(buffer, "lq"));
        let [k, v] = ["k", "v"].map(|buffer| column(buffer, "lk"));
        self.declare_sums(t, "x");
        t.lines((0..4).map(|i| format!("let st{i} = stats[sb + min(ri{i}, lq - 1u)];")));
        self.each_tile(t, "lk", |t| {
            self.multiply(t, "s", q, k, " * scale");
            self.multiply(t, "u", g, v, "");
            self.locate_columns(t);
            for i in 0..4 {
                let hidden = self.hidden("lk", &format!("cj > vec4<u32>(ri{i} + lk - lq)"));
                t.line(format!("let p{i} = select(exp(s{i} - st{i}.x), {VEC4}(), {hidden});"));
                t.line(format!("let d{i} = p{i} * (u{i} - st{i}.y);"));
            }
            t.line("workgroupBarrier();");
            self.pass_on(t, "d");
            self.add(t, "x", k);
        });
        self.each_row(t, "lq", |t, i| self.store(t, i, "dq", "x", " * scale"));
    }

    pub(super) fn key_gradient(&self, t: &mut Text) {
        let [k, v] = ["k", "v"].map(|buffer| row(buffer, "lk"));
        let [q, g] = ["q", "g"].map(|buffer| column(buffer, "lq"));
        for sum in ["x", "y"] {
            self.declare_sums(t, sum);
        }
        self.each_tile(t, "lq", |t| {
            self.multiply(t, "s", k, q, " * scale");
            self.multiply(t, "u", v, g, "");
            self.locate_columns(t);
            for e in 0..4 {
                t.line(format!("let st{e} = stats[sb + min(cj[{e}], lq - 1u)];"));
            }
            t.line("let lse = vec4(st0.x, st1.x, st2.x, st3.x);");
            t.line("let go = vec4(st0.y, st1.y, st2.y, st3.y);");
            for i in 0..4 {
                let later = format!("cj + vec4<u32>(lk) < vec4<u32>(ri{i} + lq)");
                let hidden = self.hidden("lq", &later);
                t.line(format!("let p{i} = select(exp(s{i} - lse), {VEC4}(), {hidden});"));
                t.line(format!("let d{i} = p{i} * (u{i} - go);"));
            }
            t.line("workgroupBarrier();");
            self.pass_on(t, "p");
            self.add(t, "y", g);
            t.line("workgroupBarrier();");
            self.pass_on(t, "d");
            self.add(t, "x", q);
        });
        self.each_row(t, "lk", |t, i| {
            self.store(t, i, "dk", "x", " * scale");
            self.store(t, i, "dv", "y", "");
        });
    }
}
