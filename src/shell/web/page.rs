//! The pages: rendered here, readable without scripts. Everything is escaped by maud, and only http(s) addresses become
//! links.

use crate::ident::Revision;
use crate::record::Deployment;
use crate::report::{AppView, DatabaseView, DriftView, Readiness, StackState, Tone, TroubleView, View, Why, span};
use crate::shell::web::board::SourceView;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use std::sync::Arc;

/// What stands above every page.
#[derive(Clone, Copy, Default)]
pub struct Head<'a> {
    /// Name of the installation.
    pub cluster: &'a str,
    /// Who looks at it, if known.
    pub who: Option<&'a str>,
    /// Whether who looks at it can log in.
    pub can_log_in: bool,
}

fn badge(state: StackState) -> Markup {
    html! { span class={ "badge " (state.tone().class()) } { span aria-hidden="true" { (state.symbol()) } " " (state.title()) } }
}

fn frame(title: &str, head: Head<'_>, busy: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if busy { meta http-equiv="refresh" content="5"; }
                title { (title) " · hks" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                header {
                    a href="/" { strong { "hks" } }
                    span.dim { (head.cluster) }
                    @match head.who {
                        Some(who) => {
                            span.dim.who { (who) }
                            @if who.starts_with("user:") { form method="post" action="/logout" { button { "Log out" } } }
                        }
                        None => @if head.can_log_in { a.who href="/login" { "Log in" } },
                    }
                }
                main { (content) }
                footer.dim { "hks " (env!("CARGO_PKG_VERSION")) " · " a href="/api/v1/status" { "JSON" } }
            }
        }
    }
}

/// All Stacks, failing ones first, under a line that says whether anything needs attention.
pub fn overview(head: Head<'_>, sources: &[SourceView], stacks: &[(String, Arc<View>)], now: Timestamp) -> Markup {
    let mut stacks: Vec<_> = stacks.iter().collect();
    stacks.sort_by_key(|(_, view)| view.state.rank());
    let number = |tone| stacks.iter().filter(|(_, view)| view.state.tone() == tone).count();
    let (bad, busy) = (number(Tone::Bad), number(Tone::Busy));
    let troubled = sources.iter().filter(|source| source.error.is_some() || !source.problems.is_empty()).count();
    let content = html! {
        (verdict(stacks.len(), bad, busy, troubled))
        @for source in sources { (self::source(source, now)) }
        @for (source, view) in &stacks { (card(source, view, now)) }
    };
    frame(if bad + troubled > 0 { "attention" } else { "overview" }, head, busy > 0, &content)
}

fn verdict(all: usize, bad: usize, busy: usize, troubled: usize) -> Markup {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let need = |number: usize| if number == 1 { "needs attention" } else { "need attention" };
    let (class, words) = match (all, bad, busy, troubled) {
        (_, 1.., _, 0) => ("bad", format!("{} {}", count(bad, "stack"), need(bad))),
        (_, 1.., _, _) => ("bad", format!("{} and {} need attention", count(bad, "stack"), count(troubled, "source"))),
        (_, 0, _, 1..) => ("bad", format!("{} {}", count(troubled, "source"), need(troubled))),
        (_, _, 1.., _) => ("busy", format!("{busy} of {all} stacks under way")),
        (0, ..) => ("idle", "nothing is deployed yet: push an hks.yaml".into()),
        (1, ..) => ("good", "the stack is settled".into()),
        _ => ("good", format!("all {all} stacks are settled")),
    };
    html! { h1 class={ "verdict " (class) } { (words) } }
}

fn source(source: &SourceView, now: Timestamp) -> Markup {
    html! {
        section.source {
            p {
                strong { (source.name) } " "
                (link(&source.url)) "@" (source.branch)
                @if let Some(head) = &source.head { " at " (sha(head)) }
                @if let Some(fetched) = source.fetched { span.dim { ", fetched " (when(fetched, now)) } }
                @else { span.dim { ", not fetched yet" } }
            }
            @if let Some(error) = &source.error { p.banner { (error) } }
            @for problem in &source.problems { p.banner { (problem) } }
        }
    }
}

