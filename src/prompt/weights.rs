//! Weights of words: `(word)` 1.1, `(word:1.3)` 1.3, `[word]` 1/1.1, what is within brackets within brackets
//! multiplied. A1111's `prompt_parser.parse_prompt_attention`.

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Words with one weight.
    Text(String, f64),
    /// `BREAK`: the next word begins another chunk.
    Break,
}

const ROUND: f64 = 1.1;
const SQUARE: f64 = 1.0 / ROUND;

/// The pieces of a prompt, at least one. Neighbours of one weight are one piece, so that `(red)(dish)` is one
/// word.
///
/// Differs from A1111's where that fails or is no use: a weight that is no number (`(a:1.2.3)`) is text, and
/// `BREAK` breaks within brackets too.
pub fn parse(prompt: &str) -> Vec<Part> {
    let mut reader = Reader::default();
    let signs: Vec<char> = prompt.chars().collect();
    let mut at = 0;
    while at < signs.len() {
        at = reader.read(&signs, at);
    }
    reader.end()
}

/// The text as it stands, with weight 1: brackets and `BREAK` are words.
pub fn plain(prompt: &str) -> Vec<Part> {
    vec![Part::Text(prompt.into(), 1.0)]
}

#[derive(Default)]
struct Reader {
    parts: Vec<Part>,
    /// Where in the parts each open bracket begins.
    rounds: Vec<usize>,
    squares: Vec<usize>,
}

impl Reader {
    /// Reads what is at a place, and gives the place after it.
    fn read(&mut self, signs: &[char], at: usize) -> usize {
        match signs[at] {
            '\\' => return self.escaped(signs, at),
            '(' => self.rounds.push(self.parts.len()),
            '[' => self.squares.push(self.parts.len()),
            ':' if !self.rounds.is_empty()
                && let Some((weight, end)) = weight_before_bracket(signs, at + 1) =>
            {
                let since = self.rounds.pop();
                self.multiply(since, weight);
                return end;
            }
            ')' if !self.rounds.is_empty() => {
                let since = self.rounds.pop();
                self.multiply(since, ROUND);
            }
            ']' if !self.squares.is_empty() => {
                let since = self.squares.pop();
                self.multiply(since, SQUARE);
            }
            _ => {
                let run = signs[at..].iter().take_while(|sign| !is_special(**sign)).count().max(1);
                self.words(&signs[at..at + run]);
                return at + run;
            }
        }
        at + 1
    }

    /// A bracket or a backslash after a backslash is itself; of any other sign the backslash goes.
    fn escaped(&mut self, signs: &[char], at: usize) -> usize {
        match signs.get(at + 1) {
            Some(sign @ ('(' | ')' | '[' | ']' | '\\')) => {
                self.parts.push(Part::Text(sign.to_string(), 1.0));
                at + 2
            }
            _ => at + 1,
        }
    }

    /// Words without brackets, with the breaks among them.
    fn words(&mut self, signs: &[char]) {
        let mut rest = signs;
        while let Some(at) = break_in(rest) {
            let (before, after) = (&rest[..at], &rest[at + BREAK.len()..]);
            let before: String = before.iter().collect();
            self.parts.push(Part::Text(before.trim_end().into(), 1.0));
            self.parts.push(Part::Break);
            let blanks = after.iter().take_while(|sign| sign.is_whitespace()).count();
            rest = &after[blanks..];
        }
        self.parts.push(Part::Text(rest.iter().collect(), 1.0));
    }

    fn multiply(&mut self, since: Option<usize>, by: f64) {
        let since = since.unwrap_or(self.parts.len());
        for part in &mut self.parts[since..] {
            if let Part::Text(_, weight) = part {
                *weight *= by;
            }
        }
    }

    /// Closes what is open and joins equal neighbours.
    fn end(mut self) -> Vec<Part> {
        for since in std::mem::take(&mut self.rounds) {
            self.multiply(Some(since), ROUND);
        }
        for since in std::mem::take(&mut self.squares) {
            self.multiply(Some(since), SQUARE);
        }
        let mut joined: Vec<Part> = Vec::new();
        for part in self.parts {
            match (joined.last_mut(), part) {
                (Some(Part::Text(text, weight)), Part::Text(more, same)) if *weight == same => {
                    text.push_str(&more);
                }
                (_, part) => joined.push(part),
            }
        }
        if joined.is_empty() {
            joined.push(Part::Text(String::new(), 1.0));
        }
        joined
    }
}

fn is_special(sign: char) -> bool {
    ['\\', '(', ')', '[', ']', ':'].contains(&sign)
}

const BREAK: [char; 5] = ['B', 'R', 'E', 'A', 'K'];

/// The place of the first `BREAK` that is a word of its own.
fn break_in(signs: &[char]) -> Option<usize> {
    let of_word = |sign: Option<&char>| sign.is_some_and(|c| c.is_alphanumeric() || *c == '_');
    (0..signs.len()).find(|&at| {
        signs[at..].starts_with(&BREAK)
            && !of_word(at.checked_sub(1).and_then(|before| signs.get(before)))
            && !of_word(signs.get(at + BREAK.len()))
    })
}

/// The number from here to a closing bracket, with blanks around it, and the place after the bracket.
fn weight_before_bracket(signs: &[char], from: usize) -> Option<(f64, usize)> {
    let run = |from: usize, of: fn(char) -> bool| {
        from + signs[from..].iter().take_while(|sign| of(**sign)).count()
    };
    let begin = run(from, char::is_whitespace);
    let signed = begin + usize::from(matches!(signs.get(begin), Some('+' | '-')));
    let end = run(signed, |sign| sign.is_ascii_digit() || sign == '.');
    let close = run(end, char::is_whitespace);
    if signs.get(close) != Some(&')') {
        return None;
    }
    let number: String = signs[begin..end].iter().collect();
    Some((number.parse().ok()?, close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, weight: f64) -> Part {
        Part::Text(text.into(), weight)
    }

    #[test]
    fn what_a1111_fails_at_is_text() {
        assert_eq!(parse("(a:1.2.3)"), [text("a:1.2.3", 1.1)]);
        assert_eq!(parse("(a:.)"), [text("a:.", 1.1)]);
    }

    #[test]
    fn a_break_within_brackets_breaks() {
        let parts = [text("red", 1.2), Part::Break, text("blue", 1.2)];
        assert_eq!(parse("(red BREAK blue:1.2)"), parts);
        assert_eq!(parse("BREAKING news"), [text("BREAKING news", 1.0)]);
    }

    #[test]
    fn any_number_of_brackets_is_read() {
        assert_eq!(parse(&"(".repeat(100_000)), [text("", 1.0)]);
        let deep = format!("{}a{}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(parse(&deep).len(), 1);
    }
}
