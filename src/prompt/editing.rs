//! Prompts that change while a picture is drawn: `[cat:dog:0.5]`, `[cat|dog]`. A1111's
//! `prompt_parser.get_learned_conditioning_prompt_schedules`.

use std::collections::BTreeSet;

/// Brackets within brackets that are followed; what is deeper is text.
const DEEPEST: usize = 64;

/// The model calls that a prompt's texts are spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Of one pass.
    pub count: usize,
    /// Of the pass before it, if it is a second one: numbers with a point go on from 1 there, whole numbers
    /// from these calls.
    pub before: Option<usize>,
}

impl From<usize> for Calls {
    /// Of a picture's only pass, or of its first.
    fn from(count: usize) -> Self {
        Self { count, before: None }
    }
}

impl Calls {
    /// `int()` of what stands for a step: with a point it is a part of the steps.
    fn step(self, number: &str) -> usize {
        let value: f64 = number.parse().unwrap_or(0.0);
        let value = match (number.contains('.'), self.before) {
            (true, None) => value * self.count as f64,
            (true, Some(_)) => (value - 1.0) * self.count as f64,
            (false, before) => value - before.unwrap_or(0) as f64,
        };
        (value.max(0.0) as usize).min(self.count)
    }
}

/// The texts of a prompt, and until when each of them holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The last step of each, ascending, and its text.
    pub entries: Vec<(usize, String)>,
}

impl Timeline {
    /// The texts of a picture of this many steps; where a sampler calls the model twice a step, of twice as
    /// many.
    pub fn new(prompt: &str, steps: impl Into<Calls>) -> Self {
        let steps = steps.into();
        let nodes = Reader::read(prompt);
        let mut ends = BTreeSet::from([steps.count]);
        nodes.iter().for_each(|node| node.ends(steps, &mut ends));
        let text = |end: usize| {
            let mut text = String::new();
            nodes.iter().for_each(|node| node.say(steps, end, &mut text));
            text
        };
        Self { entries: ends.into_iter().map(|end| (end, text(end))).collect() }
    }

    /// Which entry a model call takes, counted from 0: the first that doesn't end before it. So a text holds
    /// for one call more than its end says, as in A1111.
    pub fn at_call(&self, call: usize) -> usize {
        self.entries.iter().position(|(end, _)| call <= *end).unwrap_or(0)
    }

    /// The texts that never show, since they begin after the last step: `[cat:1.3]`, as it stands in the
    /// prompt, which mostly meant a weight.
    pub(super) fn never(prompt: &str, steps: Calls) -> Vec<String> {
        let mut found = Vec::new();
        Reader::read(prompt).iter().for_each(|node| node.never(steps, &mut found));
        found
    }
}

/// A piece of a prompt.
enum Node {
    Text(String),
    Group(Vec<Node>),
    /// `[before:after:number]`.
    At(Vec<Node>, Vec<Node>, String),
    /// `[a|b|c]`.
    Turns(Vec<Vec<Node>>),
}

impl Node {
    /// The steps after which the text changes.
    fn ends(&self, steps: Calls, ends: &mut BTreeSet<usize>) {
        match self {
            Self::Text(_) => {}
            Self::Group(nodes) => nodes.iter().for_each(|node| node.ends(steps, ends)),
            Self::At(before, after, number) => {
                ends.extend(Some(steps.step(number)).filter(|end| *end >= 1));
                before.iter().chain(after).for_each(|node| node.ends(steps, ends));
            }
            Self::Turns(turns) => {
                ends.extend(1..=steps.count);
                turns.iter().flatten().for_each(|node| node.ends(steps, ends));
            }
        }
    }

    /// The text at a step, counted from 1.
    fn say(&self, steps: Calls, at: usize, text: &mut String) {
        let nodes = match self {
            Self::Text(more) => return text.push_str(more),
            Self::Group(nodes) => nodes,
            Self::At(before, after, number) => {
                if at <= steps.step(number) {
                    before
                } else {
                    after
                }
            }
            Self::Turns(turns) => &turns[at.saturating_sub(1) % turns.len()],
        };
        nodes.iter().for_each(|node| node.say(steps, at, text));
    }

    fn never(&self, steps: Calls, found: &mut Vec<String>) {
        match self {
            Self::Text(_) => {}
            Self::Group(nodes) => nodes.iter().for_each(|node| node.never(steps, found)),
            Self::At(before, after, number) => {
                if before.is_empty() && steps.step(number) >= steps.count {
                    let mut text = String::new();
                    after.iter().for_each(|node| node.say(steps, steps.count, &mut text));
                    found.push(format!("[{text}:{number}]"));
                }
            }
            Self::Turns(turns) => {
                turns.iter().flatten().for_each(|node| node.never(steps, found));
            }
        }
    }
}

/// Reads by recursive descent: each method gives what it has read from a place, and the place after it.
struct Reader {
    signs: Vec<char>,
}