fn card(source: &str, view: &View, now: Timestamp) -> Markup {
    html! {
        article class={ "card " (view.state.tone().class()) } {
            h2 { a href={ "/stacks/" (view.name) "?source=" (source) } { (view.name) } " " (badge(view.state)) }
            @if let Some(cause) = &view.cause { p.cause { (first_line(cause)) } }
            p.dim { (view.sentence(now)) }
            (urls(&view.urls))
            p.dim { (revisions(view)) " · " (source) " → " (view.namespace) (drift_count(view)) }
            @if !view.apps.is_empty() {
                ul.plain {
                    @for app in &view.apps {
                        li { (app.name) " " code { (app.image) } " " span.dim { (pods(app)) } }
                    }
                }
            }
        }
    }
}

/// One Stack: why it is not as wished first, then what runs, then what was, and what can be done about it by who may.
pub fn stack(head: Head<'_>, source: &str, view: &View, acts: bool, now: Timestamp) -> Markup {
    let content = html! {
        h1 { (view.name) " " (badge(view.state)) }
        @if let Some(cause) = &view.cause {
            section.banner {
                p.cause { (cause) }
                @if let Some(log) = &view.log { pre { (log) } }
            }
        }
        p { (view.sentence(now)) }
        (troubles(&view.troubles, now))
        @for asked in &view.asked { p { (asked.sentence(now)) } }
        (urls(&view.urls))
        p.dim { (revisions(view)) " · " (source) " → " (view.namespace) " · seen " (when(view.at, now)) }
        (apps(&view.apps))
        (databases("Databases", &view.databases))
        (databases("Caches", &view.caches))
        (drift(&view.drift))
        @for alone in &view.left_alone { p.dim { (alone.field) " is left alone: " (alone.by) } }
        @for added in &view.added { p.dim { (added.sentence()) } }
        @if view.drift_corrected > 0 { p.dim { "corrections of drift since the daemon started: " (view.drift_corrected) } }
        @if !view.retained.is_empty() {
            h2 { "Retained data" }
            p.dim { "is no part of what runs and stays until somebody deletes it" }
            ul { @for object in &view.retained { li { code { (object) } } } }
        }
        (history(&view.history, now))
        @if acts { (self::acts(source, view)) }
        (commands(view))
    };
    frame(&format!("{} {}", view.state.symbol(), view.name), head, view.state.tone() == Tone::Busy, &content)
}

/// What can be asked for from here.
fn acts(source: &str, view: &View) -> Markup {
    let older: Vec<_> = view.older().take(20).collect();
    let form = |content: Markup| {
        html! { form method="post" action={ "/stacks/" (view.name) "?source=" (source) } { (content) } }
    };
    html! {
        h2 { "Ask for" }
        @if matches!(view.state, StackState::Held(_)) { (form(html! { button name="act" value="retry" { "Retry" } })) }
        @if view.state == StackState::Suspended(Why::Asked) {
            (form(html! { button name="act" value="resume" { "Resume" } }))
        } @else {
            (form(html! {
                button name="act" value="suspend" { "Suspend" } " "
                input name="reason" maxlength="500" placeholder="why, for the others" aria-label="reason";
            }))
        }
        @if !older.is_empty() {
            (form(html! {
                button name="act" value="rollback" { "Roll back" } " to "
                select name="to" aria-label="commit" {
                    @for one in older { option value=(one.revision) { (one.revision.short()) " · " (first_line(&one.description)) } }
                }
            }))
        }
    }
}

/// What was asked for was not done.
pub fn refused(head: Head<'_>, name: &str, back: &str, why: &str) -> Markup {
    let content = html! {
        h1 { "Not done" }
        p.banner { (why) }
        p { a href=(back) { "back to " (name) } }
    };
    frame(name, head, false, &content)
}

/// Somebody who is known may see none of what there is.
pub fn nothing_to_see(head: Head<'_>) -> Markup {
    let content = html! {
        h1 class="verdict idle" { "there is nothing here that you may see" }
        p { "What whoever has this token, or is in your groups, may see is said in " code { "access" } " of the daemon's configuration; ask who runs it." }
    };
    frame("nothing to see", head, false, &content)
}

/// Somebody could not log in.
pub fn not_logged_in(why: &str) -> Markup {
    let content = html! {
        h1 { "Not logged in" }
        p.banner { (why) }
        p { a href="/login" { "try again" } }
    };
    frame("not logged in", Head::default(), false, &content)
}

/// Somebody has logged out.
pub fn logged_out() -> Markup {
    let content = html! {
        h1 { "Logged out" }
        p { a href="/login" { "log in again" } }
    };
    frame("logged out", Head::default(), false, &content)
}

