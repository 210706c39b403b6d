//! What other tools' prompts hold that is no word: it is read as plain words here, which is said.

/// Marks of A1111's and ComfyUI's prompts that this one has, as one sentence.
pub(super) fn note(prompt: &str) -> Option<String> {
    let found: Vec<&str> =
        [tag(prompt), weight(prompt), word(prompt)].into_iter().flatten().collect();
    (!found.is_empty()).then(|| {
        let found: Vec<String> = found.iter().map(|mark| format!("`{mark}`")).collect();
        format!(
            "{} is read as plain words here: adapters are added by their files and have their own \
             strengths, and weights of words, BREAK and embeddings aren't supported",
            found.join(", ")
        )
    })
}

/// `<lora:name:0.8>` and its relatives.
fn tag(prompt: &str) -> Option<&str> {
    prompt.match_indices('<').find_map(|(at, _)| {
        let rest = &prompt[at..];
        let tag = &rest[..=rest.find('>')?];
        let kinds = ["<lora:", "<lyco:", "<hypernet:", "<ti:"];
        kinds.iter().any(|kind| tag.starts_with(kind)).then_some(tag)
    })
}

/// `(word:1.3)`, or `[from:to:0.5]`: the last colon stands before a number.
fn weight(prompt: &str) -> Option<&str> {
    prompt.match_indices([')', ']']).find_map(|(end, close)| {
        let open = prompt[..end].rfind(if close == ")" { '(' } else { '[' })?;
        let (_, number) = prompt[open..end].rsplit_once(':')?;
        number.trim().parse::<f32>().is_ok().then(|| &prompt[open..=end])
    })
}

/// `BREAK`, or ComfyUI's `embedding:name`.
fn word(prompt: &str) -> Option<&str> {
    let mut words = prompt.split([' ', ',', '\n', '\t', '(', ')']);
    words.find(|word| *word == "BREAK" || word.starts_with("embedding:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_other_tools_are_told_and_plain_words_are_not() {
        for (prompt, mark) in [
            ("red apple <lora:ink:0.8>", "`<lora:ink:0.8>`"),
            ("(red:1.3) apple", "`(red:1.3)`"),
            ("a [cat:dog:0.5] here", "`[cat:dog:0.5]`"),
            ("a cat BREAK a dog", "`BREAK`"),
            ("bad, embedding:hands", "`embedding:hands`"),
        ] {
            let note = note(prompt).unwrap();
            assert!(note.starts_with(mark), "{note}");
        }
        for prompt in [
            "",
            "a cat (small), 10:30 on a [clock]",
            "a < b > c",
            "(a: b)",
            "line BREAKING news",
            ")][(:1",
            "<lora:never closed",
            "🐈 (猫)",
        ] {
            assert_eq!(note(prompt), None, "{prompt}");
        }
    }
}