impl Reader {
    /// The pieces of a prompt. A bracket that closes or opens nothing is text; a `|` outside brackets, or a
    /// backslash at the end, makes text of all of it.
    fn read(prompt: &str) -> Vec<Node> {
        let reader = Self { signs: prompt.chars().collect() };
        let (mut nodes, mut at) = (Vec::new(), 0);
        while let Some(sign) = reader.signs.get(at) {
            if let Some((node, end)) = reader.node(at, 0) {
                nodes.push(node);
                at = end;
            } else if is_bracket(*sign) {
                nodes.push(Node::Text(sign.to_string()));
                at += 1;
            } else {
                return vec![Node::Text(prompt.into())];
            }
        }
        nodes
    }

    fn sign(&self, at: usize) -> Option<char> {
        self.signs.get(at).copied()
    }

    fn nodes(&self, mut at: usize, depth: usize) -> (Vec<Node>, usize) {
        let mut nodes = Vec::new();
        while let Some((node, end)) = self.node(at, depth) {
            nodes.push(node);
            at = end;
        }
        (nodes, at)
    }

    fn node(&self, at: usize, depth: usize) -> Option<(Node, usize)> {
        if depth > DEEPEST {
            return None;
        }
        match self.sign(at)? {
            '(' => self.round(at + 1, depth),
            '[' => self.square(at + 1, depth),
            _ => self.plain(at),
        }
    }

    /// Any signs but brackets, colons and bars, or one of those after a backslash.
    fn plain(&self, from: usize) -> Option<(Node, usize)> {
        let mut at = from;
        while let Some(sign) = self.sign(at) {
            match sign {
                '\\' if self.sign(at + 1).is_some_and(|next| next != '\n') => at += 2,
                '\\' | '|' => break,
                sign if is_bracket(sign) => break,
                _ => at += 1,
            }
        }
        (at > from).then(|| (Node::Text(self.signs[from..at].iter().collect()), at))
    }

    /// `prompt)` or `prompt:prompt)`, which stay as they are.
    fn round(&self, from: usize, depth: usize) -> Option<(Node, usize)> {
        let text = |text: &str| Node::Text(text.into());
        let (first, at) = self.nodes(from, depth + 1);
        match self.sign(at)? {
            ')' => Some((Node::Group(vec![text("("), Node::Group(first), text(")")]), at + 1)),
            ':' => {
                let (second, at) = self.nodes(at + 1, depth + 1);
                let inside = [text("("), Node::Group(first), text(":"), Node::Group(second)];
                let whole = inside.into_iter().chain([text(")")]).collect();
                (self.sign(at)? == ')').then_some((Node::Group(whole), at + 1))
            }
            _ => None,
        }
    }

    /// `prompt]`, `prompt|prompt]`, `prompt:number]` or `prompt:prompt:number]`.
    fn square(&self, from: usize, depth: usize) -> Option<(Node, usize)> {
        let text = |text: &str| Node::Text(text.into());
        let (first, at) = self.nodes(from, depth + 1);
        match self.sign(at)? {
            ']' => Some((Node::Group(vec![text("["), Node::Group(first), text("]")]), at + 1)),
            '|' => self.turns(first, at, depth),
            ':' => {
                if let Some((number, end)) = self.number(at + 1) {
                    return Some((Node::At(Vec::new(), first, number), end));
                }
                let (second, at) = self.nodes(at + 1, depth + 1);
                let (number, end) =
                    (self.sign(at)? == ':').then(|| self.number(at + 1)).flatten()?;
                Some((Node::At(first, second, number), end))
            }
            _ => None,
        }
    }

    fn turns(&self, first: Vec<Node>, mut at: usize, depth: usize) -> Option<(Node, usize)> {
        let mut turns = vec![first];
        while self.sign(at) == Some('|') {
            let (turn, end) = self.nodes(at + 1, depth + 1);
            turns.push(turn);
            at = end;
        }
        (self.sign(at)? == ']').then_some((Node::Turns(turns), at + 1))
    }

    /// `number]` with blanks around the number: a sign, a point and an exponent are allowed.
    fn number(&self, from: usize) -> Option<(String, usize)> {
        let of_number = |sign: &char| sign.is_ascii_digit() || "+-.eE".contains(*sign);
        let blanks = |from: usize| {
            from + self.signs[from..].iter().take_while(|sign| sign.is_whitespace()).count()
        };
        let begin = blanks(from);
        let end = begin + self.signs[begin..].iter().take_while(|sign| of_number(sign)).count();
        let close = blanks(end);
        let number: String = self.signs[begin..end].iter().collect();
        let is_number = number.parse::<f64>().is_ok_and(f64::is_finite);
        (is_number && self.sign(close)? == ']').then_some((number, close + 1))
    }
}

fn is_bracket(sign: char) -> bool {
    ['[', ']', '(', ')', ':'].contains(&sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_after_the_end_is_found() {
        assert_eq!(Timeline::never("a [cat:1.3], [dog:0.3] (red:1.2)", 20.into()), ["[cat:1.3]"]);
    }

    #[test]
    fn any_number_of_brackets_is_read() {
        for sign in ["[", "(", "[a:", "(a:", "[a|", ":", "]"] {
            let prompt = sign.repeat(2_000);
            let timeline = Timeline::new(&prompt, 20);
            assert_eq!(timeline.entries, [(20, prompt)]);
        }
    }
}