/// Several sources have a Stack of this name.
pub fn choices(head: Head<'_>, name: &str, stacks: &[(String, Arc<View>)], now: Timestamp) -> Markup {
    let content = html! {
        h1 { "Several sources have a stack " (name) }
        @for (source, view) in stacks { (card(source, view, now)) }
    };
    frame(name, head, false, &content)
}

/// There is no Stack of this name.
pub fn unknown(head: Head<'_>, name: &str, stacks: &[(String, Arc<View>)]) -> Markup {
    let content = html! {
        h1 { "There is no stack " (name) }
        ul { @for (source, view) in stacks { li { a href={ "/stacks/" (view.name) "?source=" (source) } { (view.name) } } } }
    };
    frame("not found", head, false, &content)
}

fn troubles(troubles: &[TroubleView], now: Timestamp) -> Markup {
    html! {
        @for trouble in troubles {
            p.banner { strong { (trouble.component) } ": " (trouble.cause) span.dim { ", since " (when(trouble.since, now)) } }
        }
    }
}

/// How many pods of an app are ready, in words.
fn pods(app: &AppView) -> String {
    match app.readiness {
        Readiness::Ready | Readiness::NotReady => format!("{}/{} ready", app.ready, app.replicas),
        Readiness::Parked | Readiness::Missing => app.readiness.title().into(),
    }
}

