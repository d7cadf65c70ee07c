//! The page. Everything that people wrote is escaped by the template.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::notes::Note;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: light-dark(#1c2333, #e8ecf6); --soft: light-dark(#667089, #98a3bd);
  --back: light-dark(#f4f6fb, #12151d); --card: light-dark(#fff, #1b202c); --line: light-dark(#e1e6f0, #2b3242); --accent: #4f6bed; }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back) }
main { max-width: 40rem; margin: 0 auto; padding: 3rem 1.25rem }
h1 { margin: 0; font-size: 1.8rem; letter-spacing: -.02em }
header p, time, .empty { color: var(--soft); margin: .25rem 0 0; font-size: .875rem }
form { display: flex; gap: .5rem; margin: 2rem 0 1.25rem }
input, button { font: inherit; padding: .65rem .9rem; border-radius: .6rem; border: 1px solid var(--line) }
input { flex: 1; min-width: 0; background: var(--card); color: inherit }
button { background: var(--accent); border-color: var(--accent); color: #fff; cursor: pointer }
ul { list-style: none; padding: 0; margin: 0; display: grid; gap: .6rem }
li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .75rem 1rem; overflow-wrap: anywhere }
time { display: block }
.trouble { border-left: 4px solid #d9534f; padding: .75rem 1rem; background: var(--card); border-radius: .4rem }
";

/// The page with its notes, or with a word of regret when there is no database.
pub fn index(greeting: &str, version: &str, notes: Option<&[Note]>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (greeting) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (greeting) }
                        p { "Notes, kept in PostgreSQL · version " (version) }
                    }
                    form method="post" action="/" {
                        input name="text" aria-label="Note" placeholder="Write a note" maxlength="500" required autofocus;
                        button { "Add" }
                    }
                    @match notes {
                        None => p class="trouble" role="alert" { "The database does not answer just now. Notes come back by themselves." },
                        Some([]) => p class="empty" { "Nothing here yet." },
                        Some(notes) => ul {
                            @for note in notes {
                                li { (note.text) time datetime=(note.created_at) { (note.created_at) } }
                            }
                        },
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_escaped() {
        let notes = [Note { id: 1, text: "<script>".to_owned(), created_at: "2026-01-01T00:00:00Z".to_owned() }];
        let page = index("Hello", "1.0.0", Some(&notes)).into_string();
        assert!(page.contains("&lt;script&gt;") && page.contains("1.0.0") && !page.contains("<script>"));
    }
}
