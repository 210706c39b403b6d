//! What of a prompt may be read otherwise than it was meant.

use super::{Calls, Tag, Timeline};

/// Sentences, none for a plain prompt. The tags are those that were taken out of it.
pub(super) fn notes(text: &str, comment: Option<&str>, tags: &[Tag], steps: Calls) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(comment) = comment {
        notes.push(format!("`{comment}` is a comment and isn't read: # begins one"));
    }
    for tag in tags {
        let written = &tag.written;
        notes.push(match tag.network() {
            Some(_) => format!(
                "{written} is taken out of the prompt: there is no adapter of this name. Add its file"
            ),
            None => format!("{written} is taken out of the prompt: it isn't known what it is to do"),
        });
    }
    for never in Timeline::never(text, steps) {
        let weight = never.replace('[', "(").replace(']', ")");
        notes.push(format!(
            "{never} never shows: square brackets with a number tell from when on. For a weight write \
             {weight}"
        ));
    }
    if text.split(|sign: char| !sign.is_alphanumeric()).any(|word| word == "AND") {
        notes.push("`AND` is read as a plain word".into());
    }
    if let Some(choice) = choice(text) {
        notes.push(format!("`{choice}` is read as it stands: nothing is drawn from it"));
    }
    notes
}

/// `{red|blue}` or `__list__`.
fn choice(text: &str) -> Option<&str> {
    let braces = || {
        let (open, close) = (text.find('{')?, text.find('}')?);
        text.get(open..=close).filter(|inside| inside.contains('|'))
    };
    let list = || {
        let open = text.find("__")?;
        let close = open + 2 + text[open + 2..].find("__")?;
        let name = &text[open + 2..close];
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        is_name.then(|| &text[open..close + 2])
    };
    braces().or_else(list)
}

#[cfg(test)]
mod tests {
    use super::super::{Calls, read};

    #[test]
    fn what_is_read_otherwise_is_told_and_plain_words_are_not() {
        for (prompt, mark) in [
            ("red apple <lora:ink:0.8>", "<lora:ink:0.8>"),
            ("red apple <style:0.8>", "<style:0.8>"),
            ("a [cat:1.3] here", "(cat:1.3)"),
            ("a cat AND a dog", "`AND`"),
            ("a {red|blue} cat", "`{red|blue}`"),
            ("a __colour__ cat", "`__colour__`"),
        ] {
            let notes = read(prompt, 20).notes;
            assert!(notes.len() == 1 && notes[0].contains(mark), "{prompt}: {notes:?}");
        }
        // Of a picture that is drawn twice it shows in the second pass.
        let twice = Calls { count: 20, before: Some(20) };
        assert_eq!(read("a [cat:1.3] here", twice).notes, [""; 0]);
        assert_eq!(read("a [cat:2.0] here", twice).notes.len(), 1);
        for prompt in
            ["", "a cat (small:1.2), 10:30 on a [clock], [red:blue:0.5] SAND BRAND", "x < y, a_b"]
        {
            assert_eq!(read(prompt, 20).notes, [""; 0], "{prompt}");
        }
    }
}