fn apps(apps: &[AppView]) -> Markup {
    html! {
        @if !apps.is_empty() {
            h2 { "Apps" }
            div.wide {
                table {
                    thead { tr { th { "App" } th { "Image" } th { "Ready" } th { "Limits" } th { "Usage" } } }
                    tbody {
                        @for app in apps {
                            tr {
                                td { (app.name) }
                                td { code { (app.image) } }
                                td { (pods(app)) }
                                td { (app.limits) }
                                td { (app.usage.as_deref().unwrap_or("–")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn databases(title: &str, databases: &[DatabaseView]) -> Markup {
    html! {
        @if !databases.is_empty() {
            h2 { (title) }
            div.wide {
                table {
                    thead { tr { th { "Name" } th { "Image" } th { "State" } th { "Storage" } th { "Usage" } } }
                    tbody {
                        @for database in databases {
                            tr {
                                td { (database.name) }
                                td { code { (database.image) } }
                                td { @if database.ready { "✓ " } @else { "✗ " } (database.readiness.title()) }
                                td { (database.storage) }
                                td { (database.usage.as_deref().unwrap_or("–")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn drift(drift: &[DriftView]) -> Markup {
    html! {
        @if !drift.is_empty() {
            h2 { "Drift" }
            div.wide {
                table {
                    thead { tr { th { "Object" } th { "Field" } th { "Live" } th { "In the file" } } }
                    tbody {
                        @for object in drift {
                            @if object.fields.is_empty() {
                                tr { td { code { (object.object) } } td colspan="3" { "is missing" } }
                            }
                            @for field in &object.fields {
                                tr {
                                    td { code { (object.object) } }
                                    td { code { (field.field) } }
                                    td { @if let Some(live) = &field.live { code { (live) } } @else { "nothing" } }
                                    td { code { (field.wanted) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn history(history: &[Arc<Deployment>], now: Timestamp) -> Markup {
    html! {
        @if !history.is_empty() {
            h2 { "Deployments" }
            div.wide {
                table {
                    thead { tr { th { "Commit" } th { "When" } th { "Took" } th { "Outcome" } th { "What happened" } } }
                    tbody {
                        @for one in history.iter().take(20) {
                            tr {
                                td.whole { (sha(&one.revision)) }
                                td.whole { (when(one.ended, now)) }
                                td.whole { (one.ended.duration_since(one.started).as_secs().max(0)) " s" }
                                td.whole { (one.shown()) }
                                td {
                                    (one.description)
                                    @if let Some(message) = &one.message { br; span.dim { (message) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn commands(view: &View) -> Markup {
    let back = view.older().next().map_or("SHA", |one| one.revision.as_str());
    let (name, project) = (&view.name, &view.namespace);
    html! {
        h2 { "From a terminal" }
        pre { code { "hks status " (name) " -n " (project) " --watch" } }
        pre { code { "hks history " (name) " -n " (project) } }
        @for app in view.apps.iter().take(1) { pre { code { "hks logs " (app.name) " --stack " (name) " -n " (project) } } }
        @match view.state {
            StackState::Held(_) => pre { code { "hks retry " (name) " -n " (project) } },
            StackState::Suspended(Why::Asked) => pre { code { "hks resume " (name) " -n " (project) } },
            _ => {}
        }
        pre { code { "hks rollback " (name) " --to " (back) " -n " (project) } }
    }
}

fn revisions(view: &View) -> Markup {
    html! {
        @match (&view.desired_revision, &view.applied_revision) {
            (Some(wanted), Some(applied)) if wanted == applied => { "runs " (sha(applied)) }
            (Some(wanted), Some(applied)) => { "wants " (sha(wanted)) ", runs " (sha(applied)) }
            (Some(wanted), None) => { "wants " (sha(wanted)) ", nothing runs yet" }
            (None, Some(applied)) => { "runs " (sha(applied)) }
            (None, None) => { "no commit yet" }
        }
    }
}

fn drift_count(view: &View) -> Markup {
    let objects = view.drift.len();
    html! { @if objects > 0 { " · drift in " (objects) @if objects == 1 { " object" } @else { " objects" } } }
}

fn urls(urls: &[String]) -> Markup {
    html! { @if !urls.is_empty() { p.urls { @for url in urls { (link(url)) " " } } } }
}

fn link(url: &str) -> Markup {
    html! {
        @if url.starts_with("https://") || url.starts_with("http://") { a href=(url) rel="noreferrer" { (url) } }
        @else { (url) }
    }
}

fn sha(revision: &Revision) -> Markup {
    html! { code title=(revision) { (revision.short()) } }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn when(at: Timestamp, now: Timestamp) -> Markup {
    let passed = now.duration_since(at);
    let words = if passed.as_secs() < 1 { "now".into() } else { format!("{} ago", span(passed)) };
    let absolute = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(absolute) title=(absolute) { (words) } }
}

/// The style sheet of all pages.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--text:#1b1f24;--dim:#5d6673;--line:#dde1e7;--link:#0b5cad;
--good:#1a7f37;--bad:#c1232b;--busy:#8a5a00;--idle:#5d6673;--code:#eef0f3;--alarm:#fdecec}
@media(prefers-color-scheme:dark){:root{--bg:#12151a;--card:#1b2027;--text:#e6e9ed;--dim:#97a1ae;--line:#303741;
--link:#79b8ff;--good:#56d364;--bad:#ff7b72;--busy:#e3b341;--idle:#97a1ae;--code:#262c35;--alarm:#3a1d1f}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
header,main,footer{max-width:60rem;margin:0 auto;padding:.75rem 1rem}
header{display:flex;gap:.75rem;align-items:baseline;border-bottom:1px solid var(--line)}
header a{color:inherit;text-decoration:none;font-size:1.2rem}
header .who{margin-left:auto;font-size:.9rem}
a{color:var(--link)}
h1{font-size:1.5rem;margin:.75rem 0}
h2{font-size:1.1rem;margin:1.5rem 0 .5rem}
p{margin:.35rem 0}
.dim{color:var(--dim);font-size:.9rem}
.verdict{padding:.75rem 1rem;border-radius:.5rem;background:var(--card);border:1px solid var(--line);border-left-width:.4rem}
.card{background:var(--card);border:1px solid var(--line);border-left:.4rem solid var(--line);border-radius:.5rem;
padding:.75rem 1rem;margin:.75rem 0}
.card h2{margin:0}
.verdict.good,.card.good{border-left-color:var(--good)}
.verdict.bad,.card.bad{border-left-color:var(--bad)}
.verdict.busy,.card.busy{border-left-color:var(--busy)}
.badge{font-size:.85rem;font-weight:600;white-space:nowrap}
.badge.good{color:var(--good)}.badge.bad{color:var(--bad)}.badge.busy{color:var(--busy)}.badge.idle{color:var(--idle)}
.banner{background:var(--alarm);border-radius:.5rem;padding:.6rem .9rem;margin:.5rem 0}
.cause{font-weight:600}
.plain{list-style:none;margin:.5rem 0 0;padding:0}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:.87em;background:var(--code);border-radius:.25rem}
code{padding:.1em .3em}
pre{padding:.6rem .8rem;margin:.4rem 0;white-space:pre-wrap;max-height:30rem;overflow:auto}
pre code{padding:0;background:none;user-select:all}
form{margin:.5rem 0}
button,input,select{font:inherit;max-width:100%}
.wide{overflow-x:auto}
.whole{white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);min-width:4rem}
th{color:var(--dim);font-weight:500;white-space:nowrap}
td{overflow-wrap:break-word}
";
