//! Effects as transcripts show them.

use hks::ident::Revision;
use hks::machine::Effect;
use hks::report;
use std::collections::BTreeSet;

pub fn describe(effect: &Effect) -> String {
    let objects = |steps: &[hks::plan::Step]| {
        let names = steps.iter().map(|step| {
            let sign = if step.action == hks::plan::Action::Create { '+' } else { '~' };
            format!("{sign}{}", step.object.key)
        });
        names.collect::<Vec<_>>().join(" ")
    };
    let names = |hosts: &BTreeSet<String>| hosts.iter().cloned().collect::<Vec<_>>().join(" ");
    match effect {
        Effect::Check(_, steps, hosts) if hosts.is_empty() => format!("check {}", objects(steps)),
        Effect::Check(_, steps, hosts) => format!("check {} for {}", objects(steps), names(hosts)),
        Effect::Hosts { needed, free } => format!("hosts {{{}}} free {{{}}}", names(needed), names(free)),
        Effect::Save(_, record) => {
            let part = |name: &str, revision: Option<&Revision>| {
                revision.map(|revision| format!(" {name}={revision}")).unwrap_or_default()
            };
            format!(
                "save {} objects{}{}{}",
                record.inventory.len(),
                part("settled", record.settled.as_ref().map(|release| &release.revision)),
                part("attempt", record.attempt.as_ref().map(|attempt| &attempt.revision)),
                part("held", record.held.as_ref().map(|held| &held.revision)),
            )
        }
        Effect::Apply(_, steps) => format!("apply {}", objects(steps)),
        Effect::Probe(_, urls) => {
            format!("probe {}", urls.iter().map(|url| url.url.as_str()).collect::<Vec<_>>().join(" "))
        }
        Effect::Measure(_, volumes) => {
            format!("measure {}", volumes.iter().map(|volume| volume.claim.name.as_str()).collect::<Vec<_>>().join(" "))
        }
        Effect::Inspect(_, names) => format!("inspect {}", names.join(" ")),
        Effect::Delete(_, keys) => {
            format!("delete {}", keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        Effect::Explain(_, cause) => format!("explain {}", cause.label()),
        Effect::Queue(_) => "queue".into(),
        Effect::Who(key, field) => format!("who sets {key} {field}"),
        Effect::News(news) => match (report::status(news), report::note(news)) {
            (Some(status), _) => format!("report {} {}: {}", status.revision, status.state.word(), status.description),
            (None, Some(note)) => format!("note {}: {}", note.reason, note.text),
            (None, None) => format!("news {news:?}"),
        },
    }
}
